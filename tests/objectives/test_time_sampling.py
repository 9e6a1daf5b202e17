"""Times: their distributions, and the weights that keep an objective what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SDES
from scipy import stats

from score_sde.experiments.tables import VALUES
from score_sde.objectives import (
    DiscreteTime,
    FixedTime,
    ImportanceSampling,
    LogNormalNoise,
    NoiseLevels,
    UniformTime,
    likelihood,
)
from score_sde.objectives.noise_levels import log_snr_of
from score_sde.sdes import EDMSDE, VESDE, VPSDE

QUANTILES = (np.arange(2000) + 0.5) / 2000
each_sde = pytest.mark.parametrize("name", SDES)


def drawn(sampling, sde, quantiles=QUANTILES):
    """Times and weights in float64."""
    with jax.enable_x64(True):
        t, weight = jax.vmap(lambda u: sampling(u, sde))(jnp.asarray(quantiles))
        return np.asarray(t), np.asarray(weight)


@each_sde
@pytest.mark.parametrize("kind", VALUES["time_sampling"][0])
def test_times_rise_with_their_quantile_between_the_first_and_the_end(name, kind):
    sde, sampling = SDES[name], VALUES["time_sampling"][0][kind]()
    t, weight = drawn(sampling, sde, np.linspace(0.0, 1.0 - 1e-9, 101))
    assert (np.diff(t) >= 0.0).all() and (weight > 0.0).all()
    assert sampling.first(sde) <= t[0] and t[-1] <= sde.t_max
    single = jax.vmap(lambda u: sampling(u, sde))(
        jnp.linspace(0.0, 1.0 - 1e-6, 50, dtype=jnp.float32)
    )
    assert all(np.isfinite(part).all() and part.dtype == jnp.float32 for part in single)


@each_sde
def test_uniform_times_are_uniform(name):
    t, weight = drawn(UniformTime(t_min=1e-3), SDES[name])
    np.testing.assert_allclose(t, 1e-3 + QUANTILES * (SDES[name].t_max - 1e-3))
    assert (weight == 1.0).all()


@each_sde
def test_importance_sampling_draws_times_in_proportion_to_their_rate(name):
    """The share of times below ``t`` is the share of ``int g^2 / sigma^2``, by quadrature."""
    sde, first = SDES[name], 1e-3
    t, _ = drawn(ImportanceSampling(t_min=first), sde, np.array([0.1, 0.5, 0.9]))
    with jax.enable_x64(True):
        rate = jax.jit(jax.vmap(lambda t: jnp.square(sde.diffusion(t) / sde.marginal(t).sigma)))
        nodes, weights = np.polynomial.legendre.leggauss(6)

        def area(
            end,
            # in log t, for the rate is like 1 / t; in 3,000 parts, for an SDE may be
            # in many intervals
        ):
            edges = np.linspace(np.log(first), np.log(end), 3001)
            half = 0.5 * np.diff(edges)[:, None]
            points = np.exp(edges[:-1, None] + half * (1.0 + nodes))
            return np.sum(
                np.asarray(rate(points.ravel())).reshape(points.shape) * points * half * weights
            )

        shares = [area(end) / area(sde.t_max) for end in t]
    np.testing.assert_allclose(shares, [0.1, 0.5, 0.9], rtol=1e-5)


@each_sde
def test_weights_make_every_sampling_the_same_mean_over_time(name):
    """``E weight f(t)`` is the mean of ``f`` over ``[t_min, t_max]``, here of a
    function that is all near the data.
    """
    sde, first = SDES[name], 1e-2
    t, weight = drawn(ImportanceSampling(t_min=first), sde, (np.arange(20_000) + 0.5) / 20_000)
    uniform, _ = drawn(UniformTime(t_min=first), sde, (np.arange(200_000) + 0.5) / 200_000)
    np.testing.assert_allclose(np.mean(weight / t), np.mean(1.0 / uniform), rtol=1e-3)


def test_importance_sampling_makes_the_likelihood_weighting_one_of_variance():
    """``weight g^2`` is ``sigma^2`` times a constant: the loss no longer explodes near the data."""
    sde = VPSDE()
    t, weight = drawn(ImportanceSampling(), sde)
    with jax.enable_x64(True):
        ratio = weight * jax.vmap(lambda t: likelihood(sde, t) / jnp.square(sde.marginal(t).sigma))(
            t
        )
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_importance_sampling_of_geometric_noise_levels_is_uniform():
    """For the VE SDE ``g^2 / sigma^2`` is constant."""
    np.testing.assert_allclose(
        drawn(ImportanceSampling(), VESDE()), drawn(UniformTime(), VESDE()), rtol=1e-7, atol=1e-12
    )


def test_log_normal_noise_has_the_distribution_of_edm():
    """By a Kolmogorov-Smirnov distance of 2,000 quantiles, so no chance: half a step of
    the staircase.
    """
    t, weight = drawn(LogNormalNoise(), EDMSDE())
    found = stats.kstest(np.log(80.0 * t), stats.norm(-1.2, 1.2).cdf)
    assert found.statistic < 1e-3 and (weight == 1.0).all()


def test_discrete_times_are_the_levels_with_equal_probability():
    t, _ = drawn(DiscreteTime(num_scales=5), VPSDE(), np.arange(100) / 100)
    values, counts = np.unique(t, return_counts=True)
    np.testing.assert_allclose(values, [0.0, 0.25, 0.5, 0.75, 1.0])
    assert (counts == 20).all()
    assert set(drawn(FixedTime(t=0.3), VPSDE())[0]) == {0.3}


def test_losses_are_sorted_by_noise_level():
    levels = NoiseLevels.of(VPSDE(), UniformTime(t_min=1e-3))
    names = list(levels.sort(jnp.ones(()), jnp.zeros(())))
    middles = [log_snr_of(name) for name in names]
    np.testing.assert_allclose(middles, levels.middles, atol=5e-3)
    assert middles[0] > float(VPSDE().log_snr(1.0)) and middles[-1] < float(VPSDE().log_snr(1e-3))
    for middle, name in zip(levels.middles, names, strict=True):
        found = {
            key: float(value)
            for key, value in levels.sort(jnp.asarray(3.0), jnp.asarray(middle)).items()
        }
        assert found.pop(name) == 3.0 and all(np.isnan(value) for value in found.values())
    ends = [levels.sort(jnp.ones(()), jnp.asarray(value)) for value in (-jnp.inf, jnp.inf)]
    assert float(ends[0][names[0]]) == float(ends[1][names[-1]]) == 1.0
    assert log_snr_of("loss") is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformTime(t_min=0.0), r"t_min=0\.0 must be positive"),
        (lambda: ImportanceSampling(t_min=-1.0), r"t_min=-1\.0 must be positive"),
        (lambda: LogNormalNoise(std=0.0), r"std=0\.0 must be positive"),
        (lambda: DiscreteTime(num_scales=1), "num_scales=1 must be at least 2"),
        (lambda: FixedTime(t=-0.1), r"^t=-0\.1 must be a finite number of at least 0"),
        (
            lambda: FixedTime(t=2.0).check(VPSDE()),
            r"time_sampling\.t=2\.0 must be at most sde\.t_max=1\.0",
        ),
        (
            lambda: UniformTime(t_min=1.0).check(VPSDE()),
            r"t_min=1\.0 must be less than sde\.t_max=1\.0",
        ),
    ],
)
def test_wrong_times_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
