"""Skipped updates, whose gradients were not finite: reported, counted, and limited."""

from collections.abc import Callable

import numpy as np

from score_sde.runtime.fingerprints import named_leaves
from score_sde.training.state import TrainState
from score_sde.training.step import Metrics


class DivergedError(Exception):
    """Too many updates in a row were skipped.

    Attributes:
        position: The number of batches read so far.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class Health:
    """Checks the metrics of a run one dispatch late, so that it waits for no computation.

    Args:
        max_skipped: So many updates skipped in a row are an error.
        state: A state of the run, for the names of its parameters.
        note: Shows a line: the first skipped update of each row of them.
    """

    METRICS = ("skipped", "bad_leaf")
    """The metrics of a step that are used here alone."""

    def __init__(self, max_skipped: int, state: TrainState, note: Callable[[str], None]) -> None:
        self._max, self._note = max_skipped, note
        self._names = list(named_leaves(state.params))
        self._waiting: tuple[int, int, Metrics] | None = None
        self._skipped = 0

    def check_before(self, step: int, position: int, metrics: Metrics) -> None:
        """Keep the metrics of the dispatch that ends with ``step``, and check the metrics
        kept before.

        Raises:
            DivergedError: Where too many updates in a row were skipped.
        """
        self.check_now()
        self._waiting = (step, position, metrics)

    def check_now(self) -> int:
        """Check the metrics kept; return how many of the latest updates in a row were skipped.

        Raises:
            DivergedError: Where they are too many.
        """
        if self._waiting is None:
            return self._skipped
        step, read, metrics = self._waiting
        self._waiting = None
        counts = np.asarray(metrics["skipped"])
        for row, number in enumerate(range(step - len(counts) + 1, step + 1)):
            self._skipped = int(counts[row])
            if self._skipped >= self._max:
                raise DivergedError(
                    f"{self._skipped} updates in a row, to step {number}, were skipped: "
                    f"in the last, {self._line(metrics, row)}",
                    read,
                )
            if self._skipped == 1:
                self._note(f"step {number} is skipped: {self._line(metrics, row)}")
        return self._skipped

    def _line(self, metrics: Metrics, row: int) -> str:
        loss, norm = (float(metrics[name][row]) for name in ("loss", "grad_norm"))
        leaf = int(metrics["bad_leaf"][row])
        where = f", which is not finite in {self._names[leaf]} first" if leaf >= 0 else ""
        return f"the loss is {loss:.4g} and the norm of its gradient {norm:.4g}{where}"
