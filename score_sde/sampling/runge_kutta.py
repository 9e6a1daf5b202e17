"""Fixed steps of general solvers in ``t``: Euler-Maruyama and Runge-Kutta, for the
reverse SDE and the ODE.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sampling.base import (
    GridSampler,
    Path,
    Sample,
    carried_wide,
    check_path,
    required,
    rescaled,
    sample_of,
)
from score_sde.sampling.projection import Projection, projecting
from score_sde.sdes import SDE, denoise, probability_flow, reverse_diffusion, reverse_drift
from score_sde.solvers import (
    AbstractSolver,
    Euler,
    Heun as HeunSolver,
    ShARK as ShARKSolver,
    SRA1Solver,
    marginals_at,
    times_of_ratio,
    told_apart,
)
from score_sde.solvers.integrate import Noise, ProgressFn, solve_on_grid
from score_sde.typing import Key, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class ReverseSDESampler(GridSampler):
    """A diffrax solver on the reverse SDE.

    ``noise_scale`` is the ``lambda`` of the family in :mod:`score_sde.sdes.reverse`. With
    ``path="tree"`` the same key at 20, 40 and 80 steps gives refinements of the same
    sample, at the price of a Brownian tree.
    """

    noise_scale: float = 1.0
    path: Path = "indexed"

    evaluations: ClassVar[int]
    make_solver: ClassVar[type[AbstractSolver]]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path(self.path)

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """The reverse SDE over the grid."""
        diffusion = reverse_diffusion(sde, noise_scale=self.noise_scale)
        part, solver = self.part(sde, t_start, t_stop), self.make_solver()
        if self.path == "tree":  # whose clock is the time that has passed
            begin, end = part.whole
            times = begin + told_apart(part.times - begin)
            part = part._replace(times=times, whole=(begin, begin + (end - begin)))
        solution = solve_on_grid(
            reverse_drift(sde, score_fn, noise_scale=self.noise_scale),
            latent,
            part,
            projecting(solver, projection, key, part, part.times[1:], latent.dtype),
            noise=Noise(required(key, self), diffusion, tree=self.path == "tree"),
            save_path=save_path,
            progress=progress,
        )
        return sample_of(solution, self.evaluations * part.num_steps)


@dataclass(frozen=True, kw_only=True)
class EulerMaruyama(ReverseSDESampler):
    """``x - drift dt + lambda g sqrt(dt) z``: one evaluation a step, strong and weak order 1."""

    evaluations: ClassVar[int] = 1
    make_solver: ClassVar[type[AbstractSolver]] = Euler


@dataclass(frozen=True, kw_only=True)
class ShARK(ReverseSDESampler):
    """The strong-order-1.5 Runge-Kutta scheme for additive noise of Foster et al. 2023;
    two evaluations a step.
    """

    num_steps: int = 500
    evaluations: ClassVar[int] = 2
    make_solver: ClassVar[type[AbstractSolver]] = ShARKSolver


@dataclass(frozen=True, kw_only=True)
class SRA1(ReverseSDESampler):
    """The strong-order-1.5 Runge-Kutta scheme for additive noise of Roessler 2010; two
    evaluations a step.
    """

    num_steps: int = 500
    evaluations: ClassVar[int] = 2
    make_solver: ClassVar[type[AbstractSolver]] = SRA1Solver


@dataclass(frozen=True, kw_only=True)
class ExponentialShARK(GridSampler):
    """ShARK where the linear part of the reverse SDE is exact; strong order 1.5, two
    evaluations a step.

    With ``tau = (alpha / sigma)^2`` for the clock and ``y = x alpha / sigma^2`` the
    reverse SDE of every ``sde`` is

        ``dy = D(x, t) dtau + dw(tau)``,   ``D = E[x_0 | x_t]``

    (stochastic localisation: Montanari 2023, section 4). Nothing is left of it but the
    denoised data and the noise.
    """

    num_steps: int = 100

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """The reverse SDE over the grid, in ``tau``."""
        part = self.part(sde, t_start, t_stop)
        levels = marginals_at(sde, part.times)
        nodes, scale = told_apart(levels.ratio[::-1] ** -2.0)[::-1], levels.sigma**2 / levels.alpha
        # Where ShARK evaluates: at the nodes and at five sixths of the way to the next.
        clock = np.append(
            np.stack([nodes[:-1], nodes[:-1] + np.diff(nodes) * (5.0 / 6.0)], 1).ravel(), nodes[-1]
        )
        times = times_of_ratio(sde, clock**-0.5)

        def drift(y: Float[Array, "*shape"], tau: ScalarLike) -> Float[Array, "*shape"]:
            t = jnp.interp(tau, jnp.asarray(clock, latent.dtype), jnp.asarray(times, latent.dtype))
            alpha, sigma = sde.marginal(t)
            return denoise(sde, score_fn, y * (jnp.square(sigma) / alpha), t)

        ends = marginals_at(sde, np.array(part.whole)).ratio ** -2.0
        begin, end = np.where(part.times[[0, -1]] == part.whole, nodes[[0, -1]], ends)
        solution = solve_on_grid(
            drift,
            latent / float(scale[part.first]),
            part._replace(times=nodes, whole=(float(begin), float(end))),
            projecting(
                ShARKSolver(),
                projection,
                key,
                part,
                part.times[1:],
                latent.dtype,
                scale=scale[1:],
            ),
            noise=Noise(required(key, self), jnp.ones_like),
            save_path=save_path,
            progress=progress,
        )
        return sample_of(rescaled(solution, scale[part.nodes]), 2 * part.num_steps)


@dataclass(frozen=True, kw_only=True)
class Heun(GridSampler):
    """Heun's second-order method on the probability-flow ODE; two evaluations a step."""

    num_steps: int = 100

    @carried_wide
    def solve(
        self,
        key: Key | None,
        sde: SDE,
        score_fn: ScoreFn,
        latent: Float[Array, "*shape"],
        *,
        save_path: int = 0,
        progress: ProgressFn | None = None,
        t_start: ScalarLike | None = None,
        t_stop: ScalarLike | None = None,
        projection: Projection | None = None,
    ) -> Sample:
        """The probability-flow ODE with ``num_steps`` steps of Heun."""
        part = self.part(sde, t_start, t_stop)
        field = probability_flow(sde, score_fn)
        solver = projecting(HeunSolver(), projection, key, part, part.times[1:], latent.dtype)
        solution = solve_on_grid(
            field, latent, part, solver, save_path=save_path, progress=progress
        )
        return sample_of(solution, 2 * part.num_steps)
