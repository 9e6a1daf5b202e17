"""Scaling: an exact round trip for every level, and the range of model space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from score_sde.data import Scaling

KEY = jax.random.key(0)
OPTIONS = [(centered, dequantize) for centered in (True, False) for dequantize in (True, False)]


@pytest.mark.parametrize("num_levels", [2, 17, 256, 65536])
@pytest.mark.parametrize(("centered", "dequantize"), OPTIONS)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_round_trip_is_exact(num_levels, centered, dequantize, transform):
    scaling = Scaling(num_levels=num_levels, centered=centered, dequantize=dequantize)
    levels = np.arange(2**17) % num_levels
    x = transform(scaling.to_model)(KEY, levels)
    assert x.dtype == jnp.float32
    back = transform(scaling.to_data)(x)
    assert back.dtype == (jnp.uint8 if num_levels <= 256 else jnp.int32)
    np.testing.assert_array_equal(back, levels)
    low = -1 if centered else 0
    assert low <= x.min()
    assert x.max() < 1


@pytest.mark.parametrize("bits", [0, 2**32 - 1], ids=["lowest", "highest"])
@given(num_levels=st.integers(2, 65536), centered=st.booleans())
@settings(deadline=None)
def test_round_trip_is_exact_at_both_ends_of_the_noise(bits, num_levels, centered):
    """The noise nearest to the borders of a level is the only place where rounding
    could move it to the next one.
    """
    scaling, levels = (
        Scaling(num_levels=num_levels, centered=centered),
        np.arange(65536) % num_levels,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.random, "bits", lambda key, shape, dtype: jnp.full(shape, bits, dtype))
        x = Scaling.to_model.__wrapped__(scaling, KEY, levels)  # a program would keep its bits
        np.testing.assert_array_equal(scaling.to_data(x), levels)


@pytest.mark.parametrize("num_levels", [2, 17, 256])
def test_noise_is_uniform_within_a_level(num_levels):
    """Kolmogorov-Smirnov distance of 100,000 draws below 1.95/√n: a correct sampler
    fails with probability 0.001.
    """
    scaling, level = Scaling(num_levels=num_levels, centered=False), num_levels - 1
    unit = scaling.to_model(KEY, np.full(100_000, level))
    u = np.sort(np.asarray(unit, np.float64) * num_levels - level)
    distance = np.abs(u - (np.arange(u.size) + 0.5) / u.size).max()
    assert distance < 1.95 / np.sqrt(u.size)


def test_model_space_by_hand():
    levels = np.array([0, 1, 2, 3], np.uint8)
    middle = Scaling(num_levels=4, dequantize=False)
    np.testing.assert_allclose(middle.to_model(KEY, levels), [-0.75, -0.25, 0.25, 0.75])
    uncentered = Scaling(num_levels=4, dequantize=False, centered=False)
    np.testing.assert_allclose(uncentered.to_model(KEY, levels), [0.125, 0.375, 0.625, 0.875])
    assert middle.bin_width == 0.5
    assert uncentered.bin_width == 0.25


def test_values_outside_the_data_range_are_clipped():
    scaling = Scaling(num_levels=17)
    x = jnp.array([-jnp.inf, -3.0, -1.0, 0.9999, 1.0, 7.0, jnp.inf])
    np.testing.assert_array_equal(scaling.to_data(x), [0, 0, 0, 16, 16, 16, 16])
    np.testing.assert_array_equal(scaling.to_unit(x), [0, 0, 0, 1, 1, 1, 1])


def test_display_maps_levels_evenly_onto_the_unit_interval():
    scaling = Scaling(num_levels=17)
    unit = scaling.to_unit(scaling.to_model(KEY, np.arange(17)))
    np.testing.assert_allclose(unit, np.arange(17) / 16, rtol=1e-6)


def test_continuous_data_pass_unchanged():
    scaling, x = Scaling(num_levels=None), np.array([-5.0, 0.3], np.float32)
    np.testing.assert_array_equal(scaling.to_model(KEY, x), x)
    np.testing.assert_array_equal(scaling.to_data(x), x)


TABLE = Scaling(num_levels=None, mean=(50000.0, 0.001), std=(12000.0, 0.0001))


@pytest.mark.parametrize(
    "transform", [lambda f: f, jax.jit, jax.vmap], ids=["plain", "jit", "vmap"]
)
def test_standardised_data_by_hand(transform):
    y = np.array([[50000.0, 0.001], [62000.0, 0.0008], [-70000.0, 0.0]], np.float32)
    x = transform(lambda y: TABLE.to_model(KEY, y))(y)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, [[0, 0], [1, -2], [-10, -10]], atol=2e-6)
    back = transform(TABLE.to_data)(x)
    assert back.dtype == jnp.float32
    np.testing.assert_allclose(back, y, rtol=1e-6, atol=1e-9)


def test_channels_of_images_and_single_values():
    images = Scaling(num_levels=None, mean=(1.0, 2.0), std=(0.5, 4.0))
    y = np.broadcast_to(np.array([2.0, -2.0], np.float32), (3, 5, 2))
    np.testing.assert_array_equal(images.to_model(KEY, y), np.broadcast_to([2.0, -1.0], y.shape))
    value = Scaling(num_levels=None, mean=(1.0,), std=(2.0,))
    assert value.to_model(KEY, np.float32(5)).shape == () and float(value.to_data(2.0)) == 5.0


@pytest.mark.parametrize(
    ("shape", "std"), [((2,), TABLE.std), ((3, 2, 2), (0.5, 4.0)), ((), (3.0,)), ((4,), ())]
)
def test_log_det_agrees_with_the_jacobian(shape, std):
    scaling, size = Scaling(num_levels=None, mean=(1.0,) * len(std), std=std), int(np.prod(shape))
    jacobian = jax.jacobian(lambda y: scaling.to_model(KEY, y.reshape(shape)).ravel())(
        jnp.ones(size)
    )
    np.testing.assert_allclose(
        scaling.log_det(shape), np.linalg.slogdet(np.float64(jacobian))[1], rtol=1e-6, atol=1e-6
    )


def test_keys_decide_the_noise():
    scaling, levels = Scaling(num_levels=256), np.zeros((8, 8, 1), np.uint8)
    one, same, other = (scaling.to_model(jax.random.key(seed), levels) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_vmap_is_a_loop_over_examples():
    scaling = Scaling(num_levels=17)
    levels = np.random.default_rng(0).integers(17, size=(5, 8, 8, 1)).astype(np.uint8)
    keys = jax.random.split(KEY, 5)
    x = jax.vmap(scaling.to_model)(keys, levels)
    np.testing.assert_array_equal(
        x, jnp.stack([scaling.to_model(*pair) for pair in zip(keys, levels, strict=True)])
    )
    np.testing.assert_array_equal(jax.vmap(scaling.to_data)(x), levels)


def test_gradient_is_the_slope_of_the_map():
    for scaling in (Scaling(num_levels=17), Scaling(num_levels=17, centered=False)):
        gradient = jax.grad(lambda levels, s=scaling: s.to_model(KEY, levels).sum())(jnp.ones(3))
        np.testing.assert_allclose(gradient, scaling.bin_width, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Scaling(num_levels=1), "num_levels=1 must be from 2 to 65536, or None"),
        (lambda: Scaling(num_levels=None).bin_width, "bin_width needs data with levels"),
        (lambda: Scaling(num_levels=None).to_unit(jnp.zeros(2)), "to_unit needs data with levels"),
        (
            lambda: Scaling(num_levels=9, mean=(0.0,), std=(1.0,)),
            "data with 9 levels are not standardised",
        ),
        (
            lambda: Scaling(num_levels=None, mean=(0.0,)),
            "1 means do not belong to 0 standard deviations",
        ),
        (
            lambda: Scaling(num_levels=None, mean=(0.0,), std=(0.0,)),
            "std=0.0 must be positive and finite",
        ),
        (
            lambda: TABLE.log_det((3,)),
            r"2 means and standard deviations do not fit examples of shape \(3,\)",
        ),
    ],
)
def test_wrong_scalings_are_errors_of_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_equal_scalings_are_one_static_value():
    assert len({Scaling(num_levels=17), Scaling(num_levels=17), Scaling(num_levels=2)}) == 2
