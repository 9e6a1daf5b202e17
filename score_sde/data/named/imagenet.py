"""ImageNet at 32 × 32 and 64 × 64: archives of arrays, or folders of images."""

from pathlib import Path

import numpy as np
from jaxtyping import Int32

from score_sde.data import crops
from score_sde.data.array_files import reading_arrays, rows_of, stored_array
from score_sde.data.examples import Examples, LazyExamples, example
from score_sde.data.listing import walked
from score_sde.data.named.image_files import image_names, lazy_image_files, lazy_images
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource
from score_sde.runtime.damage import need, need_format

ARCHIVES = ("train_data_batch_*.npz", "val_data.npz")
PARTS = ("train_data_batch_", "val_data")
PICKLED = ("train_data_batch_1", "val_data")


def imagenet32(path: Place = None) -> DataSource:
    """Return ImageNet at 32 × 32: 1,281,167 images to train on and 50,000 held out,
    read on access.

    There are two versions, whose likelihoods cannot be compared:

    * Chrabaszcz et al. 2017, averaged over boxes, with 1,000 classes as labels: the
      files ``train_data_batch_1.npz`` and so on and ``val_data.npz``, or folders of
      them. Compressed archives are read at once, into 4 GB of memory (16 GB at 64 × 64).
    * van den Oord et al. 2016, on which published likelihoods are, without labels: the
      folders ``train_32x32`` and ``valid_32x32`` of images.

    Args:
        path: the folder of either.

    Raises:
        FileNotFoundError: where there is neither; the message says how to get them.
        ValueError: where a file is damaged or has Python objects, which are never
            unpickled.
    """
    return _source(place_of("imagenet32", path), 32)


def imagenet64(path: Place = None) -> DataSource:
    """Return ImageNet at 64 × 64; otherwise as `imagenet32`."""
    return _source(place_of("imagenet64", path), 64)


def _source(place: Path, side: int) -> DataSource:
    title = f"ImageNet at {side} × {side}"
    there = [
        folder / name for folder, names in walked(place) for name in names if name.startswith(PARTS)
    ]
    train, val = (
        sorted((file for file in there if file.match(name)), key=_number) for name in ARCHIVES
    )
    if train and val:
        (images, labels), (test, test_labels) = (_joined(files, side) for files in (train, val))
        return DataSource(
            train=images, test=test, num_levels=256, train_labels=labels, test_labels=test_labels
        )
    splits = [place / f"{split}_{side}x{side}" for split in ("train", "valid")]
    names = [image_names(split) for split in splits]
    if all(names):
        images, test = (
            lazy_image_files(split, found, crops.plain, side)
            for split, found in zip(splits, names, strict=True)
        )
        return DataSource(train=images, test=test, num_levels=256)
    if pickled := [file for file in there if file.name in PICKLED]:
        raise ValueError(
            f"{pickled[0]} is pickled, could run code and is never read: take the archives "
            f"Imagenet{side}_*_npz.zip"
        )
    raise missing(
        title,
        place,
        f"unpack the archives Imagenet{side}_*_npz.zip there, of training and of validation",
    )


def _number(file: Path) -> tuple[int, str]:
    """The place of ``train_data_batch_10.npz`` after ``train_data_batch_9.npz``."""
    tail = file.stem.rpartition("_")[2]
    return (int(tail) if tail.isdecimal() else 0, str(file))


def _joined(files: list[Path], side: int) -> tuple[LazyExamples, Int32[np.ndarray, " n"]]:
    """The images of all files, one after the other, and their classes."""
    parts, labels = zip(*(_read_npz(file, side) for file in files), strict=True)
    ends = np.cumsum([len(part) for part in parts])

    def place(row: int) -> tuple[int, int]:
        part = int(np.searchsorted(ends, row, side="right"))
        return part, row - (int(ends[part]) - len(parts[part]))

    def read(row: int) -> np.ndarray:
        part, place_in_part = place(row)
        return example(parts[part], place_in_part).reshape(3, side, side).transpose(1, 2, 0)

    def name(row: int) -> str:
        part, place_in_part = place(row)
        return f"{files[part]}: example {place_in_part}"

    return lazy_images(int(ends[-1]), side, read, name), np.concatenate(labels)


def _read_npz(file: Path, side: int) -> tuple[Examples, Int32[np.ndarray, " n"]]:
    with reading_arrays(file):
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            stored_array(file, "labels")  # a header may promise any size
            labels, stored = archive["labels"], stored_array(file, "data")
            images = archive["data"] if stored.obstacle else rows_of(file, stored)
        need_format(
            images.dtype == np.uint8 and images.shape[1:] == (3 * side**2,) and len(images),
            f"it is not ImageNet at {side} × {side}: data is {images.dtype} of shape "
            f"{images.shape}",
        )
        need(
            labels.dtype.kind in "iu"
            and labels.shape == (len(images),)
            and labels.min() >= 1
            and labels.max() <= 1000,
            f"labels are not a class from 1 to 1000 for each of {len(images)} images",
        )
        return images, (labels - 1).astype(np.int32)
