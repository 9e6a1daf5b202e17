"""The unit of time is free: an SDE on [0, 4e-12] or [0, 1e6] gives the same results
as on [0, 1].
"""

import dataclasses
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SAMPLERS, SLOW, shortened, slow_but, two_modes_score

import score_sde as ss
from score_sde.objectives import DiscreteTime, NoiseLevels
from score_sde.sdes import SDE

KEY = jax.random.key(3)
X = jnp.array([0.3, -0.9])
VP = ss.VPSDE()
UNITS = (2.0**-38, 2.0**20)
"""Powers of four, by which float32 is multiplied without rounding; the ends are 3.6e-12
and 1.05e6.
"""


@dataclass(frozen=True, kw_only=True)
class InOtherUnits(SDE):
    """``base`` with its times multiplied by ``unit``, as somebody's own SDE without a
    closed form of `time_at`.
    """

    base: SDE
    unit: float
    t_min: float
    t_max: float

    def drift(self, x, t):
        return self.base.drift(x, t / self.unit) / self.unit

    def diffusion(self, t):
        return self.base.diffusion(t / self.unit) / math.sqrt(self.unit)

    def marginal(self, t):
        return self.base.marginal(t / self.unit)

    def prior_std(self):
        return self.base.prior_std()


def in_units(unit):
    return InOtherUnits(base=VP, unit=unit, t_min=unit * VP.t_min, t_max=unit * VP.t_max)


def drawing(name):
    sampler = shortened(SAMPLERS[name], 6)
    return lambda sde: ss.sample(KEY, sde, two_modes_score(sde), sampler, (2,), save_path=3)


FUNCTIONS = {
    **{f"sample-{name}": drawing(name) for name in SAMPLERS},
    "sample-tree": lambda sde: ss.sample(
        KEY,
        sde,
        two_modes_score(sde),
        dataclasses.replace(SAMPLERS["shark"], num_steps=6, path="tree"),
        (2,),
    ),
    "encode": lambda sde: ss.encode(sde, two_modes_score(sde), X),
    "log_likelihood": lambda sde: ss.log_likelihood(
        KEY, sde, two_modes_score(sde), X, divergence=ss.ExactTrace()
    ),
    "variational_bound": lambda sde: ss.variational_bound(
        KEY, sde, two_modes_score(sde), X, num_times=64
    ),
    "simulate": lambda sde: ss.simulate(KEY, sde, X, save_path=3),
    "time_at": lambda sde: [
        sde.time_at(sde.log_snr(part * sde.t_max)) / sde.t_max for part in (1e-5, 0.1, 0.99)
    ],
    "importance": lambda sde: importance(sde, 0.3),
    "ddpm": lambda sde: ss.DDPMLoss()(KEY, sde, two_modes_score(sde), X),
    "noise_levels": lambda sde: tuple(
        jnp.asarray(end) for end in NoiseLevels.of(sde, DiscreteTime(num_scales=10))
    ),
}
"""``sde ->`` numbers that know no unit of time."""


def importance(sde, u):
    time, weight = ss.ImportanceSampling(t_min=1e-5 * sde.t_max)(u, sde)
    return time / sde.t_max, weight


FAST = (
    "sample-ddim",
    "sample-probability_flow",
    "variational_bound",
    "time_at",
    "importance",
    "ddpm",
    "noise_levels",
)


@pytest.mark.parametrize("name", slow_but(FUNCTIONS, *FAST))
def test_the_unit_of_time_changes_nothing(name):
    compiled = (lambda run: run) if name == "noise_levels" else jax.jit
    reference = compiled(lambda: FUNCTIONS[name](in_units(1.0)))()
    for unit in UNITS:
        found = compiled(lambda unit=unit: FUNCTIONS[name](in_units(unit)))()
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "unit", [1e-11, pytest.param(1e6, marks=SLOW), pytest.param(1e-13, marks=SLOW)]
)
@pytest.mark.slow
def test_the_bound_is_below_the_density_whatever_the_unit(unit):
    """For N(0, 0.5^2) in 64 dimensions: the mean of 64 bounds within 5 standard errors
    of it (fails 1 run in 2e6).

    The decoder and the prior take less than 0.5 nats off.
    """
    sde, x = in_units(unit), 0.5 * jax.random.normal(KEY, (64,))

    def score(x, t):
        alpha, sigma = sde.marginal(t)
        return -x / (0.25 * jnp.square(alpha) + jnp.square(sigma))

    run = jax.jit(
        jax.vmap(lambda key: ss.variational_bound(key, sde, score, x, num_times=64).log_prob)
    )
    bounds = np.asarray(run(jax.random.split(KEY, 64)), np.float64)
    exact = float(jnp.sum(jax.scipy.stats.norm.logpdf(x, scale=0.5)))
    error = bounds.std() / math.sqrt(len(bounds))
    assert error < 0.5 and exact - 5.0 * error - 0.5 < bounds.mean() < exact + 5.0 * error
