"""Trajectories of a one-dimensional SDE, of its reverse and of its probability-flow
ODE, and the density ``p_t``.
"""

from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.sampling import DPMSolverPP, Sampler, sample
from score_sde.sdes import SDE
from score_sde.sdes.mixture import Mixture
from score_sde.sdes.simulation import simulate
from score_sde.solvers import marginals_at, uniform
from score_sde.typing import Key


class Trajectories(NamedTuple):
    """Trajectories ``x`` at ascending ``times``, and the component of the data at the
    clean end of each.
    """

    times: Float[np.ndarray, " frames"]
    x: Float[np.ndarray, "num frames"]
    component: Int[np.ndarray, " num"]


class Density(NamedTuple):
    """``p_t(x)`` on a grid: ``values[i, j]`` belongs to ``x[i]`` and ``times[j]``."""

    times: Float[np.ndarray, " frames"]
    x: Float[np.ndarray, " points"]
    values: Float[np.ndarray, "points frames"]


def forward_trajectories(
    key: Key, sde: SDE, mixture: Mixture, num: int, *, num_frames: int = 101
) -> Trajectories:
    """Trajectories of data to ``t_max`` by the forward SDE ``dx = f dt + g dw``."""
    return _trajectories(sde, *_forward(key, sde, mixture, num, num_frames))


def reverse_trajectories(
    key: Key,
    sde: SDE,
    mixture: Mixture,
    num: int,
    *,
    sampler: Sampler,
    num_frames: int = 101,
) -> Trajectories:
    """Trajectories from the prior to ``t_min`` by ``sampler`` with the exact score;
    equal keys give equal starting points.
    """
    return _trajectories(sde, *_reverse(key, sde, mixture, num, sampler, num_frames))


def flow_trajectories(
    key: Key, sde: SDE, mixture: Mixture, num: int, *, num_frames: int = 101
) -> Trajectories:
    """Trajectories from the prior to ``t_min`` by the probability-flow ODE with the
    exact score.
    """
    flow = DPMSolverPP(num_steps=400, grid=uniform)
    return reverse_trajectories(key, sde, mixture, num, sampler=flow, num_frames=num_frames)


def density(
    sde: SDE, mixture: Mixture, x: Float[np.ndarray, " points"], *, num_frames: int = 101
) -> Density:
    """The exact density ``p_t(x)`` of the SDE's marginals, from ``t_min`` to ``t_max``."""
    times = np.linspace(sde.t_min, sde.t_max, num_frames)

    def log_prob(point: Float[Array, ""], t: Float[Array, ""]) -> Float[Array, ""]:
        return mixture.log_prob(sde, point[None], t)

    over_times = jax.vmap(log_prob, in_axes=(None, 0))
    values = jax.jit(jax.vmap(over_times, in_axes=(0, None)))(x, times)
    return Density(times, x, np.exp(values))


def reach(sde: SDE, mixture: Mixture, t: float, *, num_stds: float = 3.3) -> tuple[float, float]:
    """An interval that holds nearly all of ``p_t``: the mean of every component, plus
    and minus ``num_stds`` standard deviations.
    """
    alpha, sigma = marginals_at(sde, np.asarray(t))
    means = alpha * np.asarray(mixture.means)[:, 0]
    spread = num_stds * np.sqrt((alpha * np.asarray(mixture.std)) ** 2 + sigma**2)
    return float((means - spread).min()), float((means + spread).max())


_Paths: TypeAlias = tuple[Float[Array, "num frames 1"], Int[Array, " num"]]
"""Paths in ascending time, and the component most likely to have made each clean end."""


@partial(jax.jit, static_argnames=("sde", "mixture", "num", "num_frames"))
def _forward(key: Key, sde: SDE, mixture: Mixture, num: int, num_frames: int) -> _Paths:
    data_key, noise_key = jax.random.split(key)
    x0 = mixture.sample(data_key, num)

    def run(key: Key, x0: Float[Array, "1"]) -> Float[Array, "frames 1"]:
        return jnp.asarray(simulate(key, sde, x0, save_path=num_frames).path)

    return jax.vmap(run)(jax.random.split(noise_key, num), x0), _components(mixture, x0)


@partial(jax.jit, static_argnames=("sde", "mixture", "num", "sampler", "num_frames"))
def _reverse(
    key: Key, sde: SDE, mixture: Mixture, num: int, sampler: Sampler, num_frames: int
) -> _Paths:
    def run(key: Key) -> tuple[Float[Array, "1"], Float[Array, "frames 1"]]:
        result = sample(key, sde, mixture.score_fn(sde), sampler, (1,), save_path=num_frames)
        return result.x, jnp.asarray(result.path)[::-1]

    x0, path = jax.vmap(run)(jax.random.split(key, num))
    return path, _components(mixture, x0)


def _components(mixture: Mixture, x0: Float[Array, "num 1"]) -> Int[Array, " num"]:
    return jnp.argmax(jax.vmap(mixture.responsibilities)(x0), axis=-1)


def _trajectories(
    sde: SDE, path: Float[Array, "num frames 1"], component: Int[Array, " num"]
) -> Trajectories:
    times = np.linspace(sde.t_min, sde.t_max, path.shape[1])
    return Trajectories(times, np.asarray(path)[..., 0], np.asarray(component))
