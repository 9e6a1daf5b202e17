"""ImageNet at 32 × 32 and 64 × 64: the archives of NumPy's files, or those of pictures."""

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32, UInt8

from score_sde.data import crops
from score_sde.data.examples import LazyExamples
from score_sde.data.named.pictures import lazy_pictures, lazy_rows, picture_names
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource

_LOCAL_HEADER = 30  # of a member of a zip file; its name and an extra field follow, their lengths at 26 and 28


def imagenet32(path: Place = None) -> DataSource:
    """Return ImageNet at 32 × 32: 1,281,167 images to train on and 50,000 held out; read when they are asked for.

    ``path`` has ``train_data_batch_1.npz`` and so on and ``val_data.npz``, or these in folders: the images of
    Chrabaszcz et al. 2017, averaged over boxes, with their 1,000 classes as labels. Or it has the folders
    ``train_32x32`` and ``valid_32x32`` of the pictures of van den Oord et al. 2016, without labels, on which the
    published likelihoods are. Likelihoods on the one and on the other cannot be compared.

    Files of NumPy that are compressed are read at once, into 4 GB (16 GB at 64 × 64); those that are not are mapped.

    Raises:
        FileNotFoundError: where there is neither, with what to do.
        ValueError: where a file is damaged or has Python objects, which are never unpickled.
    """
    return _source(place_of("imagenet32", path), 32)


def imagenet64(path: Place = None) -> DataSource:
    """Return ImageNet at 64 × 64, in everything else as `imagenet32`."""
    return _source(place_of("imagenet64", path), 64)


def _source(place: Path, side: int) -> DataSource:
    title = f"ImageNet at {side} × {side}"
    train, val = (sorted(place.rglob(f"{name}.npz"), key=_number) for name in ("train_data_batch_*", "val_data"))
    if train and val:
        (images, labels), (test, test_labels) = (_examples(files, side) for files in (train, val))
        return DataSource(train=images, test=test, num_levels=256, train_labels=labels, test_labels=test_labels)
    splits = [place / f"{split}_{side}x{side}" for split in ("train", "valid")]
    names = [picture_names(split) for split in splits]
    if all(names):
        images, test = (
            lazy_pictures(split, found, crops.plain, side) for split, found in zip(splits, names, strict=True)
        )
        return DataSource(train=images, test=test, num_levels=256)
    if pickled := [file for name in ("train_data_batch_1", "val_data") for file in place.rglob(name)]:
        raise ValueError(
            f"{pickled[0]} is pickled, could run code and is never read: take the archives Imagenet{side}_*_npz.zip"
        )
    raise missing(title, place, f"unpack the archives Imagenet{side}_*_npz.zip there, of training and of validation")


def _number(file: Path) -> tuple[int, str]:
    """The place of ``train_data_batch_10.npz`` after ``train_data_batch_9.npz``."""
    tail = file.stem.rpartition("_")[2]
    return (int(tail) if tail.isdecimal() else 0, str(file))


def _examples(files: list[Path], side: int) -> tuple[LazyExamples, Int32[np.ndarray, " n"]]:
    parts, labels = zip(*(_read_npz(file, side) for file in files), strict=True)
    ends = np.cumsum([part.count for part in parts])
    return lazy_rows(int(ends[-1]), side, _Parts(parts=parts, ends=ends, side=side)), np.concatenate(labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """The array ``data`` of a file: where it lies there, or its rows."""

    file: Path
    count: int
    offset: int
    stored: np.ndarray | None

    def row(self, row: int, size: int) -> np.ndarray:
        rows = _mapped(self.file, self.offset, self.count, size) if self.stored is None else self.stored
        return rows[row]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    parts: tuple[_Part, ...]
    ends: Int[np.ndarray, " k"]
    side: int

    def __call__(self, row: int) -> np.ndarray:
        index = int(np.searchsorted(self.ends, row, side="right"))
        part, size = self.parts[index], 3 * self.side**2
        image = part.row(row - (int(self.ends[index]) - part.count), size)
        return np.asarray(image).reshape(3, self.side, self.side).transpose(1, 2, 0)


@lru_cache(maxsize=64)
def _mapped(file: Path, offset: int, count: int, size: int) -> UInt8[np.ndarray, "n size"]:
    # Not a field of _Part: a memory map that is handed to another process is copied whole.
    return np.memmap(file, np.uint8, "r", offset=offset, shape=(count, size))


def _read_npz(file: Path, side: int) -> tuple[_Part, Int32[np.ndarray, " n"]]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            labels = archive["labels"]
            offset, shape, dtype = _place_of_data(file)
            stored = archive["data"] if offset is None else None
    except Exception as error:  # zip, zlib, header and key errors alike: damaged bytes can raise any of them
        if "Object arrays" in str(error):
            raise ValueError(f"{file} has Python objects, which are never unpickled: save plain numbers") from error
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{file} is damaged and cannot be read ({type(error).__name__}: {reason})") from error
    if dtype != np.uint8 or len(shape) != 2 or shape[1] != 3 * side**2 or not shape[0]:
        raise ValueError(f"{file} is not ImageNet at {side} × {side}: data is {dtype} of shape {shape}")
    if labels.dtype.kind not in "iu" or labels.shape != shape[:1] or labels.min() < 1 or labels.max() > 1000:
        raise ValueError(f"{file} is damaged: labels are not a class from 1 to 1000 for each of {shape[0]} images")
    return _Part(file=file, count=shape[0], offset=offset or 0, stored=stored), (labels - 1).astype(np.int32)


def _place_of_data(file: Path) -> tuple[int | None, tuple[int, ...], np.dtype]:
    """Where in the file the values of ``data`` start, or None if they are compressed; their shape and type."""
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        member = archive.getinfo("data.npy")
        with archive.open(member) as data:
            version = np.lib.format.read_magic(data)
            formats = np.lib.format
            read_header = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
            shape, in_columns, dtype = read_header(data)
            header = data.tell()
        if dtype.hasobject:
            raise ValueError("Object arrays are pickled")
        if in_columns or member.compress_type != zipfile.ZIP_STORED:
            return None, shape, dtype
        stream.seek(member.header_offset)
        local = stream.read(_LOCAL_HEADER)
        lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        offset = member.header_offset + _LOCAL_HEADER + lengths + header
        if member.file_size != header + int(np.prod(shape)) * dtype.itemsize:
            raise ValueError("the array is cut off")
        return offset, shape, dtype
