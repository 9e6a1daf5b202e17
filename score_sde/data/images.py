"""Encoded images, in files or as bytes: their headers and their pixels.

Damage, unknown depths and excessive sizes are errors of one line.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from score_sde.checks import at_least, one_of
from score_sde.data.examples import LazyExamples
from score_sde.runtime.damage import FileError, reading

GREY_MODES = ("1", "L", "LA")
COLOR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

MAX_PIXELS = 2**27
"""The most pixels of an image: cameras have 1e8, and the header of a small file may
state any number.
"""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
"""The ends of the names of image files, in any case of letters."""

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_OF_FRAMES = ("PNG", "WEBP", "TIFF", "GIF")
"""Formats whose further frames are other images. Those of a JPEG are previews and the like."""

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class Header(NamedTuple):
    """The facts of an image that are known before it is decoded: (height, width), and
    whether it is grey.
    """

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
    """Encoded images as examples ``[n, h, w, c]``, uint8, each decoded on access.

    Without ``image_size`` all must be as large as the first; without ``channels`` all
    are grey if the first is.

    Args:
        num: the number of images.
        read: the file or the bytes of an image, by its row.
        name: the name of an image in messages, by its row.
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
        with opened_image(read(row), name(row), formats=_FORMATS) as image:
            header = _header(image)
            if is_grey and channels is None and not header.is_grey:
                raise FileError(
                    f"{name(row)} is in colour, {name(0)} is grey: channels=3 makes all RGB, "
                    "channels=1 all grey"
                )
            pixels = _pixels(image, is_grey, image_size)
        if pixels.shape[:2] != (height, width):
            raise FileError(_other_size(name(row), pixels.shape[:2], name(0), first.size))
        return pixels

    return LazyExamples(
        shape=(num, height, width, 1 if is_grey else 3),
        dtype=np.dtype(np.uint8),
        read=decode,
        name=name,
    )


def check_options(image_size: int | None, channels: int | None = None) -> None:
    """Raise ValueError unless images can be made of this size, with this number of channels."""
    if image_size is not None:
        at_least(1, image_size=image_size)
    one_of((None, 1, 3), channels=channels, because="1 is grey and 3 is RGB")


def check_sizes(names: list[str], headers: list[Header]) -> None:
    """Raise ValueError unless all images are as large as the first; the message says how
    to make them so.
    """
    for name, header in zip(names, headers, strict=True):
        if header.size != headers[0].size:
            raise FileError(_other_size(name, header.size, names[0], headers[0].size))


def read_header(image: Path | bytes, name: str) -> Header:
    """The header of an image, which is called ``name`` in errors."""
    with opened_image(image, name, formats=_FORMATS) as opened:
        return _header(opened)


@contextmanager
def opened_image(
    image: Path | bytes, name: str, *, formats: tuple[str, ...], max_pixels: int = MAX_PIXELS
) -> Iterator[Any]:
    """Open a still image with 8 bits or fewer a channel.

    Args:
        image: the file, or its bytes.
        name: its name in errors.
        formats: the names of the formats that may be read.
        max_pixels: the most pixels that it may have.

    Raises:
        FileError: where it is damaged, of another format, too deep, too large or animated.
        OSError: where the file cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    source = BytesIO(image) if isinstance(image, bytes) else image
    with reading(name, "cannot be read as an image"):
        try:
            with Image.open(source, formats=formats) as opened:
                _check_kind(opened, name, max_pixels)
                yield opened
        except UnidentifiedImageError as error:
            raise FileError(
                f"{name} is not a {', '.join(formats[:-1])} or {formats[-1]} image"
            ) from error
        except Image.DecompressionBombError as error:
            raise FileError(
                f"{name} has more than {max_pixels} pixels, the most allowed"
            ) from error


def converted(image: Any, *, is_grey: bool) -> Any:
    """The image in grey or in RGB, without its transparency."""
    # A palette with transparency loses it without a warning only by way of RGBA.
    image = image.convert("RGBA") if image.mode in ("P", "PA") else image
    mode = "L" if is_grey else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _header(image: Any) -> Header:
    from PIL import Image

    width, height = image.size
    # PngImageFile.getexif would decode the image, in search of an orientation behind its
    # pixels. The size of a TIFF is that of the upright image.
    is_turned = image.format != "TIFF" and Image.Image.getexif(image).get(_ORIENTATION) in _TURNED
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


def _check_kind(image: Any, name: str, max_pixels: int) -> None:
    kind = image.mode
    # PNG images of 16 bits a channel are decoded to their high bytes, and in grey with
    # alpha to RGBA.
    # Those of BMP are 5 or 6 bits a channel.
    if image.format != "BMP" and any(";16" in str(tile[3]) for tile in image.tile):
        kind = "16-bit" if kind in COLOR_MODES else kind
    if kind not in GREY_MODES + COLOR_MODES:
        raise FileError(
            f"{name} is a {kind} image; only images of 8 bits a channel can be read: convert it, "
            "or save its values as integers of num_levels levels in an .npz or .npy file"
        )
    if image.width * image.height > max_pixels:
        raise FileError(
            f"{name} is {image.height}×{image.width} (height × width), "
            f"which is more than {max_pixels} pixels, the most allowed"
        )
    frames = getattr(image, "n_frames", 1) if image.format in _OF_FRAMES else 1
    if frames > 1:
        raise FileError(
            f"{name} has {frames} frames (an animation, or pages): save each as an image of its own"
        )


def _other_size(name: str, size: tuple[int, int], first_name: str, first: tuple[int, int]) -> str:
    return (
        f"images differ in size: {name} is {size[0]}×{size[1]} (height × width) but {first_name} "
        f"is {first[0]}×{first[1]}; image_size={min(*size, *first)} would crop and resize them all"
    )
