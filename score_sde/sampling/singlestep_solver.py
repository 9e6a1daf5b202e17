"""Runge-Kutta methods in ``y = x / alpha``, ``dy / ds = noise``, as tables; and the
diffrax solver that runs them.

``s = sigma / alpha`` is the noise level. Every step may first add noise and so go up to
a higher level, as the stochastic samplers of Karras et al. 2022 and Xu et al. 2023 do.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.sdes.base import SDE
from score_sde.solvers.brownian import StepNoise
from score_sde.solvers.marginal_levels import noise_levels, times_of_ratio
from score_sde.typing import ScoreFn

Steps: TypeAlias = Float[np.ndarray, " steps"]


class Tableau(NamedTuple):
    """Stages ``y_k = y + sum_l stages_ikl e_l`` at ``ratio_ik``, and the end ``y +
    sum_k ends_ik e_k``, of every step.

    ``e_k`` is the noise ``(y_k - D) / s = -sigma score`` at stage ``k``.
    """

    ratio: Float[np.ndarray, "steps stages"]
    stages: Float[np.ndarray, "steps stages stages"]
    ends: Float[np.ndarray, "steps stages"]


MakeTableau: TypeAlias = Callable[[Steps, Steps], Tableau]
"""The tableau of a method, from the levels at which its steps start and stop."""


def euler(start: Steps, stop: Steps) -> Tableau:
    """Euler in the noise level, which is DDIM (Song, Meng & Ermon 2021, equation 13)."""
    return _tableau([start], {}, [stop - start])


def heun(start: Steps, stop: Steps) -> Tableau:
    """Heun in the noise level (Karras et al. 2022, algorithm 1)."""
    step = stop - start
    return _tableau([start, stop], {(1, 0): step}, [0.5 * step, 0.5 * step])


def dpm_solver_2(start: Steps, stop: Steps) -> Tableau:
    """DPM-Solver-2 (Lu et al. 2022, algorithm 1): the noise at the middle of the step
    in log SNR.
    """
    middle = np.sqrt(start * stop)
    return _tableau([start, middle], {(1, 0): middle - start}, [0.0 * start, stop - start])


def dpm_solver_3(start: Steps, stop: Steps) -> Tableau:
    """DPM-Solver-3 (Lu et al. 2022, algorithm 2): the noise at a third and two thirds
    of the step in log SNR.
    """
    h = np.log(start / stop)
    first, second = start * np.exp(-h / 3.0), start * np.exp(-2.0 * h / 3.0)
    slope_second = -2.0 * second * (np.expm1(2.0 * h / 3.0) / (2.0 * h / 3.0) - 1.0)
    slope_end = -1.5 * stop * (np.expm1(h) / h - 1.0)
    stages = {(1, 0): first - start, (2, 0): second - start - slope_second, (2, 1): slope_second}
    return _tableau(
        [start, first, second], stages, [stop - start - slope_end, 0.0 * start, slope_end]
    )


def _tableau(
    ratio: list[Steps], stages: dict[tuple[int, int], Steps], ends: list[Steps]
) -> Tableau:
    full = np.zeros((len(ratio[0]), len(ratio), len(ratio)))
    for (row, column), value in stages.items():
        full[:, row, column] = value
    return Tableau(np.stack(ratio, 1), full, np.stack(ends, 1))


class SingleStep(diffrax.AbstractSolver):
    """Noise, then one row of a tableau a step, on a clock that counts the steps; the
    state is ``y = x / alpha``.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    score_fn: ScoreFn = eqx.field(static=True)
    times: Float[Array, "steps stages"]
    alpha: Float[Array, "steps stages"]
    sigma: Float[Array, "steps stages"]
    stages: Float[Array, "steps stages stages"]
    ends: Float[Array, "steps stages"]
    noise_std: Float[Array, " steps"]
    noise: StepNoise | None

    @classmethod
    def of_tableau(
        cls,
        sde: SDE,
        tableau: Tableau,
        noise_std: Steps,
        score_fn: ScoreFn,
        noise: StepNoise | None,
        dtype: Any,
    ) -> "SingleStep":
        """The solver of a tableau for an SDE, with noise of ``noise_std`` before every step."""
        times = times_of_ratio(sde, tableau.ratio)
        levels = noise_levels(sde, times)
        arrays = {
            "times": times,
            "alpha": levels.alpha,
            "sigma": levels.sigma,
            "stages": tableau.stages,
            "ends": tableau.ends,
            "noise_std": noise_std,
        }
        cast = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
        return cls(score_fn=score_fn, noise=noise, **cast)

    def order(self, terms: Any) -> None:
        """Not used: the grid is fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """No state."""

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """Go up, then down by the stages."""
        step = jnp.rint(t0).astype(jnp.int32)
        y = y0 if self.noise is None else y0 + self.noise_std[step] * self.noise.draw(step)
        noises: list[Any] = []
        for stage in range(self.ends.shape[1]):
            inner = y + sum(self.stages[step, stage, k] * noise for k, noise in enumerate(noises))
            score = self.score_fn(self.alpha[step, stage] * inner, self.times[step, stage])
            noises.append(-self.sigma[step, stage] * score)
        y1 = y + sum(self.ends[step, k] * noise for k, noise in enumerate(noises))
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)
