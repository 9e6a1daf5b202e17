"""Pictures in files, read one at a time as the published code reads them: RGB, and no turning by EXIF."""

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from score_sde.data import crops
from score_sde.data.examples import LazyExamples

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

Crop = Callable[..., UInt8[np.ndarray, "s s c"]]
"""``(image, image_size) -> image``: the functions of `score_sde.data.crops`."""


def lazy_rows(num_examples: int, image_size: int, read: Callable[[int], np.ndarray]) -> LazyExamples:
    """Examples of one size in RGB."""
    crops.check_size(image_size)
    return LazyExamples(shape=(num_examples, image_size, image_size, 3), dtype=np.dtype(np.uint8), read=read)


def lazy_part(examples: LazyExamples, start: int, count: int) -> LazyExamples:
    """Those of ``count`` rows from ``start`` on."""
    return dataclasses.replace(
        examples, shape=(count, *examples.shape[1:]), read=_Shifted(read=examples.read, start=start)
    )


def lazy_pictures(root: Path, names: Sequence[str], crop: Crop, image_size: int) -> LazyExamples:
    """The pictures of these names below ``root``, each cropped whenever it is read."""
    # As an array of bytes, three million names are small and quick to hand to another process.
    stored = np.array([os.fsencode(name) for name in names])
    return lazy_rows(len(names), image_size, _Pictures(root=root, names=stored, crop=crop, image_size=image_size))


def picture_names(root: Path) -> list[str]:
    """The names below ``root`` of all pictures in it and in the folders below, sorted; hidden ones are passed over."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(folder, root)
        chosen = [name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        found += chosen if below == os.curdir else [f"{below}/{name}" for name in chosen]
    return sorted(found)


def decoded(stored: bytes, where: object) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB values of a picture; what ``where`` names is what the one line about a damaged one names."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(stored), formats=FORMATS) as image:
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError(f"{where} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{where} cannot be read as an image ({type(error).__name__}: {reason})") from error


def fitted(image: UInt8[np.ndarray, "h w 3"], crop: Crop, image_size: int, where: object) -> Any:
    """The cropped image; raises ``ValueError`` with the name of one that has the wrong size."""
    try:
        return crop(image, image_size)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pictures:
    root: Path
    names: np.ndarray
    crop: Crop
    image_size: int

    def __call__(self, row: int) -> np.ndarray:
        file = self.root / os.fsdecode(bytes(self.names[row]))
        return fitted(decoded(file.read_bytes(), file), self.crop, self.image_size, file)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shifted:
    read: Callable[[int], np.ndarray]
    start: int

    def __call__(self, row: int) -> np.ndarray:
        return self.read(self.start + row)
