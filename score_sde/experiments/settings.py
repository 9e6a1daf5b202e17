"""The settings of a config, as values: how to draw, how to train, and how to evaluate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Shaped

from score_sde.conditioning.guidance import Guidance
from score_sde.data import Scaling
from score_sde.divergence import Divergence, Hutchinson
from score_sde.likelihood.dequantization import Dequantizer, UniformDequantizer
from score_sde.likelihood.estimators import Estimator, FlowEstimator, LogProbEstimate, dequantized
from score_sde.sampling import Threshold
from score_sde.sdes.base import SDE, starting_at
from score_sde.training import EMA, Average, PowerEMA
from score_sde.typing import Key, ScoreFn


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How samples are asked for: the keys of the section ``sampling`` besides the sampler's own.

    ``denoise`` ends every sample with Tweedie's formula, unless its sampler ends with
    the data; ``threshold`` keeps the denoised image in the range of the data;
    ``guidance`` is what is made of the score first; ``batch_size`` samples are drawn at
    a time. ``classes``: the classes of the samples of a class-conditional model, sample
    ``i`` of class ``classes[i % len(classes)]``; all in turn unless given.
    """

    num_samples: int = 256
    batch_size: int = 256
    denoise: bool = True
    threshold: Threshold | None = None
    guidance: Guidance | None = None
    classes: tuple[int, ...] | int | None = None

    def __post_init__(self) -> None:
        _positive("sampling", num_samples=self.num_samples, batch_size=self.batch_size)
        if self.classes == ():
            raise ValueError("sampling.classes must have a class, or be None for all in turn")

    @property
    def chosen_classes(self) -> tuple[int, ...] | None:
        """``classes`` as a tuple."""
        return (self.classes,) if isinstance(self.classes, int) else self.classes

    @property
    def options(self) -> dict[str, Any]:
        """Those of `sample`, by name."""
        return {"denoise": self.denoise, "threshold": self.threshold}


_MAY_BE_NEVER = ("eval_every", "sample_every", "snapshot_every", "keep_every")
"""Intervals of the section ``training`` that may be 0."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The section ``training``: lengths in steps, what is kept, and how the work is spread.

    Attributes:
        num_steps: how many updates.
        batch_size: examples of one, over all devices.
        num_microbatches: in how many parts the gradient of a batch is computed, one
            after the other: the same up to rounding, in the memory of one (but on
            CPUs).
        n_jitted_steps: how many updates are one dispatch; it must divide the intervals
            below but ``log_every``.
        fsdp: over how many devices the parameters, their averages and the state of the
            optimizer are split; 1 for a copy on each.
        log_every: between how many steps the metrics are written.
        eval_every: between how many the held-out loss is computed; 0 for never.
        checkpoint_every: between how many a checkpoint is written.
        sample_every: between how many samples are drawn; 0 for never.
        keep_last: how many of the latest checkpoints are kept.
        keep_best: how many of the best by the held-out loss are kept besides.
        keep_every: those of the multiples of this many steps are kept for good; 0 for
            none.
        ema_decay: of the average of the parameters.
        ema_warmup: whether the decay grows from small values.
        max_skipped: after how many updates in a row that were left out, as their
            gradients were not finite, the run is taken back to its last checkpoint, to
            go on with other data.
        max_taken_back: how often, before it stops.
        hang_timeout: seconds without progress after which a run ends, to be run again;
            0 for never.
        averages: further averages, which a config names by texts: ``"power:0.05"``,
            ``"half_life:2000"`` in steps,
            ``"half_life:500000,batch_size=128,ramp=0.05"`` in examples,
            ``"decay:0.999,warmup=False"``.
        snapshot_every: between how many steps snapshots of the power averages are kept,
            from which those of other widths are made after training; 0 for never.
        trackers: where metrics go besides ``metrics.jsonl``: the names of
            ``score_sde.training.tracking.writers.TRACKERS``.
    """

    num_steps: int = 10000
    batch_size: int = 128
    num_microbatches: int = 1
    n_jitted_steps: int = 1
    fsdp: int = 1
    log_every: int = 50
    eval_every: int = 500
    checkpoint_every: int = 1000
    sample_every: int = 1000
    keep_last: int = 2
    keep_best: int = 1
    keep_every: int = 0
    ema_decay: float = 0.9999
    ema_warmup: bool = True
    max_skipped: int = 10
    max_taken_back: int = 2
    hang_timeout: float = 3600.0
    averages: tuple[Average, ...] = ()
    snapshot_every: int = 0
    trackers: tuple[str, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        _positive(
            "training",
            num_steps=self.num_steps,
            batch_size=self.batch_size,
            log_every=self.log_every,
        )
        _positive("training", checkpoint_every=self.checkpoint_every, keep_last=self.keep_last)
        _positive(
            "training", num_microbatches=self.num_microbatches, n_jitted_steps=self.n_jitted_steps
        )
        _positive("training", fsdp=self.fsdp, max_skipped=self.max_skipped)
        for name in ("num_steps", "batch_size"):  # which are counted in 32 bits
            if getattr(self, name) >= 2**31:
                raise ValueError(
                    f"training.{name} must be at most {2**31 - 1}, got {getattr(self, name)}"
                )
        for name in (*_MAY_BE_NEVER, "keep_best", "max_taken_back", "hang_timeout"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"training.{name} must not be negative, got {getattr(self, name)}")
        for name in (*_MAY_BE_NEVER, "checkpoint_every"):
            if getattr(self, name) % self.n_jitted_steps:
                raise ValueError(
                    f"training.n_jitted_steps={self.n_jitted_steps} must divide "
                    f"training.{name}={getattr(self, name)}"
                )
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(
                f"training.ema_decay must be at least 0 and less than 1, got {self.ema_decay}"
            )
        for number, average in enumerate(self.averages):
            if average in self.averages[:number]:
                raise ValueError(f"training.averages has the same twice: {average}")
        if self.snapshot_every and not any(
            isinstance(average, PowerEMA) for average in self.averages
        ):
            raise ValueError(
                "training.snapshot_every needs power averages: "
                "training.averages=('power:0.05','power:0.1')"
            )

    @property
    def ema(self) -> EMA:
        """How the parameters are averaged."""
        return EMA(decay=self.ema_decay, warmup=self.ema_warmup)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """The section ``eval``: how the likelihood of held-out data is computed, and their latents.

    The data are taken to live at ``t_min``, nearer to zero than sampling goes (1e-5 in
    Song et al. 2021).

    Attributes:
        batch_size: examples at a time.
        max_examples: how many, from the first on; None for all.
        t_min: the time at which the data are taken to live.
        rtol: relative tolerance of the probability-flow ODE.
        atol: absolute tolerance.
        divergence: how its divergence is computed.
        check_tolerance: solve once more with tighter tolerances, and tell how far the
            likelihood moved.
        bound: a variational bound to take in place of the likelihood under the
            probability flow.
        dequantizer: the density on the bins of data with levels; None for the bound of
            their probability itself.
        num_dequantizations: points in the bins of each example, of whose mean
            probability the logarithm is taken. With a divergence or a bound that has
            noise, that lifts the result, which is a bound no longer.
    """

    batch_size: int = 64
    max_examples: int | None = None
    t_min: float = 1e-5
    rtol: float = 1e-5
    atol: float = 1e-5
    divergence: Divergence = Hutchinson()  # noqa: RUF009 - a frozen value
    check_tolerance: bool = False
    bound: Estimator | None = None
    dequantizer: Dequantizer | None = UniformDequantizer()  # noqa: RUF009 - a frozen value
    num_dequantizations: int = 1

    def __post_init__(self) -> None:
        _positive("eval", batch_size=self.batch_size, num_dequantizations=self.num_dequantizations)
        for name in ("rtol", "atol", "t_min"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"eval.{name} must be positive, got {getattr(self, name)}")
        if self.max_examples is not None:
            _positive("eval", max_examples=self.max_examples)

    @property
    def estimator(self) -> Estimator:
        """The bound, or the likelihood under the probability flow."""
        options = {"rtol": self.rtol, "atol": self.atol, "check_tolerance": self.check_tolerance}
        return self.bound or FlowEstimator(divergence=self.divergence, **options)

    def log_likelihood(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        scaling: Scaling,
        example: Shaped[ArrayLike, "*shape"],
    ) -> LogProbEstimate:
        """The log-likelihood of one example in data units, taken to live at ``t_min``.

        Data with levels are dequantised ``num_dequantizations`` times; without a
        dequantizer the estimator is asked for their probability. The density of
        continuous data is that in their own units, standardised or not.
        """
        sde, estimator = starting_at(sde, self.t_min), self.estimator
        if scaling.num_levels is None:
            found = estimator.density(key, sde, score_fn, scaling.to_model(key, example))
            return found._replace(log_prob=found.log_prob + scaling.log_det(np.shape(example)))
        if self.dequantizer is None:
            return estimator.probability(
                key, sde, score_fn, example, scaling.bins, scaling.num_levels
            )
        options = {"dequantizer": self.dequantizer, "num_samples": self.num_dequantizations}
        return dequantized(
            key, sde, score_fn, example, estimator=estimator, bins=scaling.bins, **options
        )


def _positive(section: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{section}.{name} must be at least 1, got {value}")
