"""The reverse family: every member carries the same densities backwards in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import GAUSSIAN, PLANE, SDES, marginal_std

from score_sde.sdes.reverse import denoise, probability_flow, reverse_diffusion, reverse_drift

each_sde = pytest.mark.parametrize("name", SDES)


@each_sde
def test_noise_scale_one_is_the_reverse_sde_and_zero_the_probability_flow(name):
    """``f - g^2 s`` with noise ``g``, and ``f - g^2 s / 2`` with none (Song et al.
    2021, eqs. 6 and 13).
    """
    sde, x, t = SDES[name], jnp.array([0.4, -1.0]), 0.6
    score = PLANE.score_fn(sde)
    f, g, s = sde.drift(x, t), sde.diffusion(t), score(x, t)
    np.testing.assert_allclose(reverse_drift(sde, score)(x, t), f - g**2 * s, rtol=1e-6)
    np.testing.assert_allclose(
        reverse_drift(sde, score, noise_scale=0.0)(x, t), f - 0.5 * g**2 * s, rtol=1e-6
    )
    np.testing.assert_allclose(probability_flow(sde, score)(x, t), f - 0.5 * g**2 * s, rtol=1e-6)
    np.testing.assert_allclose(reverse_diffusion(sde)(t), g, rtol=1e-6)
    assert float(reverse_diffusion(sde, noise_scale=0.0)(t)) == 0.0


@each_sde
def test_every_member_keeps_the_marginals(name):
    """The Fokker-Planck equation of the reverse family, pointwise in float64, on the
    exact mixture densities.

    A process ``dx = b dt + lambda g dw`` that runs backwards has densities with ``dp/dt
    = -div(b p) - lambda^2 g^2 / 2 lap p``; divided by ``p``, all terms are derivatives
    of ``log p``.
    """
    sde, scales = SDES[name], (0.0, 0.5, 1.0, 2.0)
    drifts = [reverse_drift(sde, PLANE.score_fn(sde), noise_scale=scale) for scale in scales]

    @jax.jit
    @jax.vmap
    def sides(x, t):
        log_p = lambda x, t: PLANE.log_prob(sde, x, t)  # noqa: E731
        gradient, hessian = jax.grad(log_p)(x, t), jax.hessian(log_p)(x, t)
        curvature = jnp.trace(hessian) + gradient @ gradient
        expected = [
            -jnp.trace(jax.jacfwd(drift)(x, t))
            - drift(x, t) @ gradient
            - 0.5 * reverse_diffusion(sde, noise_scale=scale)(t) ** 2 * curvature
            for scale, drift in zip(scales, drifts, strict=True)
        ]
        return jax.grad(log_p, argnums=1)(x, t), jnp.stack(expected)

    with jax.enable_x64(True):
        times = np.geomspace(max(sde.t_min, 1e-3), sde.t_max, 12)
        x = 2.0 * np.random.default_rng(0).normal(size=(12, 2))
        rate, expected = sides(x, times)
    np.testing.assert_allclose(
        np.broadcast_to(rate[:, None], expected.shape), expected, rtol=1e-8, atol=1e-8
    )


@each_sde
def test_denoise_is_the_posterior_mean_of_gaussian_data(name):
    """``E[x_0 | x_t] = m + alpha s^2 / v (x_t - alpha m)`` with ``v = alpha^2 s^2 + sigma^2``."""
    sde, x, t = SDES[name], jnp.array([0.4, -1.0]), 0.3
    alpha = sde.marginal(t).alpha
    mean = jnp.array(GAUSSIAN.means[0])
    gain = alpha * GAUSSIAN.std**2 / marginal_std(GAUSSIAN, sde, t) ** 2
    expected = mean + gain * (x - alpha * mean)
    np.testing.assert_allclose(denoise(sde, GAUSSIAN.score_fn(sde), x, t), expected, rtol=1e-4)
