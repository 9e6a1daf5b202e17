"""The speed of a run, and the time it spends on waiting."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax


class Speed:
    """Measures the time between two calls of ``measure``.

    Args:
        batch_size: Examples per step.
    """

    METRICS = (
        "steps_per_sec",
        "images_per_sec",
        "data_wait",
        "checkpoint_wait",
        "device_memory_gib",
    )
    """The metrics that ``measure`` may return."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._saved = 0.0
        self._step: int | None = None

    def start(self) -> None:
        """Begin to measure. The first speed, which would include the compilation, is skipped."""
        self._step, self._since, self._before, self._saved = None, time.monotonic(), 0.0, 0.0

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Count the time of the block as spent on saving."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._saved += time.monotonic() - start

    def measure(self, step: int, *, waited: float) -> dict[str, float]:
        """The speed since the last measurement, once all steps up to ``step`` are done.

        Args:
            step: The step.
            waited: Seconds spent on waiting for data since the start.

        Returns:
            ``steps_per_sec`` and ``images_per_sec``; the fractions of the time spent on
            waiting for data, ``data_wait``, and on saving, ``checkpoint_wait``; and where
            the device reports it, its peak memory in GiB, ``device_memory_gib``.
        """
        now, found = time.monotonic(), {}
        if self._step is not None and step > self._step:
            seconds, steps = now - self._since, step - self._step
            found = {
                "steps_per_sec": steps / seconds,
                "images_per_sec": steps * self._batch_size / seconds,
                "data_wait": (waited - self._before) / seconds,
                "checkpoint_wait": self._saved / seconds,
            }
        self._step, self._since, self._before, self._saved = step, now, waited, 0.0
        return {**found, **_memory()}


def _memory() -> dict[str, float]:
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {} if peak is None else {"device_memory_gib": peak / 2**30}
