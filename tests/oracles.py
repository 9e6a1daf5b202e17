"""What is known in closed form, and the tables of everything that is tested against it.

The tables are those of the configs: a new SDE or sampler is tested by being listed
there.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.experiments import tables
from score_sde.sampling import (
    DDIM,
    EDM,
    AdamsBashforth,
    DiscreteDDIM,
    DPMSolver,
    DPMSolverPP,
    EulerMaruyama,
    PredictorCorrector,
    ProbabilityFlow,
    Sampler,
    ancestral,
    euler_maruyama,
    langevin,
    no_corrector,
    no_predictor,
)
from score_sde.sdes import SDE
from score_sde.sdes.mixture import Mixture
from score_sde.solvers import geometric, log_snr
from score_sde.typing import ScalarLike, ScoreFn

SDE_OPTIONS = {
    "ve": {"sigma_max": 20.0},
    "edm": {"sigma_max": 40.0},
    # Its prior leaves out the spread of the data, so it must be wide; and t_min small,
    # or all modes melt into one.
    "brownian": {"scale": 20.0, "t_min": 2e-5},
}
"""Arguments with which an SDE of the table suits data of the size of one, where its
defaults do not.
"""

SAMPLER_OPTIONS = {
    "euler_maruyama": {"num_steps": 300},
    "shark": {"num_steps": 100},
    "sra1": {"num_steps": 100},
    "exponential_shark": {"num_steps": 60},
    "heun": {"num_steps": 60},
    "adaptive_sde": {"rtol": 3e-3, "atol": 3e-3},
    "predictor_corrector": {"num_steps": 300, "snr": 0.1},
    "annealed_langevin": {"num_steps": 40, "steps_each": 40, "step_size": 2e-5},
    "ddim": {"num_steps": 200},
    "discrete_ddim": {"num_steps": 200},
    "discrete_ddpm": {"num_steps": 300},
    "dpm_solver": {"num_steps": 40},
    "dpm_solver_pp": {"num_steps": 60},
    "sde_dpm_solver_pp": {"num_steps": 200},
    "unipc": {"num_steps": 60},
    "deis": {"num_steps": 60},
    "ipndm": {"num_steps": 80},
    "er_sde": {"num_steps": 100},
    "edm": {"num_steps": 40},
    "restart": {"num_steps": 40, "restart_steps": 20},
    "default": {"nfe": 40},
}
"""Arguments with which a sampler of the table is exact enough, and quick."""

SLOW = pytest.mark.slow

SDES: dict[str, SDE] = {
    name: make(**SDE_OPTIONS.get(name, {})) for name, make in tables.SDES.items()
}
SAMPLERS: dict[str, Sampler] = {
    name: make(**SAMPLER_OPTIONS.get(name, {})) for name, make in tables.SAMPLERS.items()
}
VARIANTS: dict[str, Sampler] = {
    "euler_maruyama_half": EulerMaruyama(num_steps=300, noise_scale=0.5),
    "probability_flow_dopri5": ProbabilityFlow(solver="dopri5"),
    "predictor_corrector_langevin": PredictorCorrector(
        num_steps=300, predictor=ancestral, corrector=langevin, snr=0.02, corrector_first=False
    ),
    "corrector_alone": PredictorCorrector(
        num_steps=400, predictor=no_predictor, snr=0.2, corrector_steps=3
    ),
    "predictor_alone": PredictorCorrector(num_steps=300, corrector=no_corrector),
    "ddim_stochastic": DDIM(num_steps=300, eta=1.0),
    "discrete_ddim_stochastic": DiscreteDDIM(num_steps=250, eta=1.0, final="t_min"),
    "edm_churn": EDM(num_steps=60, churn=20.0),
    "adams_bashforth_sde": AdamsBashforth(num_steps=200, noise_scale=1.0, path="tree"),
    "dpm_solver_3": DPMSolver(num_steps=30, order=3),
    "dpm_solver_pp_3": DPMSolverPP(num_steps=60, order=3, last_ratio=0.05),
    "euler_maruyama_tree": EulerMaruyama(num_steps=300, path="tree"),
    "predictor_corrector_euler": PredictorCorrector(
        num_steps=300, predictor=euler_maruyama, snr=0.08, corrector_steps=2, noise_scale=0.7
    ),
}
"""Samplers of the table with other options."""

STOCHASTIC = (
    "euler_maruyama", "shark", "sra1", "exponential_shark", "adaptive_sde", "predictor",
    "corrector",
    "annealed_langevin", "ddim_stochastic", "discrete_ddim_stochastic", "discrete_ddpm",
    "sde_dpm_solver_pp",
    "adams_bashforth_sde", "er_sde", "edm_churn", "restart",
)  # fmt: skip
"""The prefixes of the names of the samplers that need a key."""

GAUSSIAN = Mixture(means=((0.7, -0.3),), std=0.5)
CENTRED = Mixture(means=((0.0, 0.0),), std=0.5)
PLANE = Mixture(
    means=((-1.5, 0.0), (0.5, 1.0), (2.0, -1.0)), std=(0.3, 0.2, 0.4), weights=(0.5, 0.2, 0.3)
)
HIGH = Mixture.from_arrays(
    np.random.default_rng(0).choice([-1.0, 1.0], size=(3, 64)) * np.linspace(0.2, 0.6, 64),
    np.array([0.3, 0.5, 0.4]),
    np.array([0.5, 0.2, 0.3]),
)

IMAGES = Mixture.from_arrays(
    np.clip(0.5 * np.random.default_rng(1).normal(size=(3, 16 * 16 * 3)), -1.0, 1.0),
    np.array([0.2, 0.3, 0.25]),
    np.array([0.5, 0.2, 0.3]),
)
"""Points of 16 x 16 x 3 numbers."""


def tuned(sampler: Sampler, sde_name: str) -> Sampler:
    """The sampler on a grid that suits the SDE: noise levels of equal ratio, where
    equal steps in ``t`` do not.
    """
    on_grid = "grid" in {field.name for field in dataclasses.fields(sampler)}
    grids = {"brownian": geometric, "edm": geometric, "cosine": log_snr, "rectified_flow": log_snr}
    return (
        dataclasses.replace(sampler, grid=grids[sde_name])
        if sde_name in grids and on_grid
        else sampler
    )


def shortened(sampler: Sampler, num_steps: int) -> Sampler:
    """The sampler with so few steps, where it has any, and the fewest within them."""
    few = {"num_steps": num_steps, "steps_each": 2, "restart_steps": 2}
    return dataclasses.replace(
        sampler, **{key: value for key, value in few.items() if hasattr(sampler, key)}
    )


def slow_but(names: Iterable[str], *fast: str) -> list[Any]:
    """The names as parameters of a test, of which all but ``fast`` run in the slow tier."""
    return [pytest.param(name, marks=() if name in fast else SLOW) for name in names]


def marginal_mixture(mixture: Mixture, sde: SDE, t: float) -> Mixture:
    """``p_t`` of the data ``mixture``: again a mixture."""
    alpha, sigma = (float(value) for value in sde.marginal(t))
    stds = np.broadcast_to(np.asarray(mixture.std, np.float64), (mixture.num_components,))
    return Mixture(
        means=tuple(tuple(alpha * value for value in row) for row in mixture.means),
        std=tuple(np.hypot(alpha * stds, sigma).tolist()),
        weights=mixture.weights,
    )


def two_modes_score(sde: SDE) -> ScoreFn:
    """The exact score of data of any shape, each number by itself of modes at -1 and 1
    with standard deviation 0.5.
    """

    def score(x: jax.Array, t: ScalarLike) -> jax.Array:
        alpha, sigma = sde.marginal(t)
        v = 0.25 * jnp.square(alpha) + jnp.square(sigma)
        return (alpha * jnp.tanh(alpha * x / v) - x) / v

    return score


def marginal_std(mixture: Mixture, sde: SDE, t: float) -> float:
    """Standard deviation at ``t`` of a mixture of one component."""
    (std,) = marginal_mixture(mixture, sde, t).std
    return std


def keys(seed: int, num: int) -> jax.Array:
    """``num`` keys."""
    return jax.random.split(jax.random.key(seed), num)


def order(errors: list[float], sizes: list[int]) -> float:
    """The order of convergence: minus the slope of ``log error`` over ``log size``, by
    least squares.
    """
    return float(-np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def decoder_gap(alpha, sigma, mean, std, x, decoder_variance):
    """``E log (q(x | x_t) / p(x | x_t))`` for normal data, with ``x_t`` from ``x`` and
    Tweedie's mean in both.
    """
    v = alpha**2 * std**2 + sigma**2
    posterior, gain = (std * sigma) ** 2 / v, alpha * std**2 / v
    distance = ((x - mean) * (1.0 - gain * alpha)) ** 2 + (gain * sigma) ** 2
    return 0.5 * np.sum(
        np.log(decoder_variance / posterior) + distance * (1.0 / decoder_variance - 1.0 / posterior)
    )
