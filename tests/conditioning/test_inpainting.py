"""Inpainting by replacement, on Gaussians whose conditional is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SLOW, keys

import score_sde as ss
from score_sde.solvers import log_snr

SDE, MEAN = ss.VPSDE(), np.array([0.3, -0.2], np.float32)


def gaussian_score(rho):
    """The score of normal data with standard deviations 0.5 and correlation ``rho``."""

    def score(x, t):
        alpha, sigma = SDE.marginal(t)
        own, other = 0.25 * alpha**2 + sigma**2, 0.25 * rho * alpha**2
        rest = x - alpha * MEAN
        return -(own * rest - other * rest[::-1]) / (own**2 - other**2)

    return score


def draw(sampler, rho, num):
    score = gaussian_score(rho)

    def one(key, y, mask):
        known = ss.Inpainting(sde=SDE, y=y, mask=mask)
        return ss.sample(key, SDE, score, sampler, (2,), projection=known).x

    y, mask = jnp.array([0.9, jnp.nan]), jnp.array([1, 0])
    return np.asarray(jax.jit(jax.vmap(one, (0, None, None)))(keys(0, num), y, mask), np.float64)


def test_another_image_does_not_compile_again():
    """Neither under ``jit`` nor under ``vmap``: arrays of a projection are arguments."""
    traces = []

    def score(x, t):
        traces.append(1)
        return -x

    def one(key, y, mask):
        known = ss.Inpainting(sde=SDE, y=y, mask=mask)
        return ss.sample(key, SDE, score, ss.EulerMaruyama(num_steps=3), (2,), projection=known).x

    for function, batch in ((jax.jit(one), ()), (jax.jit(jax.vmap(one)), (3,))):
        counts = []
        for seed in range(3):
            key = keys(seed, 3) if batch else jax.random.key(seed)
            y = jnp.full((*batch, 2), 0.1 * seed)
            mask = jnp.broadcast_to(jnp.array([seed % 2 == 0, seed % 2 == 1]), y.shape)
            x = function(key, y, mask)
            np.testing.assert_array_equal(x[mask], y[mask])
            counts.append(len(traces))
        assert len(set(counts)) == 1


def test_independent_numbers_are_untouched_and_known_ones_exact():
    """8,192 samples: mean and standard deviation within 5 standard errors, 0.028 and 0.020, (2 runs
    in 1e6 fail), besides a bias of 0.02 of 100 steps.
    """
    x = draw(ss.EulerMaruyama(num_steps=100), 0.0, 8192)
    assert (x[:, 0] == np.float32(0.9)).all()
    assert abs(x[:, 1].mean() + 0.2) < 0.028 + 0.02 and abs(x[:, 1].std() - 0.5) < 0.02 + 0.02


@SLOW
def test_many_corrections_give_the_exact_conditional():
    """4,096 samples of standard deviation 0.4: mean and standard deviation within 5
    standard errors, 0.031 and 0.022 (2 runs in 1e6 fail), besides a bias of 0.03 of
    1,600 corrections.
    """
    sampler = ss.PredictorCorrector(num_steps=400, corrector_steps=4, snr=0.3, grid=log_snr)
    x = draw(sampler, 0.6, 4096)
    mean, std = MEAN[1] + 0.6 * (0.9 - MEAN[0]), 0.5 * np.sqrt(1.0 - 0.36)
    assert (x[:, 0] == np.float32(0.9)).all()
    assert abs(x[:, 1].mean() - mean) < 0.031 + 0.03 and abs(x[:, 1].std() - std) < 0.022 + 0.03


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"mask has shape \(3,\) and must fit \(2,\), the shape of y"
    ) as error:
        ss.Inpainting(sde=SDE, y=jnp.ones(2), mask=jnp.ones(3))
    assert "\n" not in str(error.value)


def test_known_numbers_of_another_shape_than_the_sample_are_refused():
    known = ss.Inpainting(sde=SDE, y=jnp.ones(3), mask=1)
    with pytest.raises(
        ValueError, match=r"y has shape \(3,\) and must fit \(2,\), the shape of the sample"
    ) as error:
        ss.sample(
            jax.random.key(0), SDE, lambda x, t: -x, ss.DDIM(num_steps=2), (2,), projection=known
        )
    assert "\n" not in str(error.value)
