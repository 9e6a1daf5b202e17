"""Where the numbers and pictures of a run go: JSON lines, or several places at once."""

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
    """Takes scalars and pictures by step; the method names are those of ``clu.metric_writers``."""

    @abstractmethod
    def rewind(self, step: int) -> None:
        """Forget what was written after ``step``: a resumed run writes it again."""

    @abstractmethod
    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write numbers by name."""

    @abstractmethod
    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write pictures by name: ``[h, w, c]``, uint8 or floats in [0, 1]."""

    def flush(self) -> None:  # noqa: B027
        """Bring everything written so far to the disk."""

    def close(self) -> None:
        """Flush, and let go of files."""
        self.flush()


@final
class JsonLinesWriter(MetricWriter):
    """Appends one JSON object per line, ``{"step": 10, "loss": 0.5}``, and ignores pictures.

    A number that is not finite becomes ``null``, as JSON has no word for it. A line is
    written whole or not at all: what a full disk has cut short is taken back, so that
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
        """Replace the file, in one go, by its lines up to ``step``; a line cut short by
        a crash goes too.
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
            self._let_go()  # before the file is another
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
        """Nothing: a text file holds no pictures."""

    def flush(self) -> None:
        """Bring everything written so far to the disk."""
        if self._open is not None:
            os.fsync(self._open.fileno())

    def close(self) -> None:
        """Flush and close the file; closing twice does nothing more."""
        try:
            self.flush()
        finally:
            self._let_go()

    def _file(self) -> FileIO:
        if self._open is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer, which would hold the rest of a line that could not be
            # written, and write it later.
            self._open = FileIO(self.path, "a+")
            self._torn = _is_torn(self._open)
        return self._open

    def _append(self, line: bytes) -> None:
        file = self._file()
        start = file.seek(0, os.SEEK_END)
        data = b"\n" + line if self._torn else line
        self._torn = True
        try:
            while data:
                data = data[
                    file.write(data) :
                ]  # a nearly full disk takes a part, and refuses the rest
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
    """Passes everything on to several writers, in order; to none, if there are none.

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
    """The curves in a file of JSON lines: ``{name: (steps, values)}``, in the order
    they were written.

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
    """Whether a value is a whole number that a float can be."""
    return isinstance(value, int) and abs(value) < 2**1000


def _objects(path: Path) -> list[dict[str, Any]]:
    """The objects in the file; a line that is not one, such as the last of a killed
    run, is left out.
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
    """Whether the last line lacks its end, which a killed run has left."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return False
    file.seek(end - 1)
    return file.read(1) != b"\n"


def mean_of_those_there(values: Sequence[float]) -> float:
    """The mean but for NaN, which is what no example of a batch has; NaN where none of
    them has it.
    """
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def those_there(values: Mapping[str, float]) -> dict[str, float]:
    """Without what no example of the batch has; a loss that is NaN is there."""
    kept = ("loss", "grad_norm", "eval_loss")
    return {name: value for name, value in values.items() if name in kept or not math.isnan(value)}
