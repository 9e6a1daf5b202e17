"""Forward simulation against the exact marginals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SDES, keys, slow_but

from score_sde.sdes import VPSDE, perturb
from score_sde.simulation import simulate


@pytest.mark.parametrize("name", slow_but(SDES, "subvp", "ve"))
def test_simulated_data_has_the_exact_marginals_at_every_frame(name):
    """Mean and variance of the noise in 4,000 numbers at 5 times, from two data points, within 4.5 standard errors.

    15 numbers: 1 key in 10,000 fails; the key is fixed. The allowance for 400 Euler-Maruyama steps is 1 % of the mean's
    unit and 2 % of the variance.
    """
    sde, num = SDES[name], 2000
    x0 = jnp.array([1.5, -1.5])
    run = jax.jit(jax.vmap(lambda key: simulate(key, sde, x0, num_steps=400, save_path=5)))
    x, path = (np.asarray(part, np.float64) for part in run(keys(1, num)))
    assert path.shape == (num, 5, 2) and x.shape == (num, 2)
    np.testing.assert_allclose(path[:, -1], x, rtol=1e-5)
    for index, t in enumerate(np.linspace(sde.t_min, sde.t_max, 5)):
        alpha, sigma = (float(part) for part in sde.marginal(t))
        noise = (path[:, index] - alpha * np.asarray(x0)) / sigma
        slack = 0.0 if index == 0 else 0.01
        assert (np.abs(noise.mean(0)) < 4.5 / np.sqrt(num) + slack).all()
        assert abs(noise.var() - 1.0) < 4.5 * np.sqrt(2.0 / noise.size) + 2.0 * slack


def test_the_start_is_drawn_exactly_and_the_steps_go_on_from_it():
    """Correlation of the frames: ``cov(x_s, x_t) = alpha(s, t) sigma(s)^2``, within 4.5 standard errors."""
    sde, num = VPSDE(), 4000
    run = jax.jit(jax.vmap(lambda key: simulate(key, sde, jnp.zeros(1), num_steps=200, save_path=5).path))
    path = np.asarray(run(keys(2, num)), np.float64)[:, :, 0]
    s, t = np.linspace(sde.t_min, sde.t_max, 5)[1:3]
    alpha = float(sde.transition(s, t).alpha)
    expected = alpha * float(sde.marginal(s).sigma) / float(sde.marginal(t).sigma)
    assert abs(np.corrcoef(path[:, 1], path[:, 2])[0, 1] - expected) < 4.5 / np.sqrt(num) + 0.02


def test_frames_are_kept_only_where_asked_for():
    result = jax.eval_shape(lambda key: simulate(key, VPSDE(), jnp.ones((2, 3)), num_steps=4), jax.random.key(0))
    assert result.path is None and result.x.shape == (2, 3)


def test_perturb_and_simulate_start_from_the_same_state():
    key = jax.random.key(0)
    first = jax.jit(lambda key: simulate(key, VPSDE(), jnp.ones(2), num_steps=3, save_path=2).path[0])(key)
    noise = jax.random.normal(jax.random.split(key)[0], (2,))
    np.testing.assert_allclose(first, perturb(VPSDE(), jnp.ones(2), VPSDE().t_min, noise), rtol=1e-6)


@pytest.mark.parametrize("num_steps", [0, -1])
def test_a_simulation_takes_at_least_one_step(num_steps):
    with pytest.raises(ValueError, match="must be at least 1"):
        simulate(jax.random.key(0), VPSDE(), jnp.ones(2), num_steps=num_steps)
