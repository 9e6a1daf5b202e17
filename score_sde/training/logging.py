"""Where the numbers and pictures of a run go: JSON lines, TensorBoard, or several at once."""

import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

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

    A number that is not finite becomes ``null``, as JSON has no word for it.

    Args:
        path: The file, usually ``metrics.jsonl``; made with its folder if missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")

    def rewind(self, step: int) -> None:
        """Replace the file, in one go, by its lines up to ``step``; a line cut short by a crash goes too."""
        self._file.close()
        kept = [line for line in _objects(self.path) if line["step"] <= step]
        rewritten = self.path.with_name(self.path.name + ".tmp")
        rewritten.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        rewritten.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Append one line and flush it."""
        values = {name: float(np.asarray(value)) for name, value in scalars.items()}
        line = {"step": step, **{name: value if math.isfinite(value) else None for name, value in values.items()}}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Nothing: a text file holds no pictures."""

    def flush(self) -> None:
        """Bring everything written so far to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file; closing twice does nothing more."""
        if not self._file.closed:
            self.flush()
            self._file.close()


@final
class TensorBoardWriter(MetricWriter):
    """Writes event files for TensorBoard.

    Args:
        directory: The folder of the event files.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._open: Any = None

    def rewind(self, step: int) -> None:
        """Start a new event file which tells TensorBoard to hide what older ones hold after ``step``."""
        self.close()
        self._writer(purge_step=step + 1)

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write numbers by name."""
        for name, value in scalars.items():
            self._writer().add_scalar(name, float(np.asarray(value)), step)

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write pictures by name."""
        for name, image in images.items():
            self._writer().add_image(name, np.asarray(image), step, dataformats="HWC")

    def flush(self) -> None:
        """Bring everything written so far to the disk."""
        if self._open is not None:
            self._open.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _writer(self, purge_step: int | None = None) -> Any:
        if self._open is None:
            from tensorboardX import SummaryWriter  # slow to import

            # The name holds the time in seconds only: two files of one second would overwrite each other.
            suffix = f".{time.time_ns()}"
            self._open = SummaryWriter(str(self.directory), purge_step=purge_step, filename_suffix=suffix)
        return self._open


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
    """The curves in a file of JSON lines: ``{name: (steps, values)}``, in the order they were written.

    Raises:
        FileNotFoundError: Where there is no such file.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in _objects(Path(path)):
        for name, value in line.items():
            if name != "step":
                curves.setdefault(name, []).append((line["step"], math.nan if value is None else value))
    return {name: (np.array([s for s, _ in curve]), np.array([v for _, v in curve])) for name, curve in curves.items()}


def _objects(path: Path) -> list[dict[str, Any]]:
    """The objects in the file; a line that is not one, such as the last of a killed run, is left out."""
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            found.append(line)
    return found
