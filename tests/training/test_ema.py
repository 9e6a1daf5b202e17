"""Averages of the parameters: their recursions, and the closed forms of their profiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from score_sde.training import EMA, HalfLifeEMA, PowerEMA
from score_sde.training.ema import PLAIN_MEAN, gamma_of, update_averages

NUM_STEPS = 40
UPDATES = np.arange(1, NUM_STEPS + 1, dtype=np.float64)


def harmonic(numbers):
    """``1 + 1/2 + … + 1/k`` for whole numbers from 0 on."""
    return np.append(0.0, np.cumsum(1 / np.arange(1.0, 200.0)))[numbers.astype(int)]


def warm(n, m):
    """The product of ``(1 + k) / (10 + k)`` over ``k = m + 1 … n`` telescopes."""
    return 9 / (10 + m) * np.prod([(m + k) / (n + k) for k in range(2, 11)], axis=0)


CLOSED_FORMS = {
    "decay": (EMA(decay=0.9, warmup=False), 0.1 * 0.9 ** (NUM_STEPS - UPDATES)),
    "warmup": (EMA(decay=0.9999), warm(NUM_STEPS, UPDATES)),
    "half-life": (HalfLifeEMA(half_life=5.0), (1 - 2**-0.2) * 2 ** ((UPDATES - NUM_STEPS) / 5)),
    "examples": (
        HalfLifeEMA(half_life=640.0, batch_size=128),
        (1 - 2**-0.2) * 2 ** ((UPDATES - NUM_STEPS) / 5),
    ),
    "ramp": (
        HalfLifeEMA(half_life=1e9, ramp=0.5),
        np.append(1.0, 1 - 2 ** (-2 / UPDATES[:-1]))
        * 2 ** (-2 * (harmonic(UPDATES[-1:] - 1) - harmonic(UPDATES - 1))),
    ),
    "power": (
        PowerEMA(sigma_rel=0.2),
        (UPDATES ** (gamma_of(0.2) + 1) - (UPDATES - 1) ** (gamma_of(0.2) + 1))
        / NUM_STEPS ** (gamma_of(0.2) + 1),
    ),
    "mean": (PowerEMA(sigma_rel=PLAIN_MEAN), np.full(NUM_STEPS, 1 / NUM_STEPS)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_the_recursion_has_the_profile_of_the_closed_form(name):
    """The parameters of each update are a unit vector of their own, the initial ones too."""
    average, expected = CLOSED_FORMS[name]
    found = jnp.eye(NUM_STEPS + 1)[0]
    update = jax.jit(average.update)
    for n in range(1, NUM_STEPS + 1):
        found = update(found, jnp.eye(NUM_STEPS + 1)[n], n)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[0], 1 - expected.sum(), atol=1e-6)
    np.testing.assert_allclose(average.profile(NUM_STEPS), expected, rtol=1e-5, atol=1e-7)


def test_a_warmup_changes_only_the_start():
    assert EMA(decay=0.9999).decay_at(1) == pytest.approx(2 / 11)
    assert EMA(decay=0.9999).decay_at(10**6) == pytest.approx(0.9999)
    assert EMA(decay=0.9999, warmup=False).decay_at(1) == pytest.approx(0.9999)


def test_a_ramp_bounds_the_half_life_by_a_part_of_the_run_so_far():
    average = HalfLifeEMA(half_life=100.0, ramp=0.05)
    assert average.decay_at(1) == 0.0
    assert average.decay_at(201) == pytest.approx(2 ** (-1 / 10))
    for step in (2001, 10**6):
        assert average.decay_at(step) == pytest.approx(2 ** (-1 / 100))


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_the_exponents_are_those_of_the_paper(sigma_rel, gamma):
    assert PowerEMA(sigma_rel=sigma_rel).gamma == pytest.approx(gamma, abs=5e-3)


@given(st.floats(1e-6, PLAIN_MEAN))
def test_the_exponent_solves_the_cubic(sigma_rel):
    gamma = gamma_of(sigma_rel)
    assert gamma >= -1e-12
    assert np.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2) == pytest.approx(sigma_rel, rel=1e-12)


@pytest.mark.parametrize("sigma_rel", [0.02, 0.1, 0.25])
def test_the_standard_deviation_of_the_power_profile_is_sigma_rel(sigma_rel):
    profile, steps = PowerEMA(sigma_rel=sigma_rel).profile(2000), np.arange(1, 2001) - 0.5
    assert profile.sum() == pytest.approx(1.0, abs=1e-5)
    variance = profile @ steps**2 - (profile @ steps) ** 2
    assert np.sqrt(variance) / 2000 == pytest.approx(sigma_rel, rel=1e-3)


@pytest.mark.parametrize(
    ("average", "exact"),
    [
        (PowerEMA(sigma_rel=0.1), -np.expm1((gamma_of(0.1) + 1) * np.log1p(-1e-6))),
        (HalfLifeEMA(half_life=1e6), -np.expm1(-1e-6 * np.log(2))),
        (EMA(decay=0.999999, warmup=False), 1e-6),
        (EMA(decay=0.9999999, warmup=False), 1e-7),
        (EMA(decay=0.9999999), 9 / (10 + 1e6)),
        (EMA(decay=1 - 1e-9, warmup=False), 1e-9),
    ],
)
def test_the_rate_is_exact_where_the_decay_is_close_to_one(average, exact):
    assert average.rate_at(10**6) == pytest.approx(exact, rel=1e-6)


def test_a_constant_averaged_over_a_long_run():
    """``1 - decay^n``; a decay rounded to float32 before it is taken from one would give 0.0351."""
    average = EMA(decay=0.9999999, warmup=False)
    update = lambda n, found: average.update(found, jnp.ones(()), n)  # noqa: E731
    found = jax.jit(lambda start: jax.lax.fori_loop(1, 300_001, update, start))(jnp.zeros(()))
    np.testing.assert_allclose(found, -np.expm1(3e5 * np.log1p(-1e-7)), rtol=2e-3)


@pytest.mark.parametrize(
    "average", [EMA(decay=0.5), HalfLifeEMA(half_life=1.0), PowerEMA(sigma_rel=0.28)]
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_average_of_half_precision_parameters_is_of_float32(average, dtype):
    found = jax.jit(average.update)(
        {"w": jnp.ones(3, dtype)}, {"w": jnp.zeros(3, dtype)}, jnp.int32(100)
    )
    assert found["w"].dtype == jnp.float32
    np.testing.assert_allclose(found["w"], average.decay_at(100), rtol=1e-6)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_is_at_least_0_and_less_than_1(decay):
    with pytest.raises(ValueError, match=f"^decay={decay} must be at least 0 and less than 1$"):
        EMA(decay=decay)


@pytest.mark.parametrize(
    "values", [{"half_life": 0.0}, {"half_life": float("inf")}, {"ramp": -1.0}, {"batch_size": 0}]
)
def test_a_half_life_a_batch_size_and_a_ramp_are_positive(values):
    (name,) = values
    with pytest.raises(ValueError, match=f"^{name}={values[name]} must be positive and finite$"):
        HalfLifeEMA(**{"half_life": 1.0, **values})


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 1e-7, 0.29, float("nan")])
def test_a_width_is_at_most_that_of_the_mean(sigma_rel):
    message = f"^sigma_rel={sigma_rel} must be from 1e-06 to {PLAIN_MEAN:g}, the relative width of"
    with pytest.raises(ValueError, match=message):
        PowerEMA(sigma_rel=sigma_rel)


def test_several_averages_are_each_updated_by_their_own_rule():
    rules = (PowerEMA(sigma_rel=0.1), EMA(decay=0.5))
    old, new = ({"w": jnp.zeros(2)}, {"w": jnp.ones(2)}), {"w": jnp.full(2, 3.0)}
    found = update_averages(rules, old, new, 7)
    for rule, before, after in zip(rules, old, found, strict=True):
        np.testing.assert_array_equal(after["w"], rule.update(before, new, 7)["w"])
    with pytest.raises(ValueError, match="the state has 1 averages and the step updates 2"):
        update_averages(rules, old[:1], new, 7)
