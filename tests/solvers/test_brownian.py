"""Index-keyed Brownian noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from score_sde.solvers import AdditiveNoise, IndexedBrownianPath, StepNoise

NODES = jnp.array([0.0, 0.1, 0.15, 0.5, 2.0])


def path(seed=0, shape=(), nodes=NODES):
    return IndexedBrownianPath(
        key=jax.random.key(seed), nodes=nodes, noise_like=jax.ShapeDtypeStruct(shape, jnp.float32)
    )


def increments(noise):
    """``W`` and ``H`` of every interval."""
    areas = [
        noise.evaluate(a, b, use_levy=True)
        for a, b in zip(noise.nodes[:-1], noise.nodes[1:], strict=True)
    ]
    return np.stack([area.W for area in areas]), np.stack([area.H for area in areas])


def test_steps_of_a_coarser_clock_are_sums_of_those_of_a_finer_one():
    """One Brownian path, whatever the grid: ``sqrt(dt) z = sum_i sqrt(dt_i) z_i``."""
    key, like = jax.random.key(0), jax.ShapeDtypeStruct((3,), jnp.float32)
    draw = jax.jit(
        lambda clock: jax.vmap(StepNoise(key, like, clock).draw)(jnp.arange(len(clock) - 1))
    )
    fine = jnp.sqrt(jnp.diff(NODES))[:, None] * draw(NODES)
    coarse = jnp.sqrt(jnp.diff(NODES[::2]))[:, None] * draw(NODES[::2])
    np.testing.assert_allclose(coarse, fine[::2] + fine[1::2], atol=1e-5)


def test_increments_are_independent_normals_of_the_right_variance():
    """Kolmogorov-Smirnov tests and correlations of 8 variables with 20,000 draws each.

    8 tests at 1e-4 and 28 correlations within 4.5 standard errors: 1 key in 1,000
    fails; the key is fixed.
    """
    num = 20_000
    w, h = increments(path(shape=(num,)))
    lengths = np.diff(NODES)
    for i, dt in enumerate(lengths):
        assert stats.kstest(w[i] / np.sqrt(dt), "norm").pvalue > 1e-4
        assert stats.kstest(h[i] / np.sqrt(dt / 12.0), "norm").pvalue > 1e-4
    correlation = np.corrcoef(np.concatenate([w, h])) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(num)


def test_an_increment_is_the_same_with_and_without_its_levy_area():
    noise = path(shape=(3,))
    w, _ = increments(noise)
    np.testing.assert_array_equal(noise.evaluate(NODES[2], NODES[3]), w[2])


def test_noise_depends_on_the_index_alone_and_not_on_the_rounding_of_the_times():
    """The same normal numbers, scaled, on a grid of other lengths; other numbers from
    another key.
    """
    w, _ = increments(path(shape=(3,)))
    other, _ = increments(path(shape=(3,), nodes=jnp.array([0.0, 0.3, 0.7, 0.9, 1.7])))
    scaled = w / np.sqrt(np.diff(NODES))[:, None] * np.sqrt([0.3, 0.4, 0.2, 0.8])[:, None]
    np.testing.assert_allclose(other, scaled, rtol=1e-5)
    assert not np.isclose(increments(path(seed=1, shape=(3,)))[0], w).any()


def test_all_intervals_of_a_long_float32_grid_have_noise_of_their_own():
    nodes = jnp.asarray(np.linspace(0.0, 1.0 - 1e-5, 2001), jnp.float32)
    noise = path(shape=(4,), nodes=nodes)
    w = jax.vmap(noise.evaluate)(nodes[:-1], nodes[1:])
    assert len(np.unique(np.asarray(w), axis=0)) == 2000


def test_it_has_increments_and_no_values():
    noise = path()
    assert (float(noise.t0), float(noise.t1)) == (0.0, 2.0)
    with pytest.raises(ValueError, match="give both t0 and t1"):
        noise.evaluate(NODES[0])


def test_it_is_differentiable_in_the_diffusion():
    noise = path(shape=(2,))

    def endpoint(scale):
        term = AdditiveNoise(lambda s: scale * (1.0 + s), noise)
        return term.prod(term.vf(NODES[1], None, None), term.contr(NODES[1], NODES[2]))

    value, derivative = jax.jvp(endpoint, (3.0,), (1.0,))
    np.testing.assert_allclose(derivative, value / 3.0, rtol=1e-6)
    np.testing.assert_allclose(value, 3.3 * noise.evaluate(NODES[1], NODES[2]), rtol=1e-6)
