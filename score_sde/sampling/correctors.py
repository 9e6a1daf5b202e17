"""Correctors: steps of Langevin dynamics at one noise level, which keep ``p_t``.

A step is ``x + eps score + sqrt(2 eps) z`` with ``eps = 2 (a snr r)^2``, where ``r`` is
a ratio of noise to score and ``a^2`` the squared signal scale of one step of the grid:
1 for VE and ``1 - beta_i`` for VP as in the paper, and for every SDE ``(alpha(t) /
alpha(t_next))^2`` (Song et al. 2021, algorithms 4 and 5).

A corrector is a frozen value, called with ``(key, sde, score_fn, x, t, t_next, *, snr,
axis_name)``. Any function with these arguments serves as well.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.sampling.step_functions import Step, StepFunction
from score_sde.typing import ScalarLike

CorrectorFn: TypeAlias = Callable[..., Float[Array, "*shape"]]
"""``(key, sde, score_fn, x, t, t_next, *, snr, axis_name) -> x`` at the same ``t``: a
`Corrector`, or a function, which counts as one evaluation of the score.
"""


@dataclass(frozen=True)
class Corrector(StepFunction):
    """A Langevin step at one time, for a subclass that defines `step`."""

    @abc.abstractmethod
    def step(self, step: Step, snr: float, axis_name: str | None = None) -> Float[Array, "*shape"]:
        """The corrected state at ``step.t``.

        ``snr`` is the signal-to-noise ratio of the step, and ``axis_name`` a ``vmap``,
        ``pmap`` or ``shard_map`` axis over which `langevin` takes the mean of its
        norms.
        """


@dataclass(frozen=True)
class Langevin(Corrector):
    """``r = |z| / |score|``, the norms of the sample itself (Song et al. 2021, algorithms 4 and 5).

    With ``axis_name``, ``r`` is the ratio of the mean norms over that axis, as in the
    published code; a sample then depends on its batch. The step size depends on ``x``,
    so that the step does not keep ``p_t`` exactly: that matters little for images,
    whose norms hardly vary, but much in a few dimensions, where `annealed_langevin` is
    right.
    """

    def step(self, step: Step, snr: float, axis_name: str | None = None) -> Float[Array, "*shape"]:
        """The step, or none where the score is zero."""
        score, noise = step.score(), step.noise()
        norms = jnp.stack([jnp.linalg.norm(jnp.ravel(noise)), jnp.linalg.norm(jnp.ravel(score))])
        noise_norm, score_norm = norms if axis_name is None else jax.lax.pmean(norms, axis_name)
        # A score of zero has no direction to correct in: no step, rather than an
        # infinite one.
        ratio = jnp.where(
            score_norm > 0.0, noise_norm / jnp.where(score_norm > 0.0, score_norm, 1.0), 0.0
        )
        return _stepped(step, score, noise, _step_scale(step, snr) * ratio)


@dataclass(frozen=True)
class AnnealedLangevinStep(Corrector):
    """``r = sigma(t)``, as in annealed Langevin dynamics (Song & Ermon 2019, algorithm 1).

    It is the ratio of the expected norms for data that fill few of their dimensions.
    ``axis_name`` is not used.
    """

    def step(self, step: Step, snr: float, axis_name: str | None = None) -> Float[Array, "*shape"]:
        """The step."""
        score, noise = step.score(), step.noise()
        size = _step_scale(step, snr) * step.sde.marginal(step.t).sigma
        return _stepped(step, score, noise, size)


@dataclass(frozen=True)
class NoCorrector(Corrector):
    """``x``, for no evaluation."""

    evaluations: ClassVar[int] = 0

    def step(self, step: Step, snr: float, axis_name: str | None = None) -> Float[Array, "*shape"]:
        """The state as it is."""
        return step.x


def _step_scale(step: Step, snr: float) -> ScalarLike:
    """``a snr``."""
    return step.sde.transition(step.t_next, step.t).alpha * snr


def _stepped(
    step: Step, score: Float[Array, "*shape"], noise: Float[Array, "*shape"], size: ScalarLike
) -> Float[Array, "*shape"]:
    """``x + eps score + sqrt(2 eps) z`` with ``eps = 2 size^2``."""
    return step.x + 2.0 * jnp.square(size) * score + 2.0 * size * noise


langevin = Langevin()
annealed_langevin = AnnealedLangevinStep()
no_corrector = NoCorrector()
