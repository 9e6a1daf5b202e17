"""The images of each data set are cropped and resized as in the published code."""

from pathlib import Path

import numpy as np
import pytest

from score_sde.data import crops
from score_sde.data.resizing import keys_cubic, resize

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tf_resize.npz")


def places(height, width):
    """An image whose values tell where they came from: row, column, 0."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "crop", "size"), [("celeba", crops.celeba, 64), ("lsun_128", crops.lsun, 128)]
)
def test_whole_images_agree_with_the_published_code_up_to_half_a_level(name, crop, size):
    image, result = GOLDEN[f"{name}_image"], GOLDEN[f"{name}_result"]
    found = crop(image, size)
    assert found.dtype == np.uint8 and found.shape == result.shape == (size, size, 1)
    assert np.abs(found - result).max() <= 0.5 + 1e-3, "TensorFlow rounds places to float32"
    assert np.mean(np.abs(found - result)) > 0.1, "the published image is not of whole levels"


def test_the_middle_of_a_face_is_rows_39_to_178_and_columns_19_to_158():
    middle = crops.central_crop(places(218, 178), 140)
    np.testing.assert_array_equal(middle[0, 0], [39, 19, 0])
    np.testing.assert_array_equal(middle[-1, -1], [178, 158, 0])
    np.testing.assert_array_equal(crops.celeba(places(218, 178), 140), middle)


def test_of_two_middles_the_upper_left_is_taken():
    np.testing.assert_array_equal(
        crops.central_crop(places(5, 4), 2)[:, :, :2], [[[1, 1], [1, 2]], [[2, 1], [2, 2]]]
    )


@pytest.mark.parametrize(("height", "width"), [(256, 341), (300, 256), (256, 256)])
def test_a_scene_at_256_is_only_cut(height, width):
    image = np.random.default_rng(0).integers(256, size=(height, width, 3)).astype(np.uint8)
    top, left = (height - 256) // 2, (width - 256) // 2
    np.testing.assert_array_equal(crops.lsun(image, 256), image[top : top + 256, left : left + 256])


def test_a_scene_at_128_is_resized_and_then_cut():
    image = np.random.default_rng(0).integers(256, size=(256, 341, 3)).astype(np.uint8)
    wide = resize(image, (128, 170))  # 170.5 is rounded to the even one
    np.testing.assert_array_equal(crops.lsun(image, 128), crops.to_levels(wide[:, 21:149]))
    assert (
        np.abs(
            crops.lsun(image, 128).astype(int)
            - crops.to_levels(resize(image[:, 42:298], (128, 128)))
        ).max()
        > 9
    )


def test_a_scene_at_other_sizes_is_cut_and_then_resized_bicubically():
    image = np.random.default_rng(0).integers(256, size=(64, 81, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        crops.lsun(image, 32), crops.to_levels(resize(image[:, 8:72], (32, 32), keys_cubic))
    )


def test_values_beyond_the_levels_are_clipped():
    np.testing.assert_array_equal(
        crops.to_levels(np.array([[[-3.0, 0.5, 1.5, 254.6, 258.0]]])), [[[0, 0, 2, 255, 255]]]
    )


def test_an_image_that_has_its_size_stays_as_it_is():
    image = np.random.default_rng(0).integers(256, size=(32, 32, 3)).astype(np.uint8)
    assert crops.plain(image, 32) is image
    assert crops.plain_all(image[None], 32).base is image
    np.testing.assert_array_equal(
        crops.plain_all(image[None], 16)[0], crops.to_levels(resize(image, (16, 16)))
    )


def test_halving_averages_four_pixels_and_rounds_once():
    """Means 0.5 and 2.5 are rounded to the even level; 0.5, 0.5, 0.5, 3 have the mean 1.125."""
    quarter = np.array([[0, 0, 1, 0], [1, 1, 1, 0], [1, 1, 3, 3], [0, 0, 3, 3]], np.uint8)[
        ..., None
    ]
    np.testing.assert_array_equal(crops.halved(quarter, 4), quarter)
    np.testing.assert_array_equal(crops.halved(quarter, 2)[..., 0], [[0, 0], [0, 3]])
    np.testing.assert_array_equal(crops.halved(quarter, 1)[..., 0], [[1]])


@pytest.mark.parametrize("shape", [(6, 6, 3), (8, 4, 3), (2, 2, 3), (8, 7, 3)])
def test_an_image_whose_halves_never_have_the_size_is_an_error(shape):
    with pytest.raises(ValueError, match=rf"^the image is {shape[0]} × {shape[1]} .* image_size=4"):
        crops.halved(np.zeros(shape, np.uint8), 4)


def test_images_too_small_for_a_crop_are_errors():
    with pytest.raises(
        ValueError,
        match=r"^the image is 100 × 178 \(height × width\), which has no middle 140 × 140$",
    ):
        crops.celeba(np.zeros((100, 178, 3), np.uint8), 64)
    with pytest.raises(ValueError, match=r"^image_size=0 must be at least 1$"):
        crops.plain_all(np.zeros((1, 4, 4, 3), np.uint8), 0)
