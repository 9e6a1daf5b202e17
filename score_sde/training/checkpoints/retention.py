"""Which checkpoints of a run stay on the disk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Keep the latest few checkpoints, the best few of those that were measured, and
    one every so many steps.

    Attributes:
        keep_last: How many of the latest, at least 1.
        keep_best: How many of the best besides.
        keep_every: Those of the multiples of this many steps are kept for good; 0 for
            none.
        best_metric: The name of the metric that decides; a checkpoint without it is
            never among the best.
        best_mode: ``"min"`` or ``"max"``: which value of the metric is the best.

    Raises:
        ValueError: For a count or a mode that makes no sense.
    """

    keep_last: int = 2
    keep_best: int = 1
    keep_every: int = 0
    best_metric: str = "eval_loss"
    best_mode: str = "min"

    def __post_init__(self) -> None:
        if self.keep_last < 1:
            raise ValueError(
                f"keep_last must be at least 1, not {self.keep_last}: a run resumes from its last "
                "checkpoint"
            )
        if self.keep_best < 0:
            raise ValueError(f"keep_best must not be negative, not {self.keep_best}")
        if self.keep_every < 0:
            raise ValueError(f"keep_every must not be negative, not {self.keep_every}")
        if self.best_mode not in ("min", "max"):
            raise ValueError(f"best_mode must be 'min' or 'max', not {self.best_mode!r}")

    def merit(self, metrics: Mapping[str, float] | None) -> float:
        """What is largest for the best checkpoint; minus infinity for one that was not
        measured or gave no number.
        """
        value = (metrics or {}).get(self.best_metric, math.nan)
        if math.isnan(value):
            return -math.inf
        return value if self.best_mode == "max" else -value

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Whether each of ``checkpoints``, in the order of their steps, stays; the form
        that orbax asks in.
        """
        merits = [self.merit(checkpoint.metrics) for checkpoint in checkpoints]
        measured = [i for i, merit in enumerate(merits) if merit > -math.inf]
        best = sorted(measured, key=lambda i: merits[i], reverse=True)[: self.keep_best]
        last = len(checkpoints) - self.keep_last
        return [
            i >= last or i in best or self._is_for_good(checkpoints[i].step)
            for i in range(len(checkpoints))
        ]

    def _is_for_good(self, step: int) -> bool:
        return self.keep_every > 0 and step % self.keep_every == 0
