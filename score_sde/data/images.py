"""PNG and JPEG images, in files or as bytes: what their headers say, and their pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from score_sde.data.examples import LazyExamples
from score_sde.data.picture_files import GREY_MODES, WrongImageError, converted, opened_picture

_FORMATS = ("PNG", "JPEG")
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class Header(NamedTuple):
    """What is known of an image before it is decoded: height and width, and whether it is grey."""

    size: tuple[int, int]
    is_grey: bool


def encoded_images(
    num: int,
    read: Callable[[int], Path | bytes],
    name: Callable[[int], str],
    *,
    image_size: int | None = None,
    channels: int | None = None,
    first: Header | None = None,
) -> LazyExamples:
    """Encoded images as examples ``[n, h, w, c]``, uint8, each decoded when it is asked for.

    Without ``image_size`` all must be as large as the first; without ``channels`` all
    are grey if the first is.

    Args:
        num: how many there are.
        read: the file or the bytes of one.
        name: what one is called where something is wrong with it.
        image_size: resize the middle square of each to ``image_size`` × ``image_size``
            (Lanczos, antialiased).
        channels: 1 for grey images, 3 for RGB.
        first: the header of the first image, where it is known.

    Raises:
        ValueError: where an option is wrong, or the first image cannot be read.
    """
    check_options(image_size, channels)
    first = first or read_header(read(0), name(0))
    is_grey = first.is_grey if channels is None else channels == 1
    height, width = (image_size, image_size) if image_size else first.size

    def decode(row: int) -> np.ndarray:
        with opened_picture(read(row), name(row), formats=_FORMATS) as image:
            header = _header(image)
            if is_grey and channels is None and not header.is_grey:
                raise WrongImageError(
                    f"{name(row)} is in colour, {name(0)} is grey: channels=3 makes all RGB, "
                    "channels=1 all grey"
                )
            pixels = _pixels(image, is_grey, image_size)
        if pixels.shape[:2] != (height, width):
            raise ValueError(_other_size(name(row), pixels.shape[:2], name(0), first.size))
        return pixels

    return LazyExamples(
        shape=(num, height, width, 1 if is_grey else 3),
        dtype=np.dtype(np.uint8),
        read=decode,
        name=name,
    )


def check_options(image_size: int | None, channels: int | None = None) -> None:
    """Raise ValueError unless images can be made of this size, with this number of channels."""
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, not {image_size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), not {channels}")


def check_sizes(names: list[str], headers: list[Header]) -> None:
    """Raise ValueError unless all images are as large as the first; it says how they
    could be made so.
    """
    for name, header in zip(names, headers, strict=True):
        if header.size != headers[0].size:
            raise ValueError(_other_size(name, header.size, names[0], headers[0].size))


def read_header(image: Path | bytes, name: str) -> Header:
    """What the header of an image says; it is called ``name`` where that cannot be read."""
    with opened_picture(image, name, formats=_FORMATS) as opened:
        return _header(opened)


def _header(image: Any) -> Header:
    from PIL import Image

    width, height = image.size
    # That of PNG images would decode them, in search of an orientation behind their
    # pixels.
    is_turned = Image.Image.getexif(image).get(_ORIENTATION) in _TURNED
    return Header((width, height) if is_turned else (height, width), image.mode in GREY_MODES)


def _pixels(image: Any, is_grey: bool, image_size: int | None) -> UInt8[np.ndarray, "h w c"]:
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    if image_size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    image = converted(image, is_grey=is_grey)
    if image_size is not None:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, -1)


def _other_size(name: str, size: tuple[int, int], first_name: str, first: tuple[int, int]) -> str:
    return (
        f"images differ in size: {name} is {size[0]}×{size[1]} (height × width) but {first_name} "
        "is "
        f"{first[0]}×{first[1]}; image_size={min(*size, *first)} would crop and resize them all"
    )
