"""Shards of long work on disk, from which an interrupted run resumes.

A shard ``<start>-<stop>.npz`` holds the rows of these indices: samples, or likelihoods
of examples. Each fingerprint has a folder of its own, so that results of different
models, seeds or samplers never mix.
"""

import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from score_sde import checks
from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.unreadable import opening, set_aside, telling_damage
from score_sde.runtime.working_copy import fetch, refresh, sync

_NAME = re.compile(r"(\d+)-(\d+)\.npz")

_ASIDE = re.compile(r"\d+-\d+\.npz\.damaged(-\d+)?")
"""The names of damaged shards, which are kept."""

Shard: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by name, with a row for each index of the shard."""


class DamagedShardError(OSError):
    """A shard whose bytes are not those written."""


class Shards:
    """The shards of one request, in a hidden folder beside the results.

    Args:
        folder: the folder of the results.
        fingerprint: of everything that a row depends on; neither the number of rows nor
            their batches.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder / f".pieces-{fingerprint[:12]}"

    def write(self, start: int, shard: Shard) -> None:
        """Write the rows from index ``start`` on, atomically.

        Raises:
            ValueError: the arrays are not equally long.
        """
        lengths = {name: len(rows) for name, rows in shard.items()}
        checks.require(
            len(set(lengths.values())) == 1,
            f"the arrays of a shard must be equally long, got {lengths}",
        )
        arrays: dict[str, Any] = dict(shard)
        path = self.folder / f"{start:08d}-{start + next(iter(lengths.values())):08d}.npz"
        with replacing(path) as temporary, temporary.open("wb") as file:
            # Not compressed, but a zip archive has checksums.
            np.savez(file, **arrays)

    def missing(self, total: int) -> list[range]:
        """The indices below ``total`` that no shard holds, by the names of the files.

        Raises:
            UnreadableError: the folder cannot be listed.
        """
        refresh(self.folder)  # for the shards of other processes
        gaps, position = [], 0
        for indices in [*self._found(), range(total, total)]:
            gaps.append(range(position, min(indices.start, total)))
            position = max(position, indices.stop)
        return [gap for gap in gaps if gap]

    def drop_damaged(self) -> list[Path]:
        """Rename the damaged shards to ``NAME.damaged``, and return their former paths.

        Raises:
            UnreadableError: a shard cannot be read, and may be whole; then none is
                renamed.
        """
        damaged = []
        for indices, path in self._found().items():
            try:
                _load(path, len(indices))
            except DamagedShardError:
                damaged.append(path)
        for path in damaged:
            set_aside(path)
        sync(self.folder)
        return damaged

    def read(self, total: int) -> Iterator[Shard]:
        """The rows below ``total``, in the order of their index.

        Raises:
            FileNotFoundError: some are missing.
            DamagedShardError, UnreadableError: a shard is damaged, or cannot be read.
        """
        if missing := self.missing(total):
            raise FileNotFoundError(
                f"{self.folder} lacks the indices from {missing[0].start} to {missing[0].stop - 1}"
            )
        position = 0
        for indices, path in self._found().items():
            rows = slice(position - indices.start, min(indices.stop, total) - indices.start)
            if rows.start < rows.stop:
                yield {name: values[rows] for name, values in _load(path, len(indices)).items()}
                position = indices.start + rows.stop

    @contextmanager
    def publishing(self, path: Path) -> Iterator[Path]:
        """A draft of a file or folder, beside the shards, which replaces ``path`` when
        the block ends.
        """
        draft, former = self.folder / path.name, self.folder / f"{path.name}.former"
        _remove(draft)
        yield draft
        _remove(former)
        if draft.is_dir() and path.is_dir():
            path.rename(former)
        draft.replace(path)
        _remove(former)

    def remove(self, total: int) -> None:
        """Remove the shards, unless some reach beyond ``total`` and so belong to a
        larger request. Damaged shards stay, for recovery.
        """
        if any(indices.stop > total for indices in self._found()) or not self.folder.is_dir():
            return
        entries = list(self.folder.iterdir())
        kept = [path for path in entries if _ASIDE.fullmatch(path.name)]
        for path in entries:
            if path not in kept:
                _remove(path)
        if not kept:
            _remove(self.folder)

    def _found(self) -> dict[range, Path]:
        try:
            with opening("the folder", self.folder):
                names = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        except FileNotFoundError:
            return {}
        found = {range(int(name[1]), int(name[2])): path for name, path in names if name}
        return dict(sorted(found.items(), key=lambda item: (item[0].start, item[0].stop)))


def _load(path: Path, num: int) -> Shard:
    """The arrays of a shard, each of ``num`` rows.

    Raises:
        DamagedShardError: the checksums, the format or the number of rows is wrong.
        UnreadableError: the file cannot be read.
    """

    def damage(reason: str) -> DamagedShardError:
        return DamagedShardError(f"{path} is damaged ({reason}): run again to recompute its rows")

    fetch(path)
    with telling_damage("the shard", path, damage):
        shard = _arrays(path)
        whole = all(values.shape[:1] == (num,) for values in shard.values())
        checks.require(whole, f"it does not have {num} rows")
    return shard


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            # NumPy checks the checksum of a member only at its end, which a damaged header
            # may hide.
            _check_checksums(file.zip)
            return dict(file)
    except MemoryError as error:
        lack = error
    with zipfile.ZipFile(path) as archive:  # a damaged header may ask for any memory
        _check_checksums(archive)
    raise lack


def _check_checksums(archive: zipfile.ZipFile) -> None:
    """Read all of an archive.

    Raises:
        ValueError: a member has a wrong checksum.
    """
    bad = archive.testzip()
    checks.require(bad is None, f"{bad} has a wrong checksum")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
