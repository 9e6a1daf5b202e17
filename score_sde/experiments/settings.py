"""The settings of a config as values: how to draw, how to train, and how to evaluate."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from score_sde import checks
from score_sde.conditioning.guidance import Guidance
from score_sde.data import Scaling
from score_sde.divergence import Divergence, Hutchinson
from score_sde.experiments.limits import MAX_COUNT
from score_sde.likelihood.dequantization import Dequantizer, UniformDequantizer
from score_sde.likelihood.estimators import Estimator, FlowEstimator, LogProbEstimate, dequantized
from score_sde.sampling import Threshold
from score_sde.sdes.base import SDE, starting_at
from score_sde.training import EMA, Average, PowerEMA
from score_sde.typing import Key, SampleLike, ScoreFn


def _check_counts(**values: Any) -> None:
    """Check numbers that are counted in 32 bits."""
    for name, value in values.items():
        checks.at_least(1, **{name: value})
        if value > MAX_COUNT:
            checks.fail(name, value, f"at most {MAX_COUNT}")


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """The keys of the section ``sampling`` that every sampler has.

    Attributes:
        num_samples: number of samples.
        batch_size: samples drawn at a time.
        denoise: whether each sample ends with Tweedie's formula; samplers whose last
            step gives the data skip it.
        threshold: how the denoised example is kept in the range of the data; None for
            no thresholding.
        guidance: the guidance of the score; None for none.
        classes: for a class-conditional model: sample ``i`` is of class ``classes[i %
            len(classes)]``; None for all classes in turn.
    """

    num_samples: int = 256
    batch_size: int = 256
    denoise: bool = True
    threshold: Threshold | None = None
    guidance: Guidance | None = None
    classes: tuple[int, ...] | int | None = None

    def __post_init__(self) -> None:
        _check_counts(num_samples=self.num_samples, batch_size=self.batch_size)
        for label in self.chosen_classes or ():
            checks.between(0, MAX_COUNT, classes=label)
        if self.classes == ():
            checks.fail("classes", self.classes, "at least one class, or None for all in turn")

    @property
    def chosen_classes(self) -> tuple[int, ...] | None:
        """``classes`` as a tuple."""
        return (self.classes,) if isinstance(self.classes, int) else self.classes

    @property
    def options(self) -> dict[str, Any]:
        """The options of `score_sde.sample`, by name."""
        return {"denoise": self.denoise, "threshold": self.threshold}


_AT_LEAST_ONE = (
    *("num_steps", "batch_size", "num_microbatches", "n_jitted_steps", "fsdp"),
    *("log_every", "checkpoint_every", "keep_last", "max_skipped"),
)
_MAY_BE_NEVER = ("eval_every", "sample_every", "snapshot_every", "keep_every")
"""Intervals of the section ``training`` that may be 0."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The section ``training``: intervals in steps, what is kept, and how devices share
    the work. A step is one update of the parameters.

    Attributes:
        num_steps: number of steps.
        batch_size: examples per step, over all devices.
        num_microbatches: number of parts in which each device computes the gradient of
            its batch, one after the other: the same gradient up to rounding, with less
            memory (except on CPUs).
        n_jitted_steps: steps per compiled call; it must divide the intervals below
            except ``log_every``.
        fsdp: number of devices over which the parameters, their averages and the
            optimizer state are sharded; 1 for a copy on each device.
        log_every: interval of the metrics.
        eval_every: interval of the held-out loss; 0 for never.
        checkpoint_every: interval of the checkpoints.
        sample_every: interval of the sample grids; 0 for never.
        keep_last: number of latest checkpoints to keep.
        keep_best: number of checkpoints to keep with the lowest held-out loss.
        keep_every: checkpoints at multiples of this step are never removed; 0 for none.
        ema_decay: decay of the moving average of the parameters.
        ema_warmup: whether that decay starts small and grows.
        max_skipped: number of successive steps that may be skipped because their
            gradients are not finite; then the run is rolled back to its last checkpoint
            and resumes with other batches.
        max_taken_back: number of rollbacks before the run fails.
        hang_timeout: seconds without progress before the process exits with code 75
            (run it again); 0 for no limit.
        averages: further averages of the parameters. In a config they are texts:
            ``"power:0.05"``, ``"half_life:2000"`` in steps,
            ``"half_life:500000,batch_size=128,ramp=0.05"`` in examples,
            ``"decay:0.999,warmup=False"``.
        snapshot_every: interval of the snapshots of the power averages, needed for
            post-hoc EMA; 0 for never.
        trackers: where metrics go besides ``metrics.jsonl``: names of
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
        checks.at_least(1, **self._values(*_AT_LEAST_ONE))
        checks.at_least(0, **self._values(*_MAY_BE_NEVER, "keep_best", "max_taken_back"))
        checks.at_least(0, hang_timeout=self.hang_timeout)
        _check_counts(**self._values("num_steps", "batch_size"))
        for name, value in self._values(*_MAY_BE_NEVER, "checkpoint_every").items():
            checks.require(
                value % self.n_jitted_steps == 0,
                f"n_jitted_steps={self.n_jitted_steps} must divide {name}={value}",
            )
        if not 0.0 <= self.ema_decay < 1.0:
            checks.fail("ema_decay", self.ema_decay, "at least 0 and less than 1")
        if len(set(self.averages)) < len(self.averages):
            checks.fail("averages", self.averages, "different from each other")
        checks.require(
            not self.snapshot_every or any(isinstance(each, PowerEMA) for each in self.averages),
            f"snapshot_every={self.snapshot_every} needs power averages, such as "
            "training.averages=('power:0.05','power:0.1')",
        )

    def _values(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}

    @property
    def ema(self) -> EMA:
        """The moving average of the parameters."""
        return EMA(decay=self.ema_decay, warmup=self.ema_warmup)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """The section ``eval``: likelihoods and latents of held-out data.

    Attributes:
        batch_size: examples at a time.
        max_examples: number of examples, from the first; None for all.
        t_min: the time of the data, closer to 0 than where sampling ends (1e-5 in Song
            et al. 2021).
        rtol: relative tolerance of the probability-flow ODE.
        atol: absolute tolerance of the probability-flow ODE.
        divergence: how the divergence of the probability flow is computed.
        check_tolerance: whether to solve again with tighter tolerances and report the
            change of the likelihood.
        bound: a variational bound to compute instead of the likelihood under the
            probability flow.
        dequantizer: the density of the dequantization noise in the bins of discrete
            data; None for a bound of the discrete log-likelihood itself.
        num_dequantizations: points in the bins of each example; the result is the
            logarithm of their mean probability. It is no lower bound if the divergence
            or the bound is noisy, as the noise then raises it.
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
        _check_counts(batch_size=self.batch_size, num_dequantizations=self.num_dequantizations)
        checks.positive(rtol=self.rtol, atol=self.atol, t_min=self.t_min)
        if self.max_examples is not None:
            _check_counts(max_examples=self.max_examples)

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
        example: SampleLike,
    ) -> LogProbEstimate:
        """The log-likelihood in nats of one example in data units, at time ``t_min``.

        Discrete data are dequantised ``num_dequantizations`` times; without a
        dequantizer the estimator bounds their discrete log-likelihood. For continuous
        data it is the log density in data units, also where training standardised them.
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
