"""Samplers, and the one function that draws with them.

A sampler is a value: a solver, its grid or its tolerances. It carries a latent from ``t_max`` to ``t_min`` by the
reverse SDE or the probability-flow ODE. Everything is written for one sample; ``jax.vmap`` over keys makes a batch,
in which sample ``i`` depends on ``keys[i]`` alone.
"""

import abc
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from score_sde.integrate import Noise, Solution, solve_adaptively, solve_on_grid
from score_sde.reverse import denoise as tweedie
from score_sde.reverse import probability_flow, reverse_diffusion, reverse_drift
from score_sde.sdes.base import SDE, prior_sample
from score_sde.solvers import (
    AbstractSolver,
    Clock,
    Dopri5,
    Euler,
    Langevin,
    Predictor,
    PredictorCorrectorSolver,
    TimeGrid,
    Tsit5,
    reverse_diffusion_step,
    uniform,
)
from score_sde.solvers import Heun as HeunSolver
from score_sde.solvers import ShARK as ShARKSolver
from score_sde.typing import Key, ScalarLike, ScoreFn

ADAPTIVE_SOLVERS: dict[str, type[AbstractSolver]] = {"tsit5": Tsit5, "dopri5": Dopri5}


class Sample(NamedTuple):
    """One sample.

    ``x``: the sample. ``nfe``: how many times the score was evaluated for it. ``path``: ``[save_path, *shape]``
    frames of the trajectory, the latent first, or None.
    """

    x: Float[Array, "*shape"]
    nfe: Int[Array, ""]
    path: Float[Array, "frames *shape"] | None


@dataclass(frozen=True, kw_only=True)
class Sampler(abc.ABC):
    """A way from a latent at ``t_max`` to a sample at ``t_min``."""

    @abc.abstractmethod
    def solve(
        self, key: Key | None, sde: SDE, score_fn: ScoreFn, latent: Float[Array, "*shape"], *, save_path: int = 0
    ) -> Sample:
        """Carry ``latent`` from ``t_max`` to ``t_min``. Deterministic samplers take no key."""


@dataclass(frozen=True, kw_only=True)
class GridSampler(Sampler):
    """A sampler that visits ``num_steps`` intervals of a time grid."""

    num_steps: int = 1000
    grid: TimeGrid = uniform

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(GridSampler):
    """Euler-Maruyama on the reverse SDE; one evaluation a step, strong and weak order 1 (the noise is additive).

    ``noise_scale`` is the ``lambda`` of the family in :mod:`score_sde.reverse`.
    """

    noise_scale: float = 1.0

    def solve(
        self, key: Key | None, sde: SDE, score_fn: ScoreFn, latent: Float[Array, "*shape"], *, save_path: int = 0
    ) -> Sample:
        """``x - drift dt + lambda g sqrt(dt) z`` at every step."""
        return _solve_reverse_sde(self, Euler(), self.noise_scale, 1, key, sde, score_fn, latent, save_path)


@dataclass(frozen=True, kw_only=True)
class ShARK(GridSampler):
    """The strong-order-1.5 Runge-Kutta scheme for additive noise (Foster et al. 2023); two evaluations a step."""

    num_steps: int = 500
    noise_scale: float = 1.0

    def solve(
        self, key: Key | None, sde: SDE, score_fn: ScoreFn, latent: Float[Array, "*shape"], *, save_path: int = 0
    ) -> Sample:
        """The reverse SDE with ``num_steps`` steps of ShARK."""
        return _solve_reverse_sde(self, ShARKSolver(), self.noise_scale, 2, key, sde, score_fn, latent, save_path)


@dataclass(frozen=True, kw_only=True)
class Heun(GridSampler):
    """Heun's second-order method on the probability-flow ODE; two evaluations a step."""

    num_steps: int = 100

    def solve(
        self, key: Key | None, sde: SDE, score_fn: ScoreFn, latent: Float[Array, "*shape"], *, save_path: int = 0
    ) -> Sample:
        """The probability-flow ODE with ``num_steps`` steps of Heun."""
        del key
        field = probability_flow(sde, score_fn)
        times = self.grid(sde, self.num_steps)
        solution = solve_on_grid(field, latent, times, HeunSolver(), save_path=save_path)
        return _sample(solution, 2 * self.num_steps)


@dataclass(frozen=True, kw_only=True)
class ProbabilityFlow(Sampler):
    """The probability-flow ODE with adaptive steps (the black-box ODE sampler of Song et al. 2021, section 4.3).

    Under ``jax.vmap`` every sample has its own steps. ``axis_name`` couples the samples of that ``vmap`` (or ``pmap``,
    ``shard_map``) axis: all take the steps that the worst of them needs. Where ``max_steps`` runs out, the sample is
    NaN.
    """

    solver: Literal["tsit5", "dopri5"] = "tsit5"
    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 4096
    axis_name: str | None = None

    def __post_init__(self) -> None:
        check_adaptive(self.solver, self.rtol, self.atol, self.max_steps)

    def solve(
        self, key: Key | None, sde: SDE, score_fn: ScoreFn, latent: Float[Array, "*shape"], *, save_path: int = 0
    ) -> Sample:
        """The probability-flow ODE to tolerance."""
        del key
        solution = self.solve_between(sde, score_fn, latent, sde.t_max, sde.t_min, save_path=save_path)
        return _sample(solution, adaptive_nfe(solution))

    def solve_between(
        self,
        sde: SDE,
        score_fn: ScoreFn,
        x: Float[Array, "*shape"],
        t_start: float,
        t_stop: float,
        *,
        save_path: int = 0,
    ) -> Solution:
        """The probability-flow ODE from ``x`` at ``t_start`` to ``t_stop``, either way."""
        return solve_adaptively(
            probability_flow(sde, score_fn),
            x,
            t_start,
            t_stop,
            ADAPTIVE_SOLVERS[self.solver](),
            rtol=self.rtol,
            atol=self.atol,
            max_steps=self.max_steps,
            axis_name=self.axis_name,
            save_path=save_path,
        )


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(GridSampler):
    """Predictor-corrector sampling (Song et al. 2021, algorithm 1): ``1 + corrector_steps`` evaluations a step.

    ``axis_name`` is that of :class:`score_sde.solvers.Langevin`.
    """

    predictor: Predictor = reverse_diffusion_step
    snr: float = 0.16
    corrector_steps: int = 1
    noise_scale: float = 1.0
    axis_name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._corrector()
        if self.corrector_steps < 0:
            raise ValueError(f"corrector_steps={self.corrector_steps} must not be negative")

    def solve(
        self, key: Key | None, sde: SDE, score_fn: ScoreFn, latent: Float[Array, "*shape"], *, save_path: int = 0
    ) -> Sample:
        """``corrector_steps`` Langevin steps and one predictor step at every time of the grid."""
        times = self.grid(sde, self.num_steps)
        solver = PredictorCorrectorSolver(
            key=_required(key, self),
            sde=sde,
            score_fn=score_fn,
            clock=Clock.between(float(times[0]), float(times[-1])),
            predictor=self.predictor,
            corrector=self._corrector(),
            corrector_steps=self.corrector_steps,
            noise_scale=self.noise_scale,
        )
        solution = solve_on_grid(
            reverse_drift(sde, score_fn, noise_scale=self.noise_scale), latent, times, solver, save_path=save_path
        )
        return _sample(solution, self.num_steps * (1 + self.corrector_steps))

    def _corrector(self) -> Langevin:
        return Langevin(snr=self.snr, axis_name=self.axis_name)


def sample(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    sampler: Sampler,
    shape: tuple[int, ...],
    *,
    denoise: bool = True,
    save_path: int = 0,
) -> Sample:
    """Draw one sample of shape ``shape``: a latent from the prior, carried to ``t_min`` by ``sampler``.

    Args:
        key: the only source of randomness.
        sde: the forward SDE.
        score_fn: ``(x, t) -> grad_x log p_t(x)``.
        sampler: how to integrate.
        shape: the shape of one sample.
        denoise: end with Tweedie's formula at ``t_min``, ``E[x_0 | x]``, for one more evaluation.
        save_path: the number of frames of the trajectory to return (0: none); the last is the state at ``t_min``.
    """
    prior_key, solver_key = jax.random.split(key)
    latent = prior_sample(prior_key, sde, shape)
    result = sampler.solve(solver_key, sde, score_fn, latent, save_path=save_path)
    if not denoise:
        return result
    return Sample(tweedie(sde, score_fn, result.x, sde.t_min), result.nfe + 1, result.path)


def encode(
    sde: SDE, score_fn: ScoreFn, x: Float[Array, "*shape"], *, sampler: ProbabilityFlow | None = None
) -> Float[Array, "*shape"]:
    """The latent of one sample: the probability-flow ODE from ``t_min`` to ``t_max`` (Song et al. 2021, sec. 4.3)."""
    flow = sampler or ProbabilityFlow()
    return flow.solve_between(sde, score_fn, x, sde.t_min, sde.t_max).y


def decode(
    sde: SDE,
    score_fn: ScoreFn,
    latent: Float[Array, "*shape"],
    *,
    sampler: Sampler | None = None,
    key: Key | None = None,
    denoise: bool = False,
) -> Float[Array, "*shape"]:
    """The sample at ``t_min`` of a latent at ``t_max``; with the default probability flow, the inverse of ``encode``.

    A stochastic ``sampler`` needs a ``key``. ``denoise`` ends with Tweedie's formula.
    """
    x = (sampler or ProbabilityFlow()).solve(key, sde, score_fn, latent).x
    return tweedie(sde, score_fn, x, sde.t_min) if denoise else x


def adaptive_nfe(solution: Solution) -> Int[Array, ""]:
    """Evaluations of an adaptive Tsit5 or Dopri5 solve: six new stages for every step tried, and the first of all."""
    return 6 * solution.num_steps + 1


def check_adaptive(solver: str, rtol: float, atol: float, max_steps: int) -> None:
    """Raise ``ValueError`` unless the solver is known and the tolerances and the number of steps are positive."""
    if solver not in ADAPTIVE_SOLVERS:
        raise ValueError(f"unknown adaptive solver {solver!r}: choose one of {', '.join(ADAPTIVE_SOLVERS)}")
    if not (rtol > 0.0 and atol > 0.0):
        raise ValueError(f"rtol={rtol} and atol={atol} must be positive")
    if max_steps < 1:
        raise ValueError(f"max_steps={max_steps} must be at least 1")


def _solve_reverse_sde(
    sampler: GridSampler,
    solver: AbstractSolver,
    noise_scale: float,
    evaluations: int,
    key: Key | None,
    sde: SDE,
    score_fn: ScoreFn,
    latent: Float[Array, "*shape"],
    save_path: int,
) -> Sample:
    """A diffrax solver on the reverse SDE, over the sampler's grid."""
    noise = Noise(_required(key, sampler), reverse_diffusion(sde, noise_scale=noise_scale))
    drift = reverse_drift(sde, score_fn, noise_scale=noise_scale)
    times = sampler.grid(sde, sampler.num_steps)
    solution = solve_on_grid(drift, latent, times, solver, noise=noise, save_path=save_path)
    return _sample(solution, evaluations * sampler.num_steps)


def _sample(solution: Solution, nfe: ScalarLike) -> Sample:
    return Sample(solution.y, jnp.asarray(nfe), solution.path)


def _required(key: Key | None, sampler: Sampler) -> Key:
    if key is None:
        raise ValueError(f"{type(sampler).__name__} is stochastic: give it a key")
    return key
