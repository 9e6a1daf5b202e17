"""LSUN: a category of scenes, as exported images or as the database of the archives."""

from pathlib import Path

import numpy as np

from score_sde.data import crops
from score_sde.data.examples import LazyExamples
from score_sde.data.named.image_files import decoded, image_names, lazy_image_files, lazy_images
from score_sde.data.named.lmdb_file import open_database
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource
from score_sde.runtime.damage import reading

SPLITS = ("train", "val")


def lsun(path: Place = None, *, category: str, image_size: int = 256) -> DataSource:
    """Return a category of LSUN, cropped and resized by `score_sde.data.crops.lsun`;
    images are read on access.

    The 300 images for validation are held out, as in the published code.

    Args:
        path: a folder with the folders ``CATEGORY_train`` and ``CATEGORY_val`` of
            images, or ``CATEGORY_train_lmdb`` and ``CATEGORY_val_lmdb`` of the archives.
        category: ``bedroom``, ``church_outdoor`` and so on.
        image_size: the side of an image, in pixels.

    Raises:
        FileNotFoundError: where the files are missing; the message says how to get them.
        ValueError: where a database is damaged; for a damaged image, when it is read.
    """
    place = place_of("lsun", path)
    train, test = (_examples(place, category, split, image_size) for split in SPLITS)
    return DataSource(train=train, test=test, num_levels=256)


def _examples(place: Path, category: str, split: str, image_size: int) -> LazyExamples:
    images, database = place / f"{category}_{split}", place / f"{category}_{split}_lmdb"
    if (database / "data.mdb").is_file():
        return _lazy_database(database, image_size)
    if names := image_names(images):
        return lazy_image_files(images, names, crops.lsun, image_size)
    raise missing(
        f"LSUN {category}",
        place,
        f"unpack {database.name}.zip there, or export it to images in {images}",
    )


def _lazy_database(folder: Path, image_size: int) -> LazyExamples:
    with reading(folder):
        database = open_database(folder / "data.mdb")

    def name(row: int) -> str:
        return f"{folder}: image {bytes(database.keys[row]).decode(errors='replace')}"

    def read(row: int) -> np.ndarray:
        with reading(name(row)):
            stored = database.read(row)
        return decoded(stored, name(row), crops.lsun, image_size)

    return lazy_images(len(database.keys), image_size, read, name)
