"""Long work in shards: damaged shards are computed again, unreadable ones stay."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from score_sde import load, saved_config
from score_sde.evaluation import samples, shared_work
from score_sde.evaluation.shards import Shards
from score_sde.evaluation.shared_work import Work, finish as finish_all, remaining
from score_sde.runtime.unreadable import UnreadableError


def listing(folder):
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


@pytest.fixture
def shards(tmp_path):
    """Two finished shards of 8 and 4 rows."""
    found = Shards(tmp_path, "0123456789abcdef")
    for start, stop in ((0, 8), (8, 12)):
        found.write(start, rows(range(start, stop)))
    return found


def rows(indices, *rest):
    return {"samples": np.asarray(indices, np.float32)[:, None]}


def finish(shards):
    """The computed batches."""
    computed = []
    work, left = Work("sample", "samples", 8), remaining(shards, 12)
    finish_all(work, left, lambda indices, *rest: computed.append(indices) or rows(indices))
    return computed


def test_a_damaged_shard_is_renamed_and_never_removed(shards, capsys):
    path = shards.folder / "00000000-00000008.npz"
    torn = path.read_bytes()[:200]
    path.write_bytes(torn)
    assert finish(shards) == [range(8)]
    assert (
        f"damaged shard, computed again: {path} (kept as {path.name}.damaged)"
        in capsys.readouterr().err
    )
    assert np.concatenate([shard["samples"] for shard in shards.read(12)])[:, 0].tolist() == list(
        range(12)
    )
    shards.remove(12)
    assert [entry.name for entry in shards.folder.iterdir()] == [f"{path.name}.damaged"]
    assert (shards.folder / f"{path.name}.damaged").read_bytes() == torn


def test_a_shard_damaged_later_is_an_error_of_one_line(shards):
    (shards.folder / "00000008-00000012.npz").write_bytes(b"")
    with pytest.raises(
        OSError,
        match=r"00000008-00000012\.npz is damaged \(.*\): run again to recompute its "
        r"rows$",
    ):
        list(shards.read(12))


def test_a_header_of_unbounded_size_is_damage(tmp_path, shards):
    path = shards.folder / "00000008-00000012.npz"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(4, 1), }        ", b"(4, 9000000000)} "))
    assert path.read_bytes() != data and shards.drop_damaged() == [path]


@contextmanager
def another_user():
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_shards_of_another_user_stay():
    """Files of mode 600, read by another user."""
    with tempfile.TemporaryDirectory(prefix="score_sde_") as name:
        shards = Shards(Path(name), "0123456789abcdef")
        for start in range(5):
            shards.write(start, rows([start]))
        for path in (Path(name), shards.folder):
            path.chmod(0o777)
        for path in shards.folder.iterdir():
            path.chmod(0o600)
        before = listing(Path(name))
        message = r"^cannot read the shard .*: Permission denied: .*; nothing is moved or removed"
        with another_user(), pytest.raises(UnreadableError, match=message):
            finish(shards)
        assert listing(Path(name)) == before
        shards.folder.chmod(0o700)
        message = r"^cannot read the folder .*: Permission denied: .*; nothing is moved or removed"
        with another_user(), pytest.raises(UnreadableError, match=message):
            shards.missing(5)


def folder_of_samples(where, **changes):
    """The shards of samples of a model whose config is changed."""
    config = saved_config(tiny.toy_run())
    for path, value in changes.items():
        section, _, key = path.partition("__")
        with config.ignore_type():
            config.update({section: {key: value}})
    model = load(tiny.toy_run(), config=config)
    return samples.shards_of(model, jax.random.key(0), where).folder


def test_a_default_that_is_written_out_takes_the_same_shards(tmp_path):
    one = folder_of_samples(tmp_path)
    assert folder_of_samples(tmp_path, sampling__denoise=True, sde__beta_max=20) == one
    assert folder_of_samples(tmp_path, sampling__denoise=False) != one
    assert folder_of_samples(tmp_path, sde__beta_max=10.0) != one


def test_the_shards_of_a_run_that_version_0_1_has_begun_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_work, "stated", lambda section, values, trust: values)
    former = folder_of_samples(tmp_path)
    monkeypatch.undo()
    assert folder_of_samples(tmp_path) != former
    former.mkdir()
    assert folder_of_samples(tmp_path) == former
