"""Updates that were left out as their gradients were not finite: told, counted, and too
many in a row refused.
"""

from collections.abc import Callable

import numpy as np

from score_sde.runtime.fingerprints import named_leaves
from score_sde.training.state import TrainState
from score_sde.training.step import Metrics


class DivergedError(Exception):
    """Too many updates in a row were left out.

    Attributes:
        position: How many batches have been read by then.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class Health:
    """Watches the metrics of a run, one dispatch behind it: so it waits for nothing
    that is still being computed.

    Args:
        max_skipped: How many updates in a row may be left out, less one.
        state: A state, whose parameters have the names to tell.
        note: Told in a line of the first update of a row that is left out.
    """

    METRICS = ("skipped", "bad_leaf")
    """The metrics that are for it alone."""

    def __init__(self, max_skipped: int, state: TrainState, note: Callable[[str], None]) -> None:
        self._max, self._note = max_skipped, note
        self._names = list(named_leaves(state.params))
        self._waiting: tuple[int, int, Metrics] | None = None
        self._skipped = 0

    def check_before(self, step: int, position: int, metrics: Metrics) -> None:
        """Take the metrics of the dispatch that ends with ``step``, and check those
        that were taken before.

        Raises:
            DivergedError: Where too many updates in a row were left out.
        """
        self.check_now()
        self._waiting = (step, position, metrics)

    def check_now(self) -> int:
        """Check what was taken; return how many of the last updates in a row were left out.

        Raises:
            DivergedError: Where there are too many of them.
        """
        if self._waiting is None:
            return self._skipped
        step, read, metrics = self._waiting
        self._waiting = None
        counts = np.asarray(metrics["skipped"])
        for row, number in enumerate(range(step - len(counts) + 1, step + 1)):
            self._skipped = int(counts[row])
            if self._skipped >= self._max:
                first = (
                    f"{self._skipped} updates in a row, to step {number}, were left out: at "
                    "the last "
                )
                raise DivergedError(first + self._line(metrics, row), read)
            if self._skipped == 1:
                self._note(f"step {number} is left out: {self._line(metrics, row)}")
        return self._skipped

    def _line(self, metrics: Metrics, row: int) -> str:
        loss, norm = (float(metrics[name][row]) for name in ("loss", "grad_norm"))
        leaf = int(metrics["bad_leaf"][row])
        where = f", which is not finite in {self._names[leaf]} first" if leaf >= 0 else ""
        return f"the loss is {loss:.4g} and the norm of its gradient {norm:.4g}{where}"
