"""CIFAR-10 in its binary version."""

from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from score_sde.checks import require
from score_sde.data import crops
from score_sde.data.named.places import Place, files_by_name, missing, place_of
from score_sde.data.source import DataSource
from score_sde.runtime.damage import need, reading

TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
SIDE, RECORD = 32, 1 + 3 * 32 * 32
"""A record is a label and the red, green and blue values of an image, row by row."""

REMEDY = "unpack cifar-10-binary.tar.gz there (the binary version)"


def cifar10(path: Place = None, *, image_size: int = SIDE) -> DataSource:
    """Return CIFAR-10: 50,000 images to train on and 10,000 held out, 32 × 32 RGB, with
    their 10 classes as labels.

    Args:
        path: a folder with the files ``data_batch_1.bin`` to ``data_batch_5.bin`` and
            ``test_batch.bin``, or with the folder ``cifar-10-batches-bin`` of them.
        image_size: resize the images by `score_sde.data.crops.plain`.

    Raises:
        FileNotFoundError: where the files are missing; the message says how to get them.
        ValueError: where a file is damaged, or there is only the python version, whose
            files are pickled.
    """
    place = place_of("cifar10", path)
    files = files_by_name(place)
    if "data_batch_1" in files and "data_batch_1.bin" not in files:
        raise ValueError(
            f"{files['data_batch_1'].parent} is the python version of CIFAR-10, whose pickled "
            "files could run code and are never read: take the binary version, "
            "cifar-10-binary.tar.gz"
        )
    for name in (*TRAIN_FILES, TEST_FILE):
        if name not in files:
            raise missing(
                f"CIFAR-10 ({name})" if files.keys() & {*TRAIN_FILES} else "CIFAR-10", place, REMEDY
            )
    parts = [_read_batch(files[name]) for name in (*TRAIN_FILES, TEST_FILE)]
    for name, (images, _) in zip((*TRAIN_FILES, TEST_FILE), parts, strict=True):
        require(
            len(images) == len(parts[0][0]),
            f"{files[name]} has {len(images)} images where {TRAIN_FILES[0]} has {len(parts[0][0])}",
        )
    return DataSource(
        train=crops.plain_all(np.concatenate([images for images, _ in parts[:-1]]), image_size),
        test=crops.plain_all(parts[-1][0], image_size),
        num_levels=256,
        train_labels=np.concatenate([labels for _, labels in parts[:-1]]),
        test_labels=parts[-1][1],
    )


def _read_batch(file: Path) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]]:
    with reading(file):
        content = np.frombuffer(file.read_bytes(), np.uint8)
        need(
            content.size and not content.size % RECORD,
            f"{content.size} bytes are not whole images of {RECORD} bytes",
        )
        records = content.reshape(-1, RECORD)
        labels = records[:, 0].astype(np.int32)
        bad = int(np.argmax(labels > 9))
        need(labels[bad] <= 9, f"image {bad} has the class {labels[bad]}, not one of 0 to 9")
    return np.ascontiguousarray(
        records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    ), labels
