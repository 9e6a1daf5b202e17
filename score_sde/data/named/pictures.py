"""Pictures in files, read one at a time as the published code reads them: in RGB, and
not turned by EXIF.

JPEG images are decoded by the accurate inverse cosine transform, as everywhere else.
TensorFlow, with which the published experiments read them, takes the fast one unless it
is told otherwise: its pixels are those of here up to a few levels (up to 4, and 1 in
the mean, for a noisy image of quality 90).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from score_sde.data.examples import LazyExamples
from score_sde.data.images import check_options, converted, opened_picture
from score_sde.data.listing import walked

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 2**25
"""Pixels of a picture, for it is resized in double precision; those of these data sets
have a million at most.
"""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

Crop = Callable[..., UInt8[np.ndarray, "s s c"]]
"""``(image, image_size) -> image``: the functions of `score_sde.data.crops`."""


def lazy_images(
    count: int, image_size: int, read: Callable[[int], np.ndarray], name: Callable[[int], str]
) -> LazyExamples:
    """Square images of one size in RGB, each read whenever it is asked for, and called
    ``name(row)`` in errors.
    """
    check_options(image_size)
    shape = (count, image_size, image_size, 3)
    return LazyExamples(shape=shape, dtype=np.dtype(np.uint8), read=read, name=name)


def lazy_pictures(root: Path, names: Sequence[str], crop: Crop, image_size: int) -> LazyExamples:
    """The pictures of these names below ``root``, each decoded and cropped whenever it
    is asked for.
    """
    stored = np.array(
        [os.fsencode(name) for name in names]
    )  # three million names in a tenth of a gigabyte

    def file(row: int) -> Path:
        return root / os.fsdecode(bytes(stored[row]))

    def read(row: int) -> np.ndarray:
        return decoded(file(row).read_bytes(), str(file(row)), crop, image_size)

    return lazy_images(len(names), image_size, read, lambda row: str(file(row)))


def picture_names(root: Path) -> list[str]:
    """The names below ``root`` of all pictures in it and in the folders below, sorted;
    hidden ones are skipped.

    Raises:
        OSError: where one of the folders cannot be listed: without its pictures it
            would be another data set.
    """
    found = []
    for folder, names in walked(root, hidden=False):
        below = os.path.relpath(folder, root)
        chosen = [name for name in names if name.lower().endswith(SUFFIXES)]
        found += chosen if below == os.curdir else [f"{below}/{name}" for name in chosen]
    return sorted(found)


def decoded(stored: bytes, name: str, crop: Crop, image_size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The pixels of a picture, cropped.

    Raises:
        ValueError: in one line that names it, where it is damaged or has no such crop.
    """
    image = _pixels(stored, name)
    try:
        return crop(image, image_size)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _pixels(stored: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    with opened_picture(stored, name, formats=FORMATS, max_pixels=MAX_PIXELS) as image:
        return np.asarray(converted(image, is_grey=False))
