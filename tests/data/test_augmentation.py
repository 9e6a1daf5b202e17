"""Flips of training images: half of the images, by whole pixels, the same on any number of
devices.
"""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from score_sde.data import Augmentation

FLIP = Augmentation(flip=True)
IMAGE = jax.numpy.asarray(np.random.default_rng(0).integers(256, size=(4, 3, 2)).astype(np.uint8))


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def images(number):
    return jax.numpy.asarray(
        np.random.default_rng(1).integers(256, size=(number, 4, 3, 2)).astype(np.uint8)
    )


def test_an_image_is_itself_or_reversed_along_its_width():
    found = jax.vmap(FLIP, in_axes=(0, None))(keys(64), IMAGE)
    assert found.dtype == IMAGE.dtype
    same = (found == IMAGE).all(axis=(1, 2, 3))
    turned = (found == IMAGE[:, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ turned).all() and same.any() and turned.any()


def test_half_of_the_images_are_flipped():
    """Within 4 standard errors of 4,096 fair coins."""
    ramp = jax.numpy.arange(2).reshape(1, 2, 1)
    turned = jax.vmap(lambda key: FLIP(key, ramp)[0, 0, 0])(keys(4096))
    assert abs(turned.mean() - 0.5) < 4 * 0.5 / np.sqrt(4096)


def test_flipping_twice_with_one_key_changes_nothing():
    for key in keys(8):
        np.testing.assert_array_equal(FLIP(key, FLIP(key, IMAGE)), IMAGE)


def test_without_flip_nothing_changes():
    np.testing.assert_array_equal(Augmentation()(jax.random.key(0), IMAGE), IMAGE)
    Augmentation().check((2,))


def test_the_number_of_devices_changes_nothing():
    batch, batch_keys = images(16), keys(16)
    alone = np.stack([FLIP(key, image) for key, image in zip(batch_keys, batch, strict=True)])
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    assert mesh.size == 8
    shared = jax.jit(jax.vmap(FLIP), out_shardings=rows)(
        jax.device_put(batch_keys, rows), jax.device_put(batch, rows)
    )
    np.testing.assert_array_equal(shared, alone)
    halves = [jax.vmap(FLIP)(batch_keys[half], batch[half]) for half in (slice(0, 8), slice(8, 16))]
    np.testing.assert_array_equal(np.concatenate(halves), alone)


@pytest.mark.parametrize("shape", [(2,), (4, 4), (2, 4, 4, 3)])
def test_only_images_can_be_flipped(shape):
    with pytest.raises(
        ValueError,
        match=r"^data\.flip=True needs images \[height, width, channels\], the examples have",
    ):
        FLIP(jax.random.key(0), jax.numpy.zeros(shape))
