"""The rule by which a run keeps or removes its checkpoints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from score_sde import checks


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Keeps the latest checkpoints, the best ones, and those at every so many steps.

    >>> rule = Retention(best_metric="fid", best_mode="min")
    >>> rule.merit({"fid": 3.0}) > rule.merit({"fid": 4.0}) > rule.merit({})
    True

    Attributes:
        keep_last: Number of latest checkpoints to keep, at least 1.
        keep_best: Number of best checkpoints to keep in addition.
        keep_every: Checkpoints at multiples of this number of steps are always kept; 0
            for none.
        best_metric: The metric that decides which are best; a checkpoint without it is
            never among them.
        best_mode: Whether the smallest (``"min"``) or largest (``"max"``) is best.

    Raises:
        ValueError: For a number or mode outside these ranges.
    """

    keep_last: int = 2
    keep_best: int = 1
    keep_every: int = 0
    best_metric: str = "eval_loss"
    best_mode: str = "min"

    def __post_init__(self) -> None:
        resumes = "since a run resumes from its last checkpoint"
        checks.at_least(1, keep_last=self.keep_last, because=resumes)
        checks.at_least(0, keep_best=self.keep_best, keep_every=self.keep_every)
        checks.one_of(("min", "max"), best_mode=self.best_mode)

    def merit(self, metrics: Mapping[str, float] | None) -> float:
        """A number that is largest for the best checkpoint; minus infinity where the
        metric is missing or NaN.
        """
        value = (metrics or {}).get(self.best_metric, math.nan)
        if math.isnan(value):
            return -math.inf
        return value if self.best_mode == "max" else -value

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Whether to keep each of ``checkpoints``, given in the order of their steps.

        Orbax calls it, as a preservation policy.
        """
        merits = [self.merit(checkpoint.metrics) for checkpoint in checkpoints]
        measured = [i for i, merit in enumerate(merits) if merit > -math.inf]
        best = sorted(measured, key=lambda i: merits[i], reverse=True)[: self.keep_best]
        last = len(checkpoints) - self.keep_last
        return [
            i >= last or i in best or self._is_permanent(checkpoints[i].step)
            for i in range(len(checkpoints))
        ]

    def _is_permanent(self, step: int) -> bool:
        return self.keep_every > 0 and step % self.keep_every == 0
