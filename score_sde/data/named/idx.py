"""MNIST and Fashion-MNIST: files of the format IDX, plain or compressed by gzip."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from score_sde.data import crops
from score_sde.data.named.places import Place, files_by_name, missing, place_of
from score_sde.data.source import DataSource
from score_sde.runtime.bounded_reading import unzipped
from score_sde.runtime.damage import errors_in, need, reading

SIDE = 28
SPLITS = ("train", "t10k")
REMEDY = (
    "put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte there"
)
FASHION_OF_DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def mnist(path: Place = None, *, image_size: int = SIDE) -> DataSource:
    """Return MNIST: 60,000 handwritten digits to train on and 10,000 held out, 28 × 28
    grey, with their labels.

    Args:
        path: a folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and
            the two files of ``t10k``, or these with ``.gz``.
        image_size: resize the images by `score_sde.data.crops.plain`.

    Raises:
        FileNotFoundError: where the files are missing; the message says how to get them.
        ValueError: where a file is damaged.
    """
    return _source("MNIST", place_of("mnist", path), image_size, REMEDY)


def fashion_mnist(path: Place = None, *, image_size: int = SIDE) -> DataSource:
    """Return Fashion-MNIST, 10 kinds of clothes (Xiao et al. 2017); otherwise as `mnist`.

    Without a ``path`` the folder of Debian's package ``dataset-fashion-mnist`` is
    searched too.
    """
    place = place_of("fashion_mnist", path)
    if path is None and not place.exists() and FASHION_OF_DEBIAN.exists():
        place = FASHION_OF_DEBIAN
    return _source(
        "Fashion-MNIST",
        place,
        image_size,
        f"install Debian's package dataset-fashion-mnist, or {REMEDY}",
    )


def _source(title: str, place: Path, image_size: int, remedy: str) -> DataSource:
    files = files_by_name(place)
    arrays = []
    for split in SPLITS:
        for kind, dimensions in (("images", 3), ("labels", 1)):
            names = [
                f"{split}-{kind}{dot}idx{dimensions}-ubyte{zipped}"
                for dot in "-."
                for zipped in ("", ".gz")
            ]
            file = next((files[name] for name in names if name in files), None)
            if file is None:
                raise missing(title, place, remedy)
            arrays.append(_read_idx(file, dimensions))
    train, train_labels, test, test_labels = arrays
    with errors_in(place):
        return DataSource(
            train=crops.plain_all(train[..., None], image_size),
            test=crops.plain_all(test[..., None], image_size),
            num_levels=256,
            train_labels=train_labels.astype(np.int32),
            test_labels=test_labels.astype(np.int32),
        )


def _read_idx(file: Path, dimensions: int) -> UInt8[np.ndarray, "..."]:
    """The array of a file: two zero bytes, the type (8: uint8), the number of
    dimensions, each as 4 bytes, the data.
    """
    with reading(file):
        content = unzipped(file) if file.suffix == ".gz" else file.read_bytes()
        start = 4 + 4 * dimensions
        need(
            content[:4] == bytes([0, 0, 8, dimensions]) and len(content) >= start,
            f"it is no IDX file of bytes in {dimensions} dimensions",
        )
        shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
        need(
            len(content) == start + math.prod(shape),
            f"{len(content) - start} bytes of data where {' × '.join(map(str, shape))} are "
            "promised",
        )
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
