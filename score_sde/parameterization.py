"""What a network predicts, and the score and the denoised sample that follow from it.

With ``x_t = alpha x_0 + sigma eps``, each prediction is an affine function of each
other one given ``(x_t, t)``; they differ in how well a network can learn them. A
parameterization also gives the inputs of the network: a scaled ``x_t`` and a time
label.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import wide_time
from score_sde.renamed import renamed
from score_sde.sdes import SDE, ddpm_marginals
from score_sde.sdes.discrete_vp import whole_if_near
from score_sde.typing import Scalar, ScalarLike

Values: TypeAlias = Float[Array, "*shape"]
"""Numbers of the shape of one sample: the sample itself, a score, or a network's output."""

TimeLabel: TypeAlias = Callable[[SDE, ScalarLike], Scalar]
"""``(sde, t) -> label``: the number that conditions a network on the noise level."""


ROUNDING = 1e-3
"""More than the rounding error of an index below 1,000 in float32."""


def scaled_time(sde: SDE, t: ScalarLike) -> Scalar:
    """``999 t / t_max``, the range of DDPM's step index, whatever the number of steps:
    the label of the VP networks of Song et al. 2021.
    """
    return jnp.asarray(t) * (999.0 / sde.t_max)


def noise_level(sde: SDE, t: ScalarLike) -> Scalar:
    """``sigma(t)``, the label of the VE networks of Song et al. 2021."""
    return jnp.asarray(sde.marginal(t).sigma)


def log_noise_to_signal(sde: SDE, t: ScalarLike) -> Scalar:
    """``log(sigma / alpha) / 4``, the label ``c_noise`` of Karras et al. 2022, table 1."""
    return -0.125 * sde.log_snr(t)


@renamed(num_levels="num_scales")
@dataclass(frozen=True, kw_only=True)
class StepIndex:
    """``num_scales t - 1``, from 0: the index of a level of `DiscreteVPSDE`, the label
    of networks of discrete models.

    At the time of a level it is a whole number, in spite of rounding.
    """

    num_scales: int = 1000

    def __post_init__(self) -> None:
        checks.at_least(2, num_scales=self.num_scales)

    def __call__(self, sde: SDE, t: ScalarLike) -> Scalar:
        """The index, or a number between two indices.

        Raises:
            ValueError: where the SDE has another number of levels.
        """
        levels = getattr(sde, "num_scales", self.num_scales)
        checks.require(
            levels == self.num_scales,
            f"num_scales={self.num_scales} of the time label must be {levels}, the number of "
            "levels of the SDE",
        )
        return jnp.clip(
            whole_if_near(jnp.asarray(wide_time(t)) * self.num_scales) - 1.0,
            0.0,
            self.num_scales - 1.0,
        )


@dataclass(frozen=True, kw_only=True)
class Parameterization(abc.ABC):
    """The meaning of a network's output and of its inputs, for one sample ``x`` of any
    shape and a scalar ``t``.

    Attributes:
        time_label: ``(sde, t) -> label``, the number that conditions the network on the
            noise level.
    """

    time_label: TimeLabel = scaled_time

    @property
    def label_is_logarithm(self) -> bool:
        """Whether the time label is already the logarithm of a noise level, so that the
        network need not take one.
        """
        return self.time_label is log_noise_to_signal

    @property
    def shows_image(self) -> bool:
        """Whether the denoised sample follows from the output even at ``alpha = 0``,
        where the input has no signal.
        """
        return False

    def network_input(self, sde: SDE, x: Values, t: ScalarLike) -> tuple[Values, Scalar]:
        """``(input, label)`` for the network; by default ``x`` unscaled."""
        return x, self.time_label(sde, t)

    @abc.abstractmethod
    def score(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``grad_x log p_t(x)`` from the network's output."""

    @abc.abstractmethod
    def output(self, sde: SDE, score: Values, x: Values, t: ScalarLike) -> Values:
        """The output for which the score is ``score``: the inverse of `score`."""

    def denoised(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``E[x_0 | x_t]`` from the network's output: ``(x + sigma^2 score) / alpha``."""
        alpha, sigma = sde.marginal(t)
        return (x + jnp.square(sigma) * self.score(sde, output, x, t)) / alpha


class _PredictsNoise(Parameterization):
    """The network predicts ``eps``."""

    @abc.abstractmethod
    def sigma(self, sde: SDE, t: ScalarLike) -> Scalar:
        """The standard deviation of the noise at ``t``."""

    def score(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``-output / sigma``."""
        del x
        return -output / self.sigma(sde, t)

    def output(self, sde: SDE, score: Values, x: Values, t: ScalarLike) -> Values:
        """``-sigma score``."""
        del x
        return -self.sigma(sde, t) * score


class _PredictsScore(Parameterization):
    """The network predicts the score itself."""

    def score(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``output``."""
        del sde, x, t
        return output

    def output(self, sde: SDE, score: Values, x: Values, t: ScalarLike) -> Values:
        """``score``."""
        del sde, x, t
        return score


@dataclass(frozen=True, kw_only=True)
class NoisePrediction(_PredictsNoise):
    """The network predicts ``eps``: ``score = -output / sigma`` (Ho et al. 2020,
    section 3.2).

    >>> import jax.numpy as jnp, score_sde as ss
    >>> output, x = jnp.ones(2), jnp.zeros(2)
    >>> ss.NoisePrediction().score(ss.RectifiedFlowSDE(), output, x, 0.5)
    Array([-2., -2.], dtype=float32)
    """

    def sigma(self, sde: SDE, t: ScalarLike) -> Scalar:
        """``sigma(t)`` of the SDE."""
        return sde.marginal(t).sigma

    def denoised(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``(x - sigma output) / alpha``."""
        alpha, sigma = sde.marginal(t)
        return (x - sigma * output) / alpha


@dataclass(frozen=True, kw_only=True)
class ScorePrediction(_PredictsScore):
    """The network predicts the score (Song & Ermon 2019); its label is ``sigma``.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> ss.ScorePrediction().score(ss.VESDE(), jnp.ones(2), jnp.zeros(2), 0.5)
    Array([1., 1.], dtype=float32)
    """

    time_label: TimeLabel = noise_level


@dataclass(frozen=True, kw_only=True)
class DiscreteNoisePrediction(_PredictsNoise):
    """The network of a discrete-time DDPM, conditioned on the index of the level,
    predicts ``eps``: ``score = -output / sigma_i``.

    The label is ``i = (num_scales - 1) t / t_max``, a real number. ``sigma_i`` is
    DDPM's tabulated value at the whole number below ``i``, as in the published code of
    Song et al. 2021; with ``interpolate`` it is linear between two levels, and so
    continuous in ``t``, which suits the probability-flow ODE.
    """

    num_scales: int = 1000
    beta_min: float = 0.1
    beta_max: float = 20.0
    interpolate: bool = False

    def __post_init__(self) -> None:
        ddpm_marginals(self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max)

    @property
    def label_is_logarithm(self) -> bool:
        """False: the label is an index."""
        return False

    def network_input(self, sde: SDE, x: Values, t: ScalarLike) -> tuple[Values, Scalar]:
        """``(x, index)``; ``time_label`` is not used."""
        return x, self._index(sde, t)

    def sigma(self, sde: SDE, t: ScalarLike) -> Scalar:
        """``sigma_i`` of the level at or below ``t``, or interpolated between levels."""
        index = self._index(sde, t)
        table = ddpm_marginals(
            self.num_scales, beta_min=self.beta_min, beta_max=self.beta_max
        ).sigma
        sigmas = jnp.asarray(table, index.dtype)
        if self.interpolate:
            return jnp.interp(index, jnp.arange(self.num_scales), sigmas)
        # The time of a level may have been rounded down.
        level = jnp.floor(index + ROUNDING).astype(jnp.int32)
        return sigmas[jnp.clip(level, 0, self.num_scales - 1)]

    def _index(self, sde: SDE, t: ScalarLike) -> Scalar:
        return jnp.asarray(t) * ((self.num_scales - 1) / sde.t_max)


@dataclass(frozen=True, kw_only=True)
class DiscreteScorePrediction(_PredictsScore):
    """The network of a discrete-time NCSN, conditioned on the index of the level,
    predicts the score.

    Levels count from the greatest noise: the label is the whole number nearest to
    ``(num_scales - 1) (1 - t / t_max)``, as in the published code of Song et al. 2021.
    """

    num_scales: int = 1000

    def __post_init__(self) -> None:
        checks.at_least(2, num_scales=self.num_scales)

    @property
    def label_is_logarithm(self) -> bool:
        """False: the label is an index."""
        return False

    def network_input(self, sde: SDE, x: Values, t: ScalarLike) -> tuple[Values, Scalar]:
        """``(x, level)``; ``time_label`` is not used."""
        return x, jnp.round((1.0 - jnp.asarray(t) / sde.t_max) * (self.num_scales - 1))


@dataclass(frozen=True, kw_only=True)
class DenoisedPrediction(Parameterization):
    """The network predicts ``E[x_0 | x_t]``: ``score = (alpha output - x) / sigma^2``
    by Tweedie's formula.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> output, x = jnp.ones(2), jnp.ones(2)
    >>> ss.DenoisedPrediction().score(ss.RectifiedFlowSDE(), output, x, 0.5)
    Array([-2., -2.], dtype=float32)
    """

    @property
    def shows_image(self) -> bool:
        """True."""
        return True

    def score(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``(alpha output - x) / sigma^2``."""
        alpha, sigma = sde.marginal(t)
        return (alpha * output - x) / jnp.square(sigma)

    def output(self, sde: SDE, score: Values, x: Values, t: ScalarLike) -> Values:
        """``(x + sigma^2 score) / alpha``."""
        alpha, sigma = sde.marginal(t)
        return (x + jnp.square(sigma) * score) / alpha

    def denoised(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``output``."""
        del sde, x, t
        return output


@dataclass(frozen=True, kw_only=True)
class VelocityPrediction(Parameterization):
    """The network predicts ``v = (alpha eps - sigma x_0) / sqrt(alpha^2 + sigma^2)``
    (Salimans & Ho 2022, appendix D).

    The norm, 1 for VP, extends the definition to every SDE. With ``r = sqrt(alpha^2 +
    sigma^2)``, ``eps = (sigma x / r + alpha v) / r``.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> output, x = jnp.zeros(2), jnp.ones(2)
    >>> ss.VelocityPrediction().score(ss.RectifiedFlowSDE(), output, x, 0.5).round(3)
    Array([-2., -2.], dtype=float32)
    """

    @property
    def shows_image(self) -> bool:
        """True."""
        return True

    def score(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``-(sigma x / r + alpha output) / (r sigma)``."""
        alpha, sigma = sde.marginal(t)
        radius = jnp.hypot(alpha, sigma)
        return -(sigma * x / radius + alpha * output) / (radius * sigma)

    def output(self, sde: SDE, score: Values, x: Values, t: ScalarLike) -> Values:
        """``-sigma (r score + x / r) / alpha``."""
        alpha, sigma = sde.marginal(t)
        radius = jnp.hypot(alpha, sigma)
        return -sigma * (radius * score + x / radius) / alpha

    def denoised(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``(alpha x / r - sigma output) / r``, valid at ``alpha = 0`` too."""
        alpha, sigma = sde.marginal(t)
        radius = jnp.hypot(alpha, sigma)
        return (alpha * x / radius - sigma * output) / radius


@dataclass(frozen=True, kw_only=True)
class FlowPrediction(Parameterization):
    """The network predicts the velocity ``f - 1/2 g^2 score`` of the probability-flow
    ODE (Lipman et al. 2023).

    It is the mean of ``alpha' x_0 + sigma' eps`` given ``x_t``; for the rectified flow,
    of ``eps - x_0``.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> output, x = jnp.ones(2), jnp.zeros(2)
    >>> ss.FlowPrediction().score(ss.RectifiedFlowSDE(), output, x, 0.5).round(3)
    Array([-1., -1.], dtype=float32)
    """

    def score(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``2 (f - output) / g^2``."""
        return 2.0 * (sde.drift(x, t) - output) / jnp.square(sde.diffusion(t))

    def output(self, sde: SDE, score: Values, x: Values, t: ScalarLike) -> Values:
        """``f - 1/2 g^2 score``."""
        return sde.drift(x, t) - 0.5 * jnp.square(sde.diffusion(t)) * score


@dataclass(frozen=True, kw_only=True)
class EDMPreconditioning(Parameterization):
    """Inputs and training targets of unit variance at every noise level (Karras et al.
    2022, eq. 7 and table 1).

    With ``y = x / alpha`` and ``s = sigma / alpha``, the denoised sample is ``c_skip y
    + c_out output(c_in y)``, where ``c_skip = sigma_data^2 / (s^2 + sigma_data^2)``,
    ``c_out = s sigma_data / sqrt(s^2 + sigma_data^2)`` and ``c_in = 1 / sqrt(s^2 +
    sigma_data^2)``. ``sigma_data`` is the standard deviation of the data.

    >>> import jax.numpy as jnp, score_sde as ss
    >>> edm, sde = ss.EDMPreconditioning(sigma_data=0.5), ss.EDMSDE(sigma_max=1.0)
    >>> edm.score(sde, jnp.zeros(2), jnp.ones(2), 0.5).round(3)
    Array([-2., -2.], dtype=float32)
    """

    sigma_data: float = 0.5
    time_label: TimeLabel = log_noise_to_signal

    def __post_init__(self) -> None:
        checks.positive(
            sigma_data=self.sigma_data, because="since it is the standard deviation of the data"
        )

    def network_input(self, sde: SDE, x: Values, t: ScalarLike) -> tuple[Values, Scalar]:
        """``(c_in x / alpha, label)``."""
        alpha, sigma = sde.marginal(t)
        return x / jnp.hypot(sigma, alpha * self.sigma_data), self.time_label(sde, t)

    def score(self, sde: SDE, output: Values, x: Values, t: ScalarLike) -> Values:
        """``sigma_data alpha output / (sigma r) - x / r^2`` with ``r^2 = sigma^2 +
        alpha^2 sigma_data^2``.
        """
        # Equal to (alpha D - x) / sigma^2, without its cancellation at small sigma.
        alpha, sigma = sde.marginal(t)
        radius = jnp.hypot(sigma, alpha * self.sigma_data)
        return self.sigma_data * alpha * output / (sigma * radius) - x / jnp.square(radius)

    def output(self, sde: SDE, score: Values, x: Values, t: ScalarLike) -> Values:
        """``sigma (r score + x / r) / (sigma_data alpha)``."""
        alpha, sigma = sde.marginal(t)
        radius = jnp.hypot(sigma, alpha * self.sigma_data)
        return sigma * (radius * score + x / radius) / (self.sigma_data * alpha)
