"""SVHN, cropped to single digits."""

from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from score_sde.data import crops
from score_sde.data.named.mat_file import read_mat
from score_sde.data.named.places import Place, files_by_name, missing, place_of
from score_sde.data.source import DataSource
from score_sde.runtime.damage import need, need_format, reading

SIDE = 32
FILES = ("train_32x32.mat", "test_32x32.mat")


def svhn(path: Place = None, *, image_size: int = SIDE) -> DataSource:
    """Return SVHN: 73,257 house-number digits to train on and 26,032 held out, 32 × 32
    RGB, with the labels 0 to 9.

    Args:
        path: a folder with ``train_32x32.mat`` and ``test_32x32.mat``.
        image_size: resize the images by `score_sde.data.crops.plain`.

    Raises:
        FileNotFoundError: where the files are missing; the message says how to get them.
        ValueError: where a file is damaged.
    """
    place = place_of("svhn", path)
    files = files_by_name(place)
    for name in FILES:
        if name not in files:
            raise missing(
                "SVHN", place, f"put {FILES[0]} and {FILES[1]} there (the cropped digits)"
            )
    (train, train_labels), (test, test_labels) = (_read_mat(files[name]) for name in FILES)
    return DataSource(
        train=crops.plain_all(train, image_size),
        test=crops.plain_all(test, image_size),
        num_levels=256,
        train_labels=train_labels,
        test_labels=test_labels,
    )


def _read_mat(file: Path) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]]:
    found = read_mat(file, ("X", "y"))
    images, labels = (np.asarray(found.get(name)) for name in ("X", "y"))
    with reading(file):
        need_format(
            images.dtype == np.uint8
            and images.ndim == 4
            and images.shape[:3] == (SIDE, SIDE, 3)
            and images.size,
            f"it is not SVHN: its X is {images.dtype} of shape {images.shape}, not uint8 (32, 32, "
            "3, n)",
        )
        need(
            labels.dtype.kind in "iuf"
            and labels.size == images.shape[3]
            and np.isin(labels, np.arange(1, 11)).all(),
            f"its y is not a class from 1 to 10 for each of {images.shape[3]} images",
        )
    digits = labels.astype(np.int32).reshape(-1) % 10  # the class of the digit 0 is 10
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), digits
