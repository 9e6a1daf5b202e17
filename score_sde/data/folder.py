"""A folder of PNG and JPEG images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from score_sde.data.source import DataSource

_SUFFIXES = (".png", ".jpg", ".jpeg")
_GREY_MODES = ("1", "L", "LA")
_COLOR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class _Header(NamedTuple):
    size: tuple[int, int]  # height, width
    is_grey: bool


def folder(path: str | Path, image_size: int | None = None, *, test_fraction: float = 0.1, seed: int = 0) -> DataSource:
    """Read all PNG and JPEG images below a folder, in the order of their names; hidden files are passed over.

    Images are grey (one channel) where every file is, else RGB; an alpha channel is dropped. With ``image_size`` the
    middle square of each is resized to ``image_size`` × ``image_size`` (Lanczos, antialiased).

    Raises:
        FileNotFoundError: where there is no such folder.
        ValueError: where it has no images, one cannot be read, or sizes differ and no ``image_size`` is given.
    """
    root = Path(path).expanduser()
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, not {image_size}")
    files = _image_files(root)
    headers = [_read_header(file) for file in files]
    if image_size is None:
        _check_sizes(files, headers)
    height, width = (image_size, image_size) if image_size else headers[0].size
    is_grey = all(header.is_grey for header in headers)
    images = np.empty((len(files), height, width, 1 if is_grey else 3), np.uint8)
    for row, file in enumerate(files):
        images[row] = _read_image(file, is_grey, image_size)
    try:
        return DataSource.from_examples(images, num_levels=256, test_fraction=test_fraction, seed=seed)
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error


def _image_files(root: Path) -> list[Path]:
    if not root.exists():
        raise FileNotFoundError(f"no such folder: {root}")
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    found = {
        name.as_posix(): root / name
        for name in (file.relative_to(root) for file in root.rglob("*") if file.is_file())
        if name.suffix.lower() in _SUFFIXES and not any(part.startswith(".") for part in name.parts)
    }
    if not found:
        raise ValueError(f"no images in {root}: looked for {', '.join(_SUFFIXES)} files in it and the folders below")
    return [found[name] for name in sorted(found)]


def _read_header(file: Path) -> _Header:
    with _opened(file) as image:
        mode, (width, height) = image.mode, image.size
        is_turned = image.getexif().get(_ORIENTATION) in _TURNED
    if mode not in _GREY_MODES + _COLOR_MODES:
        raise ValueError(f"{file} is a {mode} image; only images of 8 bits a channel can be read")
    return _Header((width, height) if is_turned else (height, width), mode in _GREY_MODES)


def _read_image(file: Path, is_grey: bool, image_size: int | None) -> UInt8[np.ndarray, "h w c"]:
    from PIL import Image, ImageOps

    with _opened(file) as image:
        upright = ImageOps.exif_transpose(image)
        # A palette with transparency loses it without a warning only by way of RGBA.
        upright = upright.convert("RGBA") if upright.mode in ("P", "PA") else upright
        upright = upright.convert("L" if is_grey else "RGB")
        if image_size is not None:
            side = min(upright.size)
            left, top = (upright.width - side) // 2, (upright.height - side) // 2
            square = upright.crop((left, top, left + side, top + side))
            upright = square.resize((image_size, image_size), Image.Resampling.LANCZOS)
        return np.asarray(upright).reshape(upright.height, upright.width, -1)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open an image; whatever a decoder raises on foreign bytes becomes one line that names the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            yield image
    except UnidentifiedImageError as error:
        raise ValueError(f"{file} is not a PNG or JPEG image") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{file} cannot be read as an image ({type(error).__name__}: {reason})") from error


def _check_sizes(files: list[Path], headers: list[_Header]) -> None:
    height, width = headers[0].size
    for file, header in zip(files, headers, strict=True):
        if header.size != headers[0].size:
            raise ValueError(
                f"images differ in size: {file} is {header.size[0]}×{header.size[1]} (height × width) but {files[0]} "
                f"is {height}×{width}; image_size={min(*header.size, height, width)} would crop and resize them all"
            )
