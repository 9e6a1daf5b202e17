"""Event files for TensorBoard."""

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from score_sde.training.tracking.metrics import MetricWriter
from score_sde.typing import Array, ScalarLike


@final
class TensorBoardWriter(MetricWriter):
    """Writes event files for TensorBoard; a call returns when its events are on the disk.

    After an error the next call begins another file, since TensorBoard reads no further
    than a torn event.

    Args:
        directory: The folder of the event files.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._open: Any = None
        self._path: Path | None = None

    def rewind(self, step: int) -> None:
        """Start a new event file, which makes TensorBoard hide older events after ``step``."""
        self.close()
        start = _protocol().SessionLog(status=_protocol().SessionLog.START)
        self._write(step + 1, [{"session_log": start}])

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write scalars by name."""
        from tensorboardX.summary import scalar

        self._write(
            step,
            [
                {"summary": scalar(name, float(np.asarray(value)))}
                for name, value in scalars.items()
            ],
        )

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write images by name."""
        from tensorboardX.summary import image as summary

        arrays = {name: np.asarray(image) for name, image in images.items()}
        self._write(
            step,
            [
                {"summary": summary(name, image, dataformats="HWC")}
                for name, image in arrays.items()
            ],
        )

    def flush(self) -> None:
        """Does nothing: everything is on the disk already."""

    def close(self) -> None:
        """Close the event file."""
        writer, self._open = self._open, None
        if writer is not None:
            writer.close()

    def _write(self, step: int, contents: Sequence[Mapping[str, Any]]) -> None:
        try:
            writer = self._writer()
            for content in contents:
                writer.write(_event(step=step, **content))
            writer.flush()
        except Exception:
            with contextlib.suppress(OSError):  # closing tries to write the event again
                self.close()
            # Else each try would leave an empty file while the disk is full.
            with contextlib.suppress(OSError):
                if self._path is not None and not self._path.stat().st_size:
                    self._path.unlink()
            raise

    def _writer(self) -> Any:
        if self._open is None:
            # Not SummaryWriter, which writes in a thread: an error ends the thread, and
            # the next call waits for it for ever.
            from tensorboardX.record_writer import RecordWriter

            self.directory.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads files in the order of their names, which must be unique.
            name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{time.time_ns()}"
            self._path = self.directory / name
            self._open = RecordWriter(str(self._path))
            self._open.write(_event(file_version="brain.Event:2"))
        return self._open


def _event(**content: Any) -> bytes:
    return _protocol().Event(wall_time=time.time(), **content).SerializeToString()


def _protocol() -> Any:
    from tensorboardX.proto import event_pb2

    return event_pb2
