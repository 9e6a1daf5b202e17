"""ImageNet at 32 × 32 and 64 × 64: the archives of NumPy's files, or those of pictures."""

from pathlib import Path

import numpy as np
from jaxtyping import Int32

from score_sde.data import crops
from score_sde.data.array_files import rows_of, stored_array
from score_sde.data.examples import Examples, LazyExamples, example
from score_sde.data.listing import walked
from score_sde.data.named.pictures import lazy_images, lazy_pictures, picture_names
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource
from score_sde.runtime.unreadable import is_of_system, message_of

ARCHIVES = ("train_data_batch_*.npz", "val_data.npz")
PARTS = ("train_data_batch_", "val_data")
PICKLED = ("train_data_batch_1", "val_data")


def imagenet32(path: Place = None) -> DataSource:
    """Return ImageNet at 32 × 32: 1,281,167 images to train on and 50,000 held out;
    read when they are asked for.

    ``path`` has ``train_data_batch_1.npz`` and so on and ``val_data.npz``, or these in
    folders: the images of Chrabaszcz et al. 2017, averaged over boxes, with their 1,000
    classes as labels. Or it has the folders ``train_32x32`` and ``valid_32x32`` of the
    pictures of van den Oord et al. 2016, without labels, on which the published
    likelihoods are. Likelihoods on the one and on the other cannot be compared.

    Archives that are compressed are read at once, into 4 GB of memory (16 GB at 64 ×
    64).

    Raises:
        FileNotFoundError: where there is neither, with what to do.
        ValueError: where a file is damaged or has Python objects, which are never
            unpickled.
    """
    return _source(place_of("imagenet32", path), 32)


def imagenet64(path: Place = None) -> DataSource:
    """Return ImageNet at 64 × 64, in everything else as `imagenet32`."""
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
    names = [picture_names(split) for split in splits]
    if all(names):
        images, test = (
            lazy_pictures(split, found, crops.plain, side)
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
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            stored_array(
                file, "labels"
            )  # whose header is checked before there is room for what it promises
            labels, stored = archive["labels"], stored_array(file, "data")
            images = archive["data"] if stored.obstacle else rows_of(file, stored)
    except (
        Exception
    ) as error:  # zip, zlib, header and key errors alike: damaged bytes can raise any of them
        if is_of_system(error):
            raise
        if "Object arrays" in str(error):
            raise ValueError(
                f"{file} has Python objects, which are never unpickled: save plain numbers"
            ) from error
        raise ValueError(f"{file} is damaged and cannot be read ({message_of(error)})") from error
    if images.dtype != np.uint8 or images.shape[1:] != (3 * side**2,) or not len(images):
        raise ValueError(
            f"{file} is not ImageNet at {side} × {side}: data is {images.dtype} of shape "
            f"{images.shape}"
        )
    if (
        labels.dtype.kind not in "iu"
        or labels.shape != (len(images),)
        or labels.min() < 1
        or labels.max() > 1000
    ):
        raise ValueError(
            f"{file} is damaged: labels are not a class from 1 to 1000 for each of {len(images)} "
            "images"
        )
    return images, (labels - 1).astype(np.int32)
