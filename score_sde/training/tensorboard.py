"""Event files for TensorBoard."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from score_sde.training.logging import MetricWriter
from score_sde.typing import Array, ScalarLike


@final
class TensorBoardWriter(MetricWriter):
    """Writes event files for TensorBoard, all of a call on the disk when it returns.

    After an error the file is left behind, for TensorBoard reads no further than a torn event; the next call begins
    another.

    Args:
        directory: The folder of the event files.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._open: Any = None

    def rewind(self, step: int) -> None:
        """Start a new event file which tells TensorBoard to hide what older ones hold after ``step``."""
        self.close()
        start = _protocol().SessionLog(status=_protocol().SessionLog.START)
        self._write(step + 1, [{"session_log": start}])

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write numbers by name."""
        from tensorboardX.summary import scalar

        self._write(step, [{"summary": scalar(name, float(np.asarray(value)))} for name, value in scalars.items()])

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write pictures by name."""
        from tensorboardX.summary import image as summary

        pictures = {name: np.asarray(image) for name, image in images.items()}
        self._write(step, [{"summary": summary(name, image, dataformats="HWC")} for name, image in pictures.items()])

    def flush(self) -> None:
        """Nothing: what was written is on the disk already."""

    def close(self) -> None:
        """Close the event file."""
        writer, self._open = self._open, None
        if writer is not None:
            writer.close()

    def _write(self, step: int, contents: Sequence[Mapping[str, Any]]) -> None:
        try:
            writer = self._writer()
            for content in contents:
                writer.write_event(_protocol().Event(wall_time=time.time(), step=step, **content))
            writer.flush()
        except Exception:
            with contextlib.suppress(Exception):  # it tries to write once more what it could not write
                self.close()
            raise

    def _writer(self) -> Any:
        if self._open is None:
            # Not its SummaryWriter, which writes in a thread: that dies of an error, and whoever writes next waits for
            # it forever.
            from tensorboardX.event_file_writer import EventsWriter  # slow to import

            self.directory.mkdir(parents=True, exist_ok=True)
            # The name holds the time in seconds only: two files of one second would overwrite each other.
            self._open = EventsWriter(str(self.directory / "events"), f".{time.time_ns()}")
        return self._open


def _protocol() -> Any:
    from tensorboardX.proto import event_pb2

    return event_pb2
