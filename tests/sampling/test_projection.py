"""Every sampler takes a projection after each of its steps, or refuses it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SAMPLERS, SDES, SLOW, VARIANTS, shortened, slow_but, two_modes_score

import score_sde as ss

SDE, KEY = SDES["vp"], jax.random.key(3)
SCORE = two_modes_score(SDE)
ALL = {**SAMPLERS, **VARIANTS}
REFUSE = {
    "adams_bashforth", "dpm_solver_pp", "sde_dpm_solver_pp", "unipc", "deis", "ipndm", "er_sde",
    "default", "adams_bashforth_sde", "dpm_solver_pp_3", "probability_flow",
    "probability_flow_dopri5", "adaptive_sde",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class First(ss.Projection):
    """The first number of every state is ``value``, and of the data twice that value."""

    value: jax.Array

    def project(self, key, x, t):
        return x.at[0].set(self.value)

    def finish(self, key, x0):
        return x0.at[0].set(2.0 * self.value)


@pytest.mark.parametrize("name", slow_but(sorted(REFUSE), "dpm_solver_pp", "adaptive_sde"))
def test_multistep_and_adaptive_samplers_refuse_a_projection(name):
    with pytest.raises(ValueError, match="condition the score function instead") as error:
        ALL[name].solve(KEY, SDE, SCORE, jnp.ones(2), projection=First(value=jnp.float32(0.5)))
    assert "\n" not in str(error.value) and type(ALL[name]).__name__ in str(error.value)


@pytest.mark.parametrize("name", slow_but([n for n in ALL if n not in REFUSE], "predictor_alone"))
def test_every_state_after_a_step_meets_the_constraint(name):
    sampler = shortened(ALL[name], 4)
    frames = {"annealed_langevin": 9, "restart": 9}.get(name, 5)
    draw = jax.jit(
        lambda p: ss.sample(KEY, SDE, SCORE, sampler, (3,), save_path=frames, projection=p)
    )
    drawn = draw(First(value=jnp.float32(0.5)))
    assert drawn.x[0] == 1.0 and np.isfinite(drawn.x).all()
    wanted = np.full(frames, 0.5)
    wanted[-1] = 1.0 if sampler.ends_at_data else 0.5
    np.testing.assert_allclose(drawn.path[:, 0], wanted, rtol=1e-5)


def test_a_single_frame_is_the_latent_where_the_data_meet_the_constraint():
    sampler, projection = ss.DDIM(num_steps=3, last_ratio=0.01), First(value=jnp.float32(0.5))
    drawn = ss.sample(KEY, SDE, SCORE, sampler, (3,), save_path=1, projection=projection)
    assert drawn.x[0] == 1.0 and drawn.path.shape == (1, 3)
    np.testing.assert_allclose(drawn.path[0, 0], 0.5, rtol=1e-5)


@dataclass(frozen=True, kw_only=True)
class Noise(ss.Projection):
    """Every state is new noise."""

    def project(self, key, x, t):
        return jax.random.normal(key, x.shape, x.dtype)

    def finish(self, key, x0):
        return x0


@SLOW
@pytest.mark.parametrize("name", ["edm", "restart", "heun", "ddim", "discrete_ddim"])
def test_projections_of_the_two_parts_of_a_step_are_independent(name):
    """The first ends within a step, whose rest the second takes."""
    sampler, at = shortened(ALL[name], 3), 0.7

    @jax.jit
    def states():
        options = {"save_path": 3, "projection": Noise()}
        first = sampler.solve(KEY, SDE, SCORE, jnp.ones(3), t_stop=at, **options)
        second = sampler.solve(KEY, SDE, SCORE, first.x, t_start=at, **options)
        return first.path[-1], second.path[0], second.path[1]

    stop, start, after = states()
    np.testing.assert_allclose(start, stop, rtol=1e-5)
    assert not np.isclose(after, stop, rtol=1e-2).any()


def test_a_threshold_acts_on_the_image_before_the_projection_acts_on_the_data():
    """The numbers that a projection sets may lie beyond the threshold."""
    known = First(value=jnp.float32(1.5))
    options = {"projection": known, "threshold": ss.StaticThreshold(low=-0.1, high=0.1)}
    sampler = ss.EulerMaruyama(num_steps=3)
    x = jax.jit(lambda: ss.sample(KEY, SDE, SCORE, sampler, (3,), **options).x)()
    assert x[0] == 3.0 and (np.abs(x[1:]) <= 0.1 + 1e-5).all()
