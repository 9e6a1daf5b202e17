"""The closed forms of the Gaussian mixture against autodiff and numerical integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.sdes import VESDE, VPSDE, BrownianMotion, SubVPSDE
from score_sde.sdes.mixture import Mixture

SDES = [BrownianMotion(), VPSDE(), SubVPSDE(), VESDE(sigma_max=5.0)]
LINE = Mixture(means=((-1.5,), (0.5,), (2.0,)), std=(0.3, 0.2, 0.4), weights=(0.5, 0.2, 0.3))


def random_mixture(dim: int) -> Mixture:
    rng = np.random.default_rng(dim)
    return Mixture.from_arrays(
        rng.normal(size=(4, dim)), rng.uniform(0.2, 0.6, 4), rng.dirichlet(np.ones(4) * 3)
    )


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
@pytest.mark.parametrize("dim", [1, 2, 64])
def test_score_is_gradient_of_log_density_in_float64(sde, dim):
    mixture = random_mixture(dim)

    @jax.jit
    @jax.vmap
    def both(x, t):
        return mixture.score_fn(sde)(x, t), jax.grad(lambda point: mixture.log_prob(sde, point, t))(
            x
        )

    with jax.enable_x64(True):
        x = 2.0 * np.random.default_rng(0).normal(size=(16, dim))
        exact, auto = both(x, np.geomspace(sde.t_min, sde.t_max, 16))
    assert exact.dtype == jnp.float64
    np.testing.assert_allclose(exact, auto, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: type(sde).__name__)
def test_marginal_is_the_data_convolved_with_the_transition_kernel(sde):
    x0 = np.linspace(-5.0, 6.0, 20_001)
    points = np.array([-1.3, 0.0, 2.2])
    with jax.enable_x64(True):
        data = np.exp(jax.jit(jax.vmap(LINE.data_log_prob))(x0[:, None]))
        np.testing.assert_allclose(np.trapezoid(data, x0), 1.0, rtol=1e-10)
        log_prob = jax.jit(jax.vmap(lambda x, t: LINE.log_prob(sde, x, t), in_axes=(0, None)))
        for t in (0.2, 0.7, sde.t_max):
            alpha, sigma = (float(value) for value in sde.marginal(t))
            kernel = np.exp(-0.5 * ((points[:, None] - alpha * x0) / sigma) ** 2) / (
                sigma * np.sqrt(2 * np.pi)
            )
            expected = np.log(np.trapezoid(data * kernel, x0, axis=1))
            np.testing.assert_allclose(log_prob(points[:, None], t), expected, rtol=1e-8)


def test_density_integrates_to_one_in_two_dimensions():
    mixture = random_mixture(2)
    with jax.enable_x64(True):
        axis = np.linspace(-8.0, 8.0, 401)
        points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        density = np.exp(jax.jit(jax.vmap(lambda x: mixture.log_prob(VPSDE(), x, 0.3)))(points))
    np.testing.assert_allclose(density.sum() * (axis[1] - axis[0]) ** 2, 1.0, rtol=1e-9)


def test_density_of_one_standard_gaussian_under_vp_never_changes():
    gaussian = Mixture(means=((0.0, 0.0),), std=1.0)
    x = jnp.array([0.3, -1.2])
    expected = -0.5 * np.sum(np.asarray(x) ** 2) - np.log(2 * np.pi)
    both = jax.jit(lambda t: (gaussian.log_prob(VPSDE(), x, t), gaussian.score_fn(VPSDE())(x, t)))
    for t in (1e-5, 0.5, 1.0):
        log_prob, score = both(t)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-6)
        np.testing.assert_allclose(score, -x, rtol=1e-6)


def test_far_from_every_component_nothing_overflows():
    x = jnp.array([1e4])
    assert np.isfinite(jax.jit(lambda x: LINE.log_prob(VPSDE(), x, 1e-3))(x))
    assert np.isfinite(jax.jit(lambda x: LINE.score_fn(VPSDE())(x, 1e-3))(x)).all()


def test_points_of_any_shape_and_transformations_agree():
    mixture, sde = random_mixture(4), SubVPSDE()
    x = jax.random.normal(jax.random.key(1), (3, 2, 2))
    score = mixture.score_fn(sde)
    flat = jnp.stack([score(row.reshape(4), 0.4).reshape(2, 2) for row in x])
    np.testing.assert_allclose(
        jax.jit(jax.vmap(score, (0, None)))(x, 0.4), flat, rtol=2e-5, atol=1e-6
    )
    assert score(x[0], 0.4).dtype == x.dtype
    with pytest.raises(ValueError, match=r"x has shape \(2,\) and must have 4 numbers"):
        score(x[0, 0], 0.4)


def test_samples_have_the_stated_mean_covariance_and_weights():
    """Each bound is 5 standard errors of 20,000 samples: fewer than 1 in 10^5 seeds
    fails; the seed is fixed.
    """
    mixture, num = random_mixture(2), 20_000
    x = np.asarray(jax.jit(lambda key: mixture.sample(key, num))(jax.random.key(2)), np.float64)
    centred = x - np.asarray(mixture.mean())
    assert (np.abs(centred.mean(0)) < 5 * x.std(0) / np.sqrt(num)).all()
    products = centred[:, :, None] * centred[:, None, :]
    assert (
        np.abs(products.mean(0) - mixture.covariance()) < 5 * products.std(0) / np.sqrt(num)
    ).all()
    share = np.asarray(jax.jit(jax.vmap(mixture.responsibilities))(jnp.asarray(x, jnp.float32)))
    weights = np.asarray(mixture.weights)
    assert (np.abs(share.mean(0) - weights) < 5 * share.std(0) / np.sqrt(num)).all()


def test_it_is_a_hashable_value():
    again = Mixture(means=LINE.means, std=LINE.std, weights=LINE.weights)
    assert again == LINE and hash(LINE) == hash(again)
    assert (LINE.num_components, LINE.dim) == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"means": (), "std": 1.0}, "one or more rows"),
        ({"means": ((0.0,), (1.0, 2.0)), "std": 1.0}, "same number"),
        ({"means": ((0.0,),), "std": 0.0}, "^std=0.0 must be positive"),
        (
            {"means": ((0.0,),), "std": (1.0, 2.0)},
            "std has 2 entries and must have 1, one for each row of means",
        ),
        (
            {"means": ((0.0,), (1.0,)), "std": 1.0, "weights": (1.0,)},
            "weights has 1 entries and must have 2",
        ),
        (
            {"means": ((0.0,), (1.0,)), "std": 1.0, "weights": (1.5, -0.5)},
            "weights=-0.5 must be positive",
        ),
        (
            {"means": ((0.0,), (1.0,)), "std": 1.0, "weights": (0.5, 0.6)},
            r"weights=\(0.5, 0.6\) must sum to one",
        ),
    ],
)
def test_inconsistent_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixture(**arguments)
