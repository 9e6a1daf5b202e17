"""Pieces of long work: coverage, damage, order, and whose they are."""

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given, strategies as st

from score_sde.evaluation.pieces import DamagedPieceError, Pieces

PARAMS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": {"c": np.float32(1.0)}}


def piece(start, stop):
    """Samples that say their index."""
    index = np.arange(start, stop)
    return {
        "samples": np.stack([index, -index], 1).astype(np.float32),
        "nfe": index.astype(np.int32),
    }


@pytest.fixture
def pieces(tmp_path):
    return Pieces(tmp_path, "0123456789abcdef")


def read(pieces, num_samples):
    return (
        np.concatenate([found["samples"] for found in pieces.read(num_samples)])[:, 0]
        .astype(int)
        .tolist()
    )


def test_what_is_missing_is_known_from_the_names(pieces):
    assert pieces.missing(10) == [range(10)]
    for start, stop in ((8, 10), (2, 4), (3, 5)):
        pieces.write(start, piece(start, stop))
    assert sorted(path.name for path in pieces.folder.iterdir())[0] == "00000002-00000004.npz"
    assert pieces.missing(12) == [range(2), range(5, 8), range(10, 12)]
    assert pieces.missing(9) == [range(2), range(5, 8)]
    assert pieces.missing(3) == [range(2)]
    with pytest.raises(FileNotFoundError, match="lacks the indices from 5 to 7"):
        pieces.write(0, piece(0, 2))
        list(pieces.read(10))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=8), st.integers(1, 40))
def test_missing_and_read_are_exact_whatever_the_pieces(tmp_path_factory, starts, num_samples):
    pieces = Pieces(tmp_path_factory.mktemp("pieces"), "f" * 64)
    held = set()
    for start, size in starts:
        pieces.write(start, piece(start, start + size))
        held |= set(range(start, start + size))
    gaps = pieces.missing(num_samples)
    assert [i for gap in gaps for i in gap] == sorted(set(range(num_samples)) - held)
    for gap in gaps:
        pieces.write(gap.start, piece(gap.start, gap.stop))
    assert read(pieces, num_samples) == list(range(num_samples))
    shutil.rmtree(pieces.folder)


def test_no_flipped_byte_is_taken_for_a_file_that_cannot_be_read(pieces):
    """Of them zip readers raise ``OSError`` for a wrong place in the file, and errors
    of encryption and memory.
    """
    pieces.write(0, piece(0, 9))
    path = pieces.folder / "00000000-00000009.npz"
    data = path.read_bytes()
    directory = data.index(
        b"PK\x01\x02"
    )  # the places of the arrays, and their kinds of compression and encryption
    for place, flip in itertools.product(range(directory, len(data)), (0x01, 0xFF)):
        path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        pieces.drop_damaged()  # which raises where one cannot be read
        assert len(list(pieces.folder.iterdir())) == 1
        for left in pieces.folder.glob("*.damaged"):
            left.rename(path)


@pytest.mark.parametrize("place", range(20, 760, 37))
def test_a_flipped_byte_or_a_cut_file_is_found(pieces, place):
    pieces.write(0, piece(0, 9))
    pieces.write(9, piece(9, 18))
    path = pieces.folder / "00000009-00000018.npz"
    data = bytearray(path.read_bytes())
    before = piece(9, 18)
    data[place % len(data)] ^= 0x40
    path.write_bytes(data)
    damaged = pieces.drop_damaged()
    if damaged:
        assert damaged == [path] and pieces.missing(18) == [range(9, 18)]
    else:  # a byte of no importance, such as one of a date
        found = list(pieces.read(18))[1]
        assert found.keys() == before.keys() and all(
            (found[name] == before[name]).all() for name in found
        )
    pieces.write(9, before)
    path.write_bytes(path.read_bytes()[: place % len(data)])
    assert pieces.drop_damaged() == [path]


@pytest.mark.parametrize(
    ("said", "other"), [("'<f4'", "'<f2'"), ("'<f4'", "'|u1'"), ("64, 3)", "14, 3)")]
)
def test_a_header_that_says_less_than_there_is_is_found(pieces, said, other):
    """NumPy then reads less, and looks at no checksum: one flipped bit would give other
    numbers without a word.
    """
    pieces.write(0, {"x": np.random.default_rng(0).normal(size=(9, 64, 64, 3)).astype(np.float32)})
    path = pieces.folder / "00000000-00000009.npz"
    data = path.read_bytes()
    path.write_bytes(data.replace(said.encode(), other.encode()))
    assert path.read_bytes() != data
    with pytest.raises(DamagedPieceError, match=r"x\.npy has another checksum"):
        list(pieces.read(9))
    assert pieces.drop_damaged() == [path]


def test_arrays_of_other_lengths_make_no_piece(pieces):
    with pytest.raises(ValueError, match=r"equally long, got \{'a': 3, 'b': 2\}"):
        pieces.write(0, {"a": np.zeros(3), "b": np.zeros((2, 3))})
    assert not pieces.folder.exists()


def test_an_empty_file_and_one_of_other_length_are_damaged(pieces):
    pieces.write(0, piece(0, 3))
    (pieces.folder / "00000003-00000006.npz").touch()
    shutil.copy(pieces.folder / "00000000-00000003.npz", pieces.folder / "00000006-00000008.npz")
    assert len(pieces.drop_damaged()) == 2
    assert pieces.missing(8) == [range(3, 8)]


def test_unfinished_files_count_for_nothing(pieces):
    pieces.write(0, piece(0, 3))
    (pieces.folder / ".00000003-00000006-1f2e3d4c.npz").write_bytes(b"half")
    assert pieces.missing(6) == [range(3, 6)] and pieces.drop_damaged() == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_results_appear_whole_or_not_at_all(pieces, kind, tmp_path):
    def fill(path, text):
        if kind == "folder":
            path.mkdir()
        (path / "x" if kind == "folder" else path).write_text(text)

    def content(path):
        return (path / "x" if kind == "folder" else path).read_text()

    pieces.write(0, piece(0, 3))
    target = tmp_path / "result"
    fill(target, "old")
    with pytest.raises(KeyboardInterrupt), pieces.publishing(target) as draft:
        fill(draft, "half")
        raise KeyboardInterrupt
    assert content(target) == "old"
    with pieces.publishing(target) as draft:
        assert not draft.exists()
        fill(draft, "new")
    assert content(target) == "new"
    pieces.remove(3)
    assert list(tmp_path.iterdir()) == [target]


def test_pieces_of_a_larger_request_stay(pieces):
    pieces.write(0, piece(0, 3))
    pieces.write(3, piece(3, 6))
    pieces.remove(4)
    assert pieces.missing(6) == []
    pieces.remove(6)
    assert pieces.missing(6) == [range(6)] and not pieces.folder.exists()
