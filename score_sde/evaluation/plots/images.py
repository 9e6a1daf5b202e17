"""Images in files: grids, denoising strips and animations."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped, UInt8

from score_sde import checks
from score_sde.runtime.atomic_files import MARK, PathLike, replacing

_GAP = 3  # pixels between neighbours, after upscaling
_BACKGROUND = 64  # neither black nor white, so that the edges of an image show


def image_grid(
    images: Float[ArrayLike, "n h w c"], *, num_columns: int | None = None, width: int = 600
) -> UInt8[np.ndarray, "H W c"]:
    """Images with values in ``[0, 1]``, row by row on a dark grey background.

    Small images are enlarged by a whole factor, pixel by pixel. Values are rounded to
    the nearest of 256 levels; values outside ``[0, 1]`` are clipped, and NaN is black.

    >>> image_grid(np.ones((3, 8, 8, 1)), num_columns=3, width=81).shape
    (30, 84, 1)

    Args:
        images: the images.
        num_columns: images in a row; None for a grid as square as possible.
        width: the approximate width of the grid in pixels; images never shrink.

    Raises:
        ValueError: no image, or no column.
    """
    values = np.asarray(images)
    num, height, image_width, channels = values.shape
    checks.require(num > 0, "a grid needs at least one image")
    columns = math.ceil(math.sqrt(num)) if num_columns is None else num_columns
    checks.at_least(1, num_columns=columns)
    factor = max(1, round((width / columns - _GAP) / image_width))
    enlarged = to_uint8(values).repeat(factor, axis=1).repeat(factor, axis=2)
    cell_height, cell_width = factor * height + _GAP, factor * image_width + _GAP
    rows = math.ceil(num / columns)
    grid = np.full(
        (rows * cell_height + _GAP, columns * cell_width + _GAP, channels), _BACKGROUND, np.uint8
    )
    for index, image in enumerate(enlarged):
        top, left = index // columns * cell_height + _GAP, index % columns * cell_width + _GAP
        grid[top : top + factor * height, left : left + factor * image_width] = image
    return grid


def denoising_strip(
    frames: Float[ArrayLike, "k n h w c"], *, width: int = 900
) -> UInt8[np.ndarray, "H W c"]:
    """Denoising from left to right: a row for each of ``n`` samples, a column for each
    of ``k`` frames in ``[0, 1]``.

    `frames_to_unit` maps the states of a sampler's path to that range.

    >>> denoising_strip(np.ones((4, 2, 8, 8, 1)), width=100).shape
    (57, 111, 1)
    """
    samples_first = np.swapaxes(np.asarray(frames), 0, 1)
    num_frames = samples_first.shape[1]
    return image_grid(
        samples_first.reshape(-1, *samples_first.shape[2:]), num_columns=num_frames, width=width
    )


def frames_to_unit(
    frames: Float[ArrayLike, "k *sample"], *, centered: bool = True, quantile: float = 0.99
) -> Float[np.ndarray, "k *sample"]:
    """States of a diffusion path, in model units, as values in ``[0, 1]`` for display.

    Noisy states lie partly far outside the range of the data (for the VE SDE by a
    factor of ``sigma_max``). Each frame is scaled about the middle of the range, so
    that the fraction ``quantile`` of its values fits; the rest is clipped. A frame that
    fits already, such as the last, is unchanged.

    >>> frames_to_unit(np.array([[-4.0, 4.0], [-1.0, 0.5]]), quantile=1.0)
    array([[0.  , 1.  ],
           [0.  , 0.75]])

    Args:
        frames: ``k`` frames of any shape.
        centered: whether the model's data range is ``[-1, 1]`` rather than ``[0, 1]``.
        quantile: the fraction of the values of a frame that fits.
    """
    states = np.asarray(frames)
    offset = states if centered else 2 * states - 1
    reach = np.quantile(np.abs(offset).reshape(len(states), -1), quantile, axis=1)
    scale = np.maximum(reach, 1.0).reshape(-1, *(1,) * (states.ndim - 1))
    return np.clip(0.5 + 0.5 * offset / scale, 0.0, 1.0).astype(states.dtype)


def to_uint8(images: Float[ArrayLike, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Values in ``[0, 1]`` as the nearest of 256 levels; others are clipped, NaN is 0."""
    return np.rint(255 * np.nan_to_num(np.clip(np.asarray(images), 0.0, 1.0))).astype(np.uint8)


def save_png(path: PathLike, image: UInt8[np.ndarray, "h w c"]) -> None:
    """Write one image of 1 (grey), 3 (RGB) or 4 (RGBA) channels, atomically.

    ::

    save_png("samples.png", image_grid(images))
    """
    from PIL import Image, PngImagePlugin

    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", MARK)
    with replacing(path) as temporary:
        Image.fromarray(_squeezed(image)).save(temporary, format="PNG", pnginfo=mark)


def save_gif(
    path: PathLike,
    frames: Float[ArrayLike, "k n h w c"],
    *,
    num_columns: int | None = None,
    width: int = 600,
    duration: int = 80,
    hold: int = 2500,
) -> None:
    """Write an endless animation of ``k`` grids of ``n`` images with values in ``[0,
    1]``, atomically.

    ::

        save_gif("denoising.gif", frames_to_unit(path))

    Args:
        path: the file to write.
        frames: the images of the grids, in order; 1 or 3 channels.
        num_columns: as in `image_grid`.
        width: as in `image_grid`.
        duration: milliseconds of a frame.
        hold: milliseconds of the last frame.

    Raises:
        ValueError: no frame.
    """
    from PIL import Image

    grids = [
        image_grid(frame, num_columns=num_columns, width=width) for frame in np.asarray(frames)
    ]
    checks.require(grids, "an animation needs at least one frame")
    first, *others = [Image.fromarray(_squeezed(grid)) for grid in grids]
    durations = [duration] * len(others) + [hold]
    with replacing(path) as temporary:
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=durations,
            loop=0,
            comment=MARK.encode(),
        )


def _squeezed(image: UInt8[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "..."]:
    """The layout that Pillow reads: grey images have no channel axis."""
    channels = image.shape[-1]
    checks.require(channels in (1, 3, 4), f"an image has 1, 3 or 4 channels, not {channels}")
    return image[..., 0] if channels == 1 else image
