"""Grids, strips and animations, pixel by pixel."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from score_sde.evaluation import denoising_strip, frames_to_unit, image_grid, save_gif, save_png
from score_sde.evaluation.plots.images import to_uint8


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_of_digits_is_about_600_pixels_wide(channels):
    images = random_images(64, 8, 8, channels)
    grid = image_grid(images)
    assert grid.dtype == np.uint8 and grid.shape == (8 * (72 + 3) + 3, 603, channels)
    assert (
        grid[3 : 3 + 72, 3 + 75 : 3 + 75 + 72] == to_uint8(images[1]).repeat(9, 0).repeat(9, 1)
    ).all()
    assert (image_grid(jnp.asarray(images)) == grid).all()


def test_large_images_keep_their_size_and_the_last_row_may_be_short():
    grid = image_grid(random_images(5, 40, 30, 3), num_columns=3, width=10)
    assert grid.shape == (2 * 43 + 3, 3 * 33 + 3, 3)
    assert (grid[46:, 69:] == grid[0, 0, 0]).all()


def test_values_are_rounded_and_clipped():
    levels = np.arange(256, dtype=np.float32)
    assert (to_uint8((levels + 0.4) / 255) == levels).all()
    assert (to_uint8((levels - 0.4) / 255) == levels).all()
    assert to_uint8(np.array([-1.0, 2.0, np.nan, np.inf])).tolist() == [0, 255, 0, 255]


def test_strip_has_samples_down_and_frames_across():
    frames = np.broadcast_to(
        np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2, 1, 1, 1), (3, 2, 4, 4, 1)
    )
    strip = denoising_strip(frames, width=3 * 11)
    assert strip.shape == (2 * 11 + 3, 3 * 11 + 3, 1)
    centres = strip[3 + 4 :: 11, 3 + 4 :: 11, 0]
    assert centres.tolist() == [[0, 102, 204], [51, 153, 255]]


@pytest.mark.parametrize("centered", [True, False])
def test_noisy_frames_are_shrunk_and_clean_ones_kept(centered):
    low = -1.0 if centered else 0.0
    clean = random_images(4, 8, 8, 1) * (1 - low) + low
    noise = np.random.default_rng(1).normal(size=clean.shape).astype(np.float32)
    frames = np.stack([0.5 * (1 + low) + 50 * noise, clean])
    unit = frames_to_unit(frames, centered=centered)
    assert unit.dtype == np.float32 and unit.shape == frames.shape
    np.testing.assert_allclose(unit[1], (clean - low) / (1 - low), atol=1e-6)
    assert unit.min() >= 0.0 and unit.max() <= 1.0
    assert 0.15 < unit[0].std() < 0.25 and abs(unit[0].mean() - 0.5) < 0.05
    inside = (unit[0] > 0) & (unit[0] < 1)
    assert 0.98 < inside.mean() < 1.0


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_png_reads_back_exactly(tmp_path, channels, mode):
    image = to_uint8(random_images(5, 7, channels))
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.mode == mode
        assert (np.asarray(opened).reshape(image.shape) == image).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_image_that_cannot_be_written_leaves_the_old_one(tmp_path):
    save_png(tmp_path / "a.png", np.zeros((2, 2, 1), np.uint8))
    old = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match="1, 3 or 4 channels, not 2"):
        save_png(tmp_path / "a.png", np.zeros((2, 2, 2), np.uint8))
    assert (tmp_path / "a.png").read_bytes() == old and [
        path.name for path in tmp_path.iterdir()
    ] == ["a.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_has_every_frame_and_holds_the_last(tmp_path, channels):
    frames = random_images(5, 4, 8, 8, channels)
    for name in ("a.gif", "b.gif"):
        save_gif(tmp_path / name, frames, width=100, duration=70, hold=900)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as opened:
        assert opened.n_frames == 5 and opened.info["loop"] == 0
        durations, error = [], []
        for index in range(5):
            opened.seek(index)
            durations.append(opened.info["duration"])
            shown = np.asarray(opened.convert("RGB"), np.int32)
            error.append(np.abs(shown - image_grid(frames[index], width=100)).mean())
    assert durations == [70, 70, 70, 70, 900]
    assert max(error) < (1 if channels == 1 else 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.gif"]


def test_grids_and_animations_of_nothing_are_errors(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        image_grid(np.zeros((0, 8, 8, 1)))
    with pytest.raises(ValueError, match="num_columns=0"):
        image_grid(np.zeros((1, 8, 8, 1)), num_columns=0)
    with pytest.raises(ValueError, match="at least one frame"):
        save_gif(tmp_path / "a.gif", np.zeros((0, 1, 8, 8, 1)))
    assert not list(tmp_path.iterdir())
