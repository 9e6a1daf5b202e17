"""Opening encoded pictures; damage, unknown depths and excessive sizes are refused in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from score_sde.runtime.unreadable import is_of_system, message_of

GREY_MODES = ("1", "L", "LA")
COLOR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

MAX_PIXELS = 2**27
"""The most pixels of a picture: cameras have 1e8, and the header of a small file may
state any number.
"""


class WrongImageError(ValueError):
    """A readable image of the wrong kind, as opposed to a damaged one."""


@contextmanager
def opened_picture(
    image: Path | bytes, name: str, *, formats: tuple[str, ...], max_pixels: int = MAX_PIXELS
) -> Iterator[Any]:
    """Open an image with 8 bits or fewer a channel; whatever a decoder raises on
    foreign bytes becomes one line.

    Args:
        image: the file, or its bytes.
        name: what it is called where something is wrong with it.
        formats: the names of the formats that may be read.
        max_pixels: how many pixels it may have.

    Raises:
        ValueError: in one line that names it, where it is damaged, of another format,
            too deep or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(
            BytesIO(image) if isinstance(image, bytes) else image, formats=formats
        ) as opened:
            _check_kind(opened, name, max_pixels)
            yield opened
    except WrongImageError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name} is not a {', '.join(formats[:-1])} or {formats[-1]} image"
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has more than {max_pixels} pixels, which is the most that is read"
        ) from error
    except (
        Exception
    ) as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        if is_of_system(error):
            raise
        raise ValueError(f"{name} cannot be read as an image ({message_of(error)})") from error


def converted(image: Any, *, is_grey: bool) -> Any:
    """The image in grey or in RGB, without its transparency."""
    # A palette with transparency loses it without a warning only by way of RGBA.
    image = image.convert("RGBA") if image.mode in ("P", "PA") else image
    mode = "L" if is_grey else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _check_kind(image: Any, name: str, max_pixels: int) -> None:
    kind = image.mode
    # PNG images of 16 bits a channel are decoded to their high bytes, and in grey with
    # alpha to RGBA.
    if any(";16" in str(tile[3]) for tile in image.tile):
        kind = "16-bit" if kind in COLOR_MODES else kind
    if kind not in GREY_MODES + COLOR_MODES:
        raise WrongImageError(
            f"{name} is a {kind} image; only images of 8 bits a channel can be read: convert it, "
            "or take its values as "
            "integers of num_levels levels from an .npz or .npy file"
        )
    if image.width * image.height > max_pixels:
        raise WrongImageError(
            f"{name} is {image.height}×{image.width} (height × width), "
            f"which is more than the {max_pixels} pixels that are read"
        )
