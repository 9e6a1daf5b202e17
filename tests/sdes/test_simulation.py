"""Forward simulation against the exact marginals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SDES, keys, slow_but

from score_sde.sdes import VPSDE, perturb
from score_sde.sdes.simulation import simulate


@pytest.mark.parametrize("name", slow_but(SDES, "subvp", "ve", "cosine"))
def test_simulated_data_has_the_exact_marginals_at_every_frame(name):
    """Mean and variance of the noise in 4,000 numbers at 5 times, from two data points,
    within 4.5 standard errors.

    15 numbers: 1 key in 10,000 fails; the key is fixed.
    """
    sde, num = SDES[name], 2000
    x0 = jnp.array([1.5, -1.5])
    run = jax.jit(jax.vmap(lambda key: simulate(key, sde, x0, save_path=5)))
    x, path = (np.asarray(part, np.float64) for part in run(keys(1, num)))
    assert path.shape == (num, 5, 2) and x.shape == (num, 2)
    np.testing.assert_array_equal(path[:, -1], x)
    for index, t in enumerate(np.linspace(sde.t_min, sde.t_max, 5)):
        alpha, sigma = (float(part) for part in sde.marginal(t))
        noise = (path[:, index] - alpha * np.asarray(x0)) / sigma
        assert (np.abs(noise.mean(0)) < 4.5 / np.sqrt(num)).all()
        assert abs(noise.var() - 1.0) < 4.5 * np.sqrt(2.0 / noise.size)


def test_noise_accumulates_from_frame_to_frame():
    """Correlation of the frames: ``cov(x_s, x_t) = alpha(s, t) sigma(s)^2``, within 4.5
    standard errors.
    """
    sde, num = VPSDE(), 4000
    run = jax.jit(jax.vmap(lambda key: simulate(key, sde, jnp.zeros(1), save_path=5).path))
    path = np.asarray(run(keys(2, num)), np.float64)[:, :, 0]
    s, t = np.linspace(sde.t_min, sde.t_max, 5)[1:3]
    alpha = float(sde.transition(s, t).alpha)
    expected = alpha * float(sde.marginal(s).sigma) / float(sde.marginal(t).sigma)
    assert abs(np.corrcoef(path[:, 1], path[:, 2])[0, 1] - expected) < 4.5 / np.sqrt(num)


def test_a_path_of_many_frames_has_the_increments_of_its_diffusion():
    """``sum |dx|^2 = int g^2 dt`` for VE, in 2,000 frames of 400 numbers: within 4.5
    standard errors and 1 %.
    """
    sde = SDES["ve"]
    path = np.asarray(
        jax.jit(lambda key: simulate(key, sde, jnp.zeros(400), save_path=2000).path)(keys(3, 1)[0])
    )
    times = np.linspace(sde.t_min, sde.t_max, 2000)
    middle = 0.5 * (times[1:] + times[:-1])
    expected = np.square(jax.vmap(sde.diffusion)(middle)) * np.diff(times)
    found = np.square(np.diff(path, axis=0)).mean(1)
    error = np.sqrt(2.0 / 400 * np.square(expected).sum()) / expected.sum()
    assert abs(found.sum() / expected.sum() - 1.0) < 4.5 * error + 0.01


def test_frames_are_kept_only_with_save_path():
    def shapes(**options):
        return jax.eval_shape(
            lambda key: simulate(key, VPSDE(), jnp.ones((2, 3)), **options), jax.random.key(0)
        )

    assert shapes().path is None and shapes().x.shape == (2, 3)
    assert [shapes(save_path=frames).path.shape for frames in (1, 2, 7)] == [
        (1, 2, 3),
        (2, 2, 3),
        (7, 2, 3),
    ]


@pytest.mark.parametrize("frames", [1, 2])
def test_the_first_frame_is_the_data_perturbed_to_the_first_time(frames):
    key = jax.random.key(0)
    first = jax.jit(lambda key: simulate(key, VPSDE(), jnp.ones(2), save_path=frames).path[0])(key)
    noise = jax.random.normal(jax.random.split(key)[0], (2,))
    np.testing.assert_allclose(
        first, perturb(VPSDE(), jnp.ones(2), VPSDE().t_min, noise), rtol=1e-6
    )


def test_a_negative_number_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"^save_path=-1 must be at least 0$"):
        simulate(jax.random.key(0), VPSDE(), jnp.ones(2), save_path=-1)
