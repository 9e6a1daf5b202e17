"""Ways through the latent space: great circles, their ends and limits, and the units of latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import score_sde
from score_sde import VESDE, VPSDE
from score_sde.sampling.latents import mean_square, slerp, with_temperature

KEY = jax.random.key(3)
A, B = jax.random.normal(KEY, (2, 4, 4, 1))
WEIGHTS = jnp.linspace(0.0, 1.0, 11)


def way(a, b, weights=WEIGHTS):
    return jax.jit(jax.vmap(slerp, in_axes=(None, None, 0)))(a, b, weights)


def norms(x):
    return np.linalg.norm(np.asarray(x, np.float64).reshape(len(x), -1), axis=1)


def unit(x):
    return x / jnp.linalg.norm(x)


def test_slerp_is_a_public_name():
    assert score_sde.slerp is slerp


@pytest.mark.parametrize(
    "b", [B, 2 * A, A, -A, 0 * A], ids=["any", "parallel", "equal", "opposite", "zero"]
)
def test_the_ends_are_exact(b):
    found = way(A, b)
    assert (found[0] == A).all() and (found[-1] == b).all() and found.dtype == jnp.float32


def test_vectors_of_equal_norm_keep_it_and_equal_weights_are_equal_angles():
    a, b = 3 * unit(A), 3 * unit(B)
    found = np.asarray(way(a, b), np.float64).reshape(11, -1)
    np.testing.assert_allclose(norms(found), 3.0, rtol=1e-6)
    cosines = (found[1:] * found[:-1]).sum(1) / 9
    whole = np.arccos(np.sum(np.asarray(a * b, np.float64)) / 9)
    np.testing.assert_allclose(np.arccos(cosines), whole / 10, rtol=1e-4)


def test_orthogonal_vectors_have_sine_and_cosine():
    a, b = jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0])
    turn = np.asarray(WEIGHTS) * np.pi / 2
    np.testing.assert_allclose(way(a, b), np.stack([2 * np.cos(turn), np.sin(turn)], 1), atol=1e-6)


@pytest.mark.parametrize("b", [A, 2 * A, A * (1 + 1e-6), 0 * A, -A, -3 * A])
def test_without_a_unique_great_circle_slerp_is_linear_interpolation(b):
    w = np.asarray(WEIGHTS)[:, None, None, None]
    np.testing.assert_allclose(way(A, b), (1 - w) * A + w * b, atol=1e-5)


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 0.1, 3.0, np.pi - 2e-3])
def test_small_and_large_angles_keep_their_precision(angle):
    a, b = jnp.array([1.0, 0.0]), jnp.array([np.cos(angle), np.sin(angle)], jnp.float32)
    turn = np.asarray(WEIGHTS) * angle
    np.testing.assert_allclose(way(a, b), np.stack([np.cos(turn), np.sin(turn)], 1), atol=2e-4)


def test_beyond_the_ends_slerp_extrapolates_along_the_circle():
    a, b = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    np.testing.assert_allclose(slerp(a, b, 2.0), [-1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    "b", [B, A, 2 * A, -A, 0 * A], ids=["any", "equal", "parallel", "opposite", "zero"]
)
def test_gradients_are_finite(b):
    gradients = jax.jit(jax.grad(lambda *args: slerp(*args).sum(), argnums=(0, 1, 2)))(A, b, 0.3)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_gradients_agree_with_finite_differences():
    with jax.enable_x64(True):
        a, b = (jnp.asarray(x, jnp.float64) for x in (A, B))
        check_grads(jax.jit(slerp), (a, b, jnp.float64(0.3)), order=1, modes=["rev"])


def test_at_equal_ends_the_gradient_is_that_of_linear_interpolation():
    change = jax.jacfwd(slerp, argnums=1)(jnp.ones(3), jnp.ones(3), 0.25)
    np.testing.assert_allclose(change, 0.25 * np.eye(3), atol=1e-6)


def test_slerp_maps_over_pairs_and_weights():
    found = jax.vmap(lambda a, b: jax.vmap(lambda w: slerp(a, b, w))(WEIGHTS))(
        jnp.stack([A, B]), jnp.stack([B, A])
    )
    np.testing.assert_allclose(found[0], found[1, ::-1], atol=1e-6)


def test_temperature_scales_and_must_be_positive():
    np.testing.assert_array_equal(with_temperature(A, 0.5), 0.5 * A)
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(
            ValueError, match=f"temperature={temperature} must be positive and finite"
        ):
            with_temperature(A, temperature)


@pytest.mark.parametrize("sde", [VPSDE(), VESDE(sigma_max=20.0)])
def test_the_mean_square_of_the_prior_is_one(sde):
    latent = score_sde.prior_sample(KEY, sde, (20_000,))
    np.testing.assert_allclose(mean_square(sde, latent), 1.0, atol=0.04)
