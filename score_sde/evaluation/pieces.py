"""Finished pieces of long work, kept on disk, so that interrupted work goes on where it was.

A piece ``<start>-<stop>.npz`` holds what belongs to these indices: the samples, or the
likelihoods of the examples. Pieces lie in a folder of their own for each fingerprint,
so that results of different models, seeds or samplers never come together.
"""

import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.unreadable import opening, set_aside, telling_damage

_NAME = re.compile(r"(\d+)-(\d+)\.npz")

_ASIDE = re.compile(r"\d+-\d+\.npz\.damaged(-\d+)?")
"""The names of damaged pieces, which are kept."""


Piece: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by name, each with one row for each index of the piece."""


class DamagedPieceError(OSError):
    """A piece that does not hold what was written."""


class Pieces:
    """The pieces of one request, in a hidden folder beside the results.

    Args:
        folder: where the results will be.
        fingerprint: of everything that the rows depend on, the number of them and their
            batches aside.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder / f".pieces-{fingerprint[:12]}"

    def write(self, start: int, piece: Piece) -> None:
        """Keep the rows from index ``start`` on, wholly or not at all.

        Raises:
            ValueError: where the arrays are not equally long.
        """
        lengths = {name: len(rows) for name, rows in piece.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the arrays of a piece must be equally long, got {lengths}")
        arrays: dict[str, Any] = dict(piece)
        path = self.folder / f"{start:08d}-{start + next(iter(lengths.values())):08d}.npz"
        with replacing(path) as temporary, temporary.open("wb") as file:
            # Not compressed, but a zip archive with its checksums all the same.
            np.savez(file, **arrays)

    def missing(self, total: int) -> list[range]:
        """The indices below ``total`` that no piece holds, by the names of the files.

        Raises:
            UnreadableError: where the folder cannot be listed.
        """
        gaps, position = [], 0
        for indices in [*self._found(), range(total, total)]:
            gaps.append(range(position, min(indices.start, total)))
            position = max(position, indices.stop)
        return [gap for gap in gaps if gap]

    def drop_damaged(self) -> list[Path]:
        """Rename the pieces that do not hold what was written to ``NAME.damaged``, and
        return their former paths.

        Raises:
            UnreadableError: where one cannot be read, and may be whole; then none is
                renamed.
        """
        damaged = []
        for indices, path in self._found().items():
            try:
                _load(path, len(indices))
            except DamagedPieceError:
                damaged.append(path)
        for path in damaged:
            set_aside(path)
        return damaged

    def read(self, total: int) -> Iterator[Piece]:
        """The rows below ``total``, in the order of their index.

        Raises:
            FileNotFoundError: where some are missing.
            DamagedPieceError, UnreadableError: where one is damaged, or cannot be read.
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
        """A place among the pieces for a file or folder, which takes that of ``path``
        when the block ends.
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
        """Forget the pieces, unless some reach beyond ``total``: those belong to a larger request.

        Damaged ones stay: something may still be recovered from them.
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


def _load(path: Path, num: int) -> Piece:
    """The arrays of a piece, each of ``num`` rows.

    Raises:
        DamagedPieceError: where the file does not hold what was written: by its
            checksums, its format or its rows.
        UnreadableError: where it cannot be read.
    """

    def damage(reason: str) -> DamagedPieceError:
        return DamagedPieceError(
            f"{path} is damaged ({reason}): run again, and its rows are computed anew"
        )

    with telling_damage("the finished part", path, damage):
        piece = _arrays(path)
        if any(values.shape[:1] != (num,) for values in piece.values()):
            raise ValueError(f"it does not have {num} rows")
    return piece


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # numpy leaves a damaged file open that it has opened itself.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            # numpy itself looks at a checksum only where it reads to the end: a damaged
            # header may say less.
            _check_checksums(file.zip)
            return dict(file)
    except MemoryError as error:
        lack = error
    with zipfile.ZipFile(path) as archive:  # a damaged header asks for memory without bound
        _check_checksums(archive)
    raise lack


def _check_checksums(archive: zipfile.ZipFile) -> None:
    """Read all of an archive.

    Raises:
        ValueError: where a member has another checksum than was written.
    """
    if (bad := archive.testzip()) is not None:
        raise ValueError(f"{bad} has another checksum")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
