"""Images in files, read one at a time as the published code reads them: in RGB, and not
turned by EXIF.

JPEG images are decoded by the accurate inverse cosine transform, as in the rest of the
package. TensorFlow, with which the published experiments read them, takes the fast one
by default; its pixels differ by up to 4 levels, and by 1 in the mean, for a noisy image
of quality 90.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from score_sde.data.examples import LazyExamples
from score_sde.data.images import check_options, converted, opened_image
from score_sde.data.listing import walked
from score_sde.runtime.damage import errors_in

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 2**25
"""The most pixels of an image, which is resized in double precision; images of these data
sets have at most a million.
"""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

Crop = Callable[..., UInt8[np.ndarray, "s s c"]]
"""``(image, image_size) -> image``: the functions of `score_sde.data.crops`."""


def lazy_images(
    count: int, image_size: int, read: Callable[[int], np.ndarray], name: Callable[[int], str]
) -> LazyExamples:
    """Square RGB images of one size, each read on access and called
    ``name(row)`` in errors.
    """
    check_options(image_size)
    shape = (count, image_size, image_size, 3)
    return LazyExamples(shape=shape, dtype=np.dtype(np.uint8), read=read, name=name)


def lazy_image_files(root: Path, names: Sequence[str], crop: Crop, image_size: int) -> LazyExamples:
    """The images in the files ``names`` below ``root``, each decoded and cropped on
    access.
    """
    # An array of bytes holds three million names in a tenth of a gigabyte.
    stored = np.array([os.fsencode(name) for name in names])

    def file(row: int) -> Path:
        return root / os.fsdecode(bytes(stored[row]))

    def read(row: int) -> np.ndarray:
        return decoded(file(row).read_bytes(), str(file(row)), crop, image_size)

    return lazy_images(len(names), image_size, read, lambda row: str(file(row)))


def image_names(root: Path) -> list[str]:
    """The names of all image files in ``root`` and the folders below it, relative to
    ``root`` and sorted; hidden ones are skipped.

    Raises:
        OSError: where one of the folders cannot be listed: without its images it would
            be another data set.
    """
    found = []
    for folder, names in walked(root, hidden=False):
        below = os.path.relpath(folder, root)
        chosen = [name for name in names if name.lower().endswith(SUFFIXES)]
        found += chosen if below == os.curdir else [f"{below}/{name}" for name in chosen]
    return sorted(found)


def decoded(stored: bytes, name: str, crop: Crop, image_size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The pixels of an encoded image, cropped.

    Raises:
        FileError: where it is damaged or has no such crop.
    """
    with opened_image(stored, name, formats=FORMATS, max_pixels=MAX_PIXELS) as image:
        pixels = np.asarray(converted(image, is_grey=False))
    with errors_in(name):
        return crop(pixels, image_size)
