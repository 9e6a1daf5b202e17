"""Progress of compiled solves."""

import jax
import numpy as np
import pytest
from oracles import CENTRED, PLANE, SLOW, keys

from score_sde.sampling import DDIM, AnnealedLangevin, EulerMaruyama, ProbabilityFlow, sample
from score_sde.sdes import VESDE, VPSDE


@pytest.mark.parametrize(
    "sampler",
    [
        EulerMaruyama(num_steps=300),
        *(pytest.param(value, marks=SLOW) for value in (DDIM(num_steps=40), ProbabilityFlow())),
    ],
)
def test_a_batch_reports_its_progress_once_and_not_too_often(sampler):
    """Rising fractions, about a hundred at most, and the same samples as without progress."""
    sde, reports = VPSDE(), []
    run = lambda report: jax.jit(  # noqa: E731
        jax.vmap(
            lambda key: sample(key, sde, PLANE.score_fn(sde), sampler, (2,), progress=report).x
        )
    )(keys(0, 5))
    with_progress = jax.block_until_ready(run(reports.append))
    jax.effects_barrier()
    np.testing.assert_allclose(with_progress, run(None), rtol=1e-5, atol=1e-6)
    assert 10 < len(reports) <= 110
    assert all(0.0 <= part <= 1.0 for part in reports) and max(reports) > 0.9


def test_annealed_langevin_has_the_variance_of_its_recursion():
    """VE and Gaussian data of standard deviation 0.5: ``V <- (1 - eps / v)^2 V + 2 eps`` at
    every level, exactly.

    The variance of 8,000 numbers, within 4.5 standard errors: 1 key in 150,000 fails;
    the key is fixed.
    """
    sde = VESDE(sigma_min=0.1, sigma_max=5.0)
    sampler = AnnealedLangevin(num_steps=6, steps_each=4, step_size=2e-3)
    draw = jax.jit(
        jax.vmap(lambda key: sample(key, sde, CENTRED.score_fn(sde), sampler, (2,), denoise=False))
    )
    drawn = draw(keys(1, 4000))
    sigmas, variance = np.geomspace(5.0, float(sde.marginal(sde.t_min).sigma), 6), 25.0
    for sigma in sigmas:
        eps, v = 2e-3 * (sigma / sigmas[-1]) ** 2, 0.25 + sigma**2
        for _ in range(4):
            variance = (1.0 - eps / v) ** 2 * variance + 2.0 * eps
    assert int(drawn.nfe[0]) == 24
    assert abs(float(np.var(drawn.x)) / variance - 1.0) < 4.5 * np.sqrt(2.0 / 8000)
