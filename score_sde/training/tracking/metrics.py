"""Writers of the scalars and images of a run: to JSON lines, and to several writers at once."""

import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, final

import numpy as np

from score_sde.runtime.atomic_files import replacing
from score_sde.typing import Array, ScalarLike


class MetricWriter(ABC):
    """Writes scalars and images by step; its methods are named as in ``clu.metric_writers``."""

    @abstractmethod
    def rewind(self, step: int) -> None:
        """Remove everything after ``step``, which a resumed run writes again."""

    @abstractmethod
    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write scalars by name."""

    @abstractmethod
    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write images by name, each ``[h, w, c]`` of uint8 or of floats in [0, 1]."""

    def flush(self) -> None:  # noqa: B027
        """Write everything so far to the disk."""

    def close(self) -> None:
        """Flush, and close all files."""
        self.flush()


@final
class JsonLinesWriter(MetricWriter):
    """Appends one JSON object per line, ``{"step": 10, "loss": 0.5}``, and ignores images.

    A number that is not finite becomes ``null``, since JSON has no other word for it. A
    line is written whole or not at all: one that a full disk cut short is removed, so that
    the next line can be written as soon as there is room.

    Args:
        path: The file, usually ``metrics.jsonl``; made with its folder if missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._open: FileIO | None = None
        self._torn = False
        self._file()

    def rewind(self, step: int) -> None:
        """Replace the file, atomically, by its lines up to ``step``. A line cut short by a
        crash is removed too.
        """
        kept = (
            [line for line in _objects(self.path) if line["step"] <= step]
            if self.path.exists()
            else []
        )
        with replacing(self.path) as rewritten:
            rewritten.write_text(
                "".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8"
            )
            self._let_go()  # the open file is about to be replaced
        self._file()

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Append one line."""
        values = {name: float(np.asarray(value)) for name, value in scalars.items()}
        line = {
            "step": step,
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
        }
        self._append(json.dumps(line, allow_nan=False).encode() + b"\n")

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Does nothing: a text file holds no images."""

    def flush(self) -> None:
        """Write everything so far to the disk."""
        if self._open is not None:
            os.fsync(self._open.fileno())

    def close(self) -> None:
        """Flush and close the file. A second call does nothing."""
        try:
            self.flush()
        finally:
            self._let_go()

    def _file(self) -> FileIO:
        if self._open is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer would keep the rest of a line that failed, and write it later.
            self._open = FileIO(self.path, "a+")
            self._torn = _is_torn(self._open)
        return self._open

    def _append(self, line: bytes) -> None:
        file = self._file()
        start = file.seek(0, os.SEEK_END)
        data = b"\n" + line if self._torn else line
        self._torn = True
        try:
            while data:  # a nearly full disk takes only a part at first
                data = data[file.write(data) :]
            self._torn = False
        except OSError:
            file.truncate(start)
            self._torn = _is_torn(file)
            raise

    def _let_go(self) -> None:
        file, self._open = self._open, None
        if file is not None:
            file.close()


@final
class MultiWriter(MetricWriter):
    """Passes every call on to several writers, in order.

    Args:
        writers: The writers.
    """

    def __init__(self, writers: Sequence[MetricWriter] = ()) -> None:
        self.writers = tuple(writers)

    def rewind(self, step: int) -> None:
        """Rewind every writer."""
        for writer in self.writers:
            writer.rewind(step)

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write to every writer."""
        for writer in self.writers:
            writer.write_scalars(step, scalars)

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write to every writer."""
        for writer in self.writers:
            writer.write_images(step, images)

    def flush(self) -> None:
        """Flush every writer."""
        for writer in self.writers:
            writer.flush()

    def close(self) -> None:
        """Close every writer."""
        for writer in self.writers:
            writer.close()


def read_scalars(path: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The curves in a file of JSON lines: ``{name: (steps, values)}``, in the order of the
    lines.

    Raises:
        FileNotFoundError: Where there is no such file.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in _objects(Path(path)):
        for name, value in line.items():
            if name != "step" and (value is None or isinstance(value, float) or _is_whole(value)):
                curves.setdefault(name, []).append(
                    (line["step"], math.nan if value is None else value)
                )
    return {
        name: (np.array([s for s, _ in curve]), np.array([v for _, v in curve]))
        for name, curve in curves.items()
    }


def _is_whole(value: Any) -> bool:
    """Whether a value is an integer within the range of floats."""
    return isinstance(value, int) and abs(value) < 2**1000


def _objects(path: Path) -> list[dict[str, Any]]:
    """The objects in the file. Lines without one, such as the last of a killed run, are
    skipped.
    """
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and _is_whole(line.get("step")):
            found.append(line)
    return found


def _is_torn(file: FileIO) -> bool:
    """Whether the last line has no end, as a killed run may leave it."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return False
    file.seek(end - 1)
    return file.read(1) != b"\n"


def nan_mean(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN where all are.

    A metric is NaN where no example of the batch has it, such as the loss at a noise level
    that was not drawn.

    >>> nan_mean([1.0, math.nan, 3.0])
    2.0
    """
    found = [value for value in values if not math.isnan(value)]
    return sum(found) / len(found) if found else math.nan


def without_missing(values: Mapping[str, float]) -> dict[str, float]:
    """The metrics without missing ones, which are NaN. A loss that is NaN is not missing."""
    kept = ("loss", "grad_norm", "eval_loss")
    return {name: value for name, value in values.items() if name in kept or not math.isnan(value)}
