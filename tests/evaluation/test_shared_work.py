"""Long work in pieces: what is damaged is computed anew, what cannot be read is left alone."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from score_sde.evaluation.pieces import Pieces
from score_sde.evaluation.shared_work import Work, finish as finish_all, remaining
from score_sde.runtime.unreadable import UnreadableError


def listing(folder):
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


@pytest.fixture
def parts(tmp_path):
    """Two finished parts of 8 and 4 rows."""
    found = Pieces(tmp_path, "0123456789abcdef")
    for start, stop in ((0, 8), (8, 12)):
        found.write(start, rows(range(start, stop)))
    return found


def rows(indices, *rest):
    return {"samples": np.asarray(indices, np.float32)[:, None]}


def finish(parts):
    """What is computed, each batch as it is written."""
    computed = []
    work, left = Work("sample", "samples", 8), remaining(parts, 12)
    finish_all(work, left, lambda indices, *rest: computed.append(indices) or rows(indices))
    return computed


def test_a_finished_part_that_is_damaged_is_renamed_and_never_removed(parts, capsys):
    path = parts.folder / "00000000-00000008.npz"
    torn = path.read_bytes()[:200]
    path.write_bytes(torn)
    assert finish(parts) == [range(8)]
    assert (
        f"damaged, to be made anew: {path} (kept as {path.name}.damaged)" in capsys.readouterr().err
    )
    assert np.concatenate([part["samples"] for part in parts.read(12)])[:, 0].tolist() == list(
        range(12)
    )
    parts.remove(12)
    assert [entry.name for entry in parts.folder.iterdir()] == [f"{path.name}.damaged"]
    assert (parts.folder / f"{path.name}.damaged").read_bytes() == torn


def test_one_that_is_damaged_later_fails_in_one_line(parts):
    (parts.folder / "00000008-00000012.npz").write_bytes(b"")
    with pytest.raises(
        OSError,
        match=r"00000008-00000012\.npz is damaged \(.*\): run again, and its rows are computed "
        r"anew$",
    ):
        list(parts.read(12))


def test_a_header_that_asks_for_memory_without_bound_is_damage(tmp_path, parts):
    path = parts.folder / "00000008-00000012.npz"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(4, 1), }        ", b"(4, 9000000000)} "))
    assert path.read_bytes() != data and parts.drop_damaged() == [path]


@contextmanager
def another_user():
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_parts_of_another_user_stay():
    """The case of the report: mode 600, and another user."""
    with tempfile.TemporaryDirectory(prefix="score_sde_") as name:
        parts = Pieces(Path(name), "0123456789abcdef")
        for start in range(5):
            parts.write(start, rows([start]))
        for path in (Path(name), parts.folder):
            path.chmod(0o777)
        for path in parts.folder.iterdir():
            path.chmod(0o600)
        before = listing(Path(name))
        message = (
            r"^cannot read the finished part .*: Permission denied: .*; nothing is moved or removed"
        )
        with another_user(), pytest.raises(UnreadableError, match=message):
            finish(parts)
        assert listing(Path(name)) == before
        parts.folder.chmod(0o700)
        message = r"^cannot read the folder .*: Permission denied: .*; nothing is moved or removed"
        with another_user(), pytest.raises(UnreadableError, match=message):
            parts.missing(5)
