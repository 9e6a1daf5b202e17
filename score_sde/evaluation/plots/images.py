"""Pictures of images: grids, denoising strips and animations."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped, UInt8

from score_sde.runtime.atomic_files import MARK, PathLike, replacing

_GAP = 3  # pixels between neighbours, after upscaling
_PAPER = 64  # neither the black nor the white of a picture, so that its border shows


def image_grid(
    images: Float[ArrayLike, "n h w c"], *, num_columns: int | None = None, width: int = 600
) -> UInt8[np.ndarray, "H W c"]:
    """Images with values in ``[0, 1]``, row by row on dark grey paper.

    Small images are enlarged by the whole factor, pixel by pixel, that brings the grid
    closest to ``width`` pixels. Values are rounded to the nearest of 256 levels; those
    outside ``[0, 1]`` are clipped, and NaN is black.

    Args:
        images: one image after the other.
        num_columns: images in a row; where not given, the grid is as square as can be.
        width: the width in pixels to come close to. Images are never made smaller.

    Raises:
        ValueError: no image, or no column.
    """
    pictures = np.asarray(images)
    num, height, image_width, channels = pictures.shape
    if num == 0:
        raise ValueError("a grid needs at least one image")
    columns = math.ceil(math.sqrt(num)) if num_columns is None else num_columns
    if columns < 1:
        raise ValueError(f"num_columns={columns} must be at least 1")
    factor = max(1, round((width / columns - _GAP) / image_width))
    pictures = to_uint8(pictures).repeat(factor, axis=1).repeat(factor, axis=2)
    cell_height, cell_width = factor * height + _GAP, factor * image_width + _GAP
    rows = math.ceil(num / columns)
    grid = np.full(
        (rows * cell_height + _GAP, columns * cell_width + _GAP, channels), _PAPER, np.uint8
    )
    for index, picture in enumerate(pictures):
        top, left = index // columns * cell_height + _GAP, index % columns * cell_width + _GAP
        grid[top : top + factor * height, left : left + factor * image_width] = picture
    return grid


def denoising_strip(
    frames: Float[ArrayLike, "k n h w c"], *, width: int = 900
) -> UInt8[np.ndarray, "H W c"]:
    """The way from noise to image: a row for each of ``n`` samples, a column for each
    of ``k`` frames in ``[0, 1]``.

    ``frames_to_unit`` brings the states of a sampler's path to that range.
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
    factor of ``sigma_max``). Each frame is drawn towards the middle of the range by one
    factor, so that the share ``quantile`` of its values fits; the rest is clipped. A
    frame that fits already, such as the last, is shown as it is.

    Args:
        frames: ``k`` frames of any shape.
        centered: whether the model's data range is ``[-1, 1]`` rather than ``[0, 1]``.
        quantile: the share of the values of a frame that must fit.
    """
    states = np.asarray(frames)
    offset = states if centered else 2 * states - 1
    reach = np.quantile(np.abs(offset).reshape(len(states), -1), quantile, axis=1)
    scale = np.maximum(reach, 1.0).reshape(-1, *(1,) * (states.ndim - 1))
    return np.clip(0.5 + 0.5 * offset / scale, 0.0, 1.0).astype(states.dtype)


def to_uint8(images: Float[ArrayLike, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Values in ``[0, 1]`` as the nearest of 256 levels; clipped outside, NaN as zero."""
    return np.rint(255 * np.nan_to_num(np.clip(np.asarray(images), 0.0, 1.0))).astype(np.uint8)


def save_png(path: PathLike, image: UInt8[np.ndarray, "h w c"]) -> None:
    """Write one image of 1 (grey), 3 (RGB) or 4 (RGBA) channels, atomically."""
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

    Args:
        path: the file to write.
        frames: the grids, in order; 1 or 3 channels.
        num_columns: as in ``image_grid``.
        width: as in ``image_grid``.
        duration: milliseconds for which a frame is shown.
        hold: milliseconds for which the last frame is shown.

    Raises:
        ValueError: no frame.
    """
    from PIL import Image

    grids = [
        image_grid(frame, num_columns=num_columns, width=width) for frame in np.asarray(frames)
    ]
    if not grids:
        raise ValueError("an animation needs at least one frame")
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
    if channels not in (1, 3, 4):
        raise ValueError(f"an image has 1, 3 or 4 channels, not {channels}")
    return image[..., 0] if channels == 1 else image
