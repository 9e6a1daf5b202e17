"""Predictors: one step of the reverse process from ``t`` to ``t_next < t``.

A predictor is a frozen value, called with ``(key, sde, score_fn, x, t, t_next, *,
noise_scale)``. Any function with these arguments serves as well.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde.sampling.step_functions import Step, StepFunction
from score_sde.sdes import reverse_diffusion, reverse_drift

PredictorFn: TypeAlias = Callable[..., Float[Array, "*shape"]]
"""``(key, sde, score_fn, x, t, t_next, *, noise_scale) -> x at t_next``: a `Predictor`, or
a function, which counts as one evaluation of the score.
"""


@dataclass(frozen=True)
class Predictor(StepFunction):
    """A step of the reverse process, for a subclass that defines `step`."""

    @abc.abstractmethod
    def step(self, step: Step, noise_scale: float = 1.0) -> Float[Array, "*shape"]:
        """The state at ``step.t_next``.

        ``noise_scale`` is the ``lambda`` of the family in
        :mod:`score_sde.sdes.reverse`: 1 for the reverse SDE, 0 for the probability-flow
        ODE.
        """


@dataclass(frozen=True)
class EulerMaruyamaStep(Predictor):
    """Euler-Maruyama on the reverse SDE: ``x - drift dt + lambda g sqrt(dt) z`` with
    ``dt = t - t_next``.
    """

    def step(self, step: Step, noise_scale: float = 1.0) -> Float[Array, "*shape"]:
        """One drift, one increment."""
        sde, x, t = step.sde, step.x, step.t
        dt, noise = t - step.t_next, step.noise()
        mean = x - reverse_drift(sde, step.score_fn, noise_scale=noise_scale)(x, t) * dt
        return mean + reverse_diffusion(sde, noise_scale=noise_scale)(t) * jnp.sqrt(dt) * noise


@dataclass(frozen=True)
class ReverseDiffusion(Predictor):
    """The reverse diffusion predictor ``(2 - a) x + (1 + lambda^2) / 2 v score + lambda
    sqrt(v) z``.

    It discretises the reverse SDE as the forward SDE is discretised: ``x_t = a x_next +
    sqrt(v) z``, with ``(a, sqrt(v))`` the exact transition. For VP that is ``a = sqrt(1
    - beta_i)`` of DDPM, for VE ``v = sigma_i^2 - sigma_{i-1}^2`` (Song et al. 2021,
    eq. 46, algorithms 2 and 3); the same rule serves every SDE.
    """

    def step(self, step: Step, noise_scale: float = 1.0) -> Float[Array, "*shape"]:
        """The transition with its sign reversed."""
        scale, std = step.sde.transition(step.t_next, step.t)
        noise, weight = step.noise(), 0.5 * (1.0 + noise_scale**2)
        mean = (2.0 - scale) * step.x + weight * jnp.square(std) * step.score()
        return mean + noise_scale * std * noise


@dataclass(frozen=True)
class Ancestral(Predictor):
    """Ancestral sampling, ``(x + v score) / a + sqrt(v) r z``, with ``r = sigma_next /
    sigma`` or with ``large_variance`` 1.

    The forward transition is ``x_t = a x_next + sqrt(v) z``. With the small variance a
    step draws from the posterior ``p(x_next | x_t, x_0)`` at the denoised ``x_0``: for
    VE the predictor of Song et al. 2021, eq. 47, for VP 'fixedsmall' of Ho et al. 2020,
    eqs. 7 and 11. With the large variance, for VP ``beta_i``, it is 'fixedlarge' (Ho et
    al. 2020, section 3.2), as the published VP samples were drawn.
    """

    large_variance: bool = False

    def step(self, step: Step, noise_scale: float = 1.0) -> Float[Array, "*shape"]:
        """The mean of the posterior, and its noise."""
        ratio = 1.0
        if not self.large_variance:
            ratio = step.sde.marginal(step.t_next).sigma / step.sde.marginal(step.t).sigma
        scale, std = step.sde.transition(step.t_next, step.t)
        noise, weight = step.noise(), 0.5 * (1.0 + noise_scale**2)
        mean = (step.x + weight * jnp.square(std) * step.score()) / scale
        return mean + noise_scale * ratio * std * noise


@dataclass(frozen=True)
class NoPredictor(Predictor):
    """``x``, for no evaluation: the corrector alone, as in NCSN."""

    evaluations: ClassVar[int] = 0

    def step(self, step: Step, noise_scale: float = 1.0) -> Float[Array, "*shape"]:
        """The state as it is."""
        return step.x


euler_maruyama = EulerMaruyamaStep()
reverse_diffusion_step = ReverseDiffusion()
ancestral = Ancestral()
ancestral_large = Ancestral(large_variance=True)
no_predictor = NoPredictor()
