"""Shards of long work: coverage, damage, order, and requests."""

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given, strategies as st

from score_sde.evaluation.shards import DamagedShardError, Shards

PARAMS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": {"c": np.float32(1.0)}}


def shard(start, stop):
    """Samples that equal their index."""
    index = np.arange(start, stop)
    return {
        "samples": np.stack([index, -index], 1).astype(np.float32),
        "nfe": index.astype(np.int32),
    }


@pytest.fixture
def shards(tmp_path):
    return Shards(tmp_path, "0123456789abcdef")


def read(shards, num_samples):
    return (
        np.concatenate([found["samples"] for found in shards.read(num_samples)])[:, 0]
        .astype(int)
        .tolist()
    )


def test_missing_indices_are_known_from_the_names(shards):
    assert shards.missing(10) == [range(10)]
    for start, stop in ((8, 10), (2, 4), (3, 5)):
        shards.write(start, shard(start, stop))
    assert sorted(path.name for path in shards.folder.iterdir())[0] == "00000002-00000004.npz"
    assert shards.missing(12) == [range(2), range(5, 8), range(10, 12)]
    assert shards.missing(9) == [range(2), range(5, 8)]
    assert shards.missing(3) == [range(2)]
    with pytest.raises(FileNotFoundError, match="lacks the indices from 5 to 7"):
        shards.write(0, shard(0, 2))
        list(shards.read(10))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=8), st.integers(1, 40))
def test_missing_and_read_are_exact_whatever_the_shards(tmp_path_factory, starts, num_samples):
    shards = Shards(tmp_path_factory.mktemp("shards"), "f" * 64)
    held = set()
    for start, size in starts:
        shards.write(start, shard(start, start + size))
        held |= set(range(start, start + size))
    gaps = shards.missing(num_samples)
    assert [i for gap in gaps for i in gap] == sorted(set(range(num_samples)) - held)
    for gap in gaps:
        shards.write(gap.start, shard(gap.start, gap.stop))
    assert read(shards, num_samples) == list(range(num_samples))
    shutil.rmtree(shards.folder)


def test_a_flipped_byte_is_damage_and_not_an_unreadable_file(shards):
    """Of them zip readers raise ``OSError`` for a wrong place in the file, and errors
    of encryption and memory.
    """
    shards.write(0, shard(0, 9))
    path = shards.folder / "00000000-00000009.npz"
    data = path.read_bytes()
    directory = data.index(
        b"PK\x01\x02"
    )  # the places of the arrays, and their kinds of compression and encryption
    for place, flip in itertools.product(range(directory, len(data)), (0x01, 0xFF)):
        path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        shards.drop_damaged()  # which raises where one cannot be read
        assert len(list(shards.folder.iterdir())) == 1
        for left in shards.folder.glob("*.damaged"):
            left.rename(path)


@pytest.mark.parametrize("place", range(20, 760, 37))
def test_a_flipped_byte_or_a_cut_file_is_damage(shards, place):
    shards.write(0, shard(0, 9))
    shards.write(9, shard(9, 18))
    path = shards.folder / "00000009-00000018.npz"
    data = bytearray(path.read_bytes())
    before = shard(9, 18)
    data[place % len(data)] ^= 0x40
    path.write_bytes(data)
    damaged = shards.drop_damaged()
    if damaged:
        assert damaged == [path] and shards.missing(18) == [range(9, 18)]
    else:  # a byte of no importance, such as one of a date
        found = list(shards.read(18))[1]
        assert found.keys() == before.keys() and all(
            (found[name] == before[name]).all() for name in found
        )
    shards.write(9, before)
    path.write_bytes(path.read_bytes()[: place % len(data)])
    assert shards.drop_damaged() == [path]


@pytest.mark.parametrize(
    ("said", "other"), [("'<f4'", "'<f2'"), ("'<f4'", "'|u1'"), ("64, 3)", "14, 3)")]
)
def test_a_header_that_declares_too_little_is_damage(shards, said, other):
    """NumPy then reads less, and looks at no checksum: one flipped bit would give other
    numbers without a word.
    """
    shards.write(0, {"x": np.random.default_rng(0).normal(size=(9, 64, 64, 3)).astype(np.float32)})
    path = shards.folder / "00000000-00000009.npz"
    data = path.read_bytes()
    path.write_bytes(data.replace(said.encode(), other.encode()))
    assert path.read_bytes() != data
    with pytest.raises(DamagedShardError, match=r"x\.npy has a wrong checksum"):
        list(shards.read(9))
    assert shards.drop_damaged() == [path]


def test_arrays_of_unequal_lengths_are_an_error(shards):
    with pytest.raises(ValueError, match=r"equally long, got \{'a': 3, 'b': 2\}"):
        shards.write(0, {"a": np.zeros(3), "b": np.zeros((2, 3))})
    assert not shards.folder.exists()


def test_an_empty_file_and_one_of_other_length_are_damaged(shards):
    shards.write(0, shard(0, 3))
    (shards.folder / "00000003-00000006.npz").touch()
    shutil.copy(shards.folder / "00000000-00000003.npz", shards.folder / "00000006-00000008.npz")
    assert len(shards.drop_damaged()) == 2
    assert shards.missing(8) == [range(3, 8)]


def test_unfinished_files_are_ignored(shards):
    shards.write(0, shard(0, 3))
    (shards.folder / ".00000003-00000006-1f2e3d4c.npz").write_bytes(b"half")
    assert shards.missing(6) == [range(3, 6)] and shards.drop_damaged() == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_results_appear_whole_or_not_at_all(shards, kind, tmp_path):
    def fill(path, text):
        if kind == "folder":
            path.mkdir()
        (path / "x" if kind == "folder" else path).write_text(text)

    def content(path):
        return (path / "x" if kind == "folder" else path).read_text()

    shards.write(0, shard(0, 3))
    target = tmp_path / "result"
    fill(target, "old")
    with pytest.raises(KeyboardInterrupt), shards.publishing(target) as draft:
        fill(draft, "half")
        raise KeyboardInterrupt
    assert content(target) == "old"
    with shards.publishing(target) as draft:
        assert not draft.exists()
        fill(draft, "new")
    assert content(target) == "new"
    shards.remove(3)
    assert list(tmp_path.iterdir()) == [target]


def test_shards_of_a_larger_request_stay(shards):
    shards.write(0, shard(0, 3))
    shards.write(3, shard(3, 6))
    shards.remove(4)
    assert shards.missing(6) == []
    shards.remove(6)
    assert shards.missing(6) == [range(6)] and not shards.folder.exists()
