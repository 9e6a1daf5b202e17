"""LSUN: a category of scenes, as exported pictures or as the database that the archives hold."""

from pathlib import Path

import numpy as np

from score_sde.data import crops
from score_sde.data.examples import LazyExamples
from score_sde.data.named.lmdb_file import DamagedDatabaseError, open_database
from score_sde.data.named.pictures import decoded, lazy_images, lazy_pictures, picture_names
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource

SPLITS = ("train", "val")


def lsun(path: Place = None, *, category: str, image_size: int = 256) -> DataSource:
    """Return a category of LSUN, such as ``bedroom`` or ``church_outdoor``; images are
    read when they are asked for.

    ``path`` has the folders ``CATEGORY_train`` and ``CATEGORY_val`` of pictures, or
    ``CATEGORY_train_lmdb`` and ``CATEGORY_val_lmdb`` as the archives hold them. The 300
    images for validation are held out, as in the published code. The images are those
    of `score_sde.data.crops.lsun`.

    Raises:
        FileNotFoundError: where they are not there, with what to do.
        ValueError: where a database is damaged; for a damaged image, when it is read.
    """
    place = place_of("lsun", path)
    train, test = (_examples(place, category, split, image_size) for split in SPLITS)
    return DataSource(train=train, test=test, num_levels=256)


def _examples(place: Path, category: str, split: str, image_size: int) -> LazyExamples:
    pictures, database = place / f"{category}_{split}", place / f"{category}_{split}_lmdb"
    if (database / "data.mdb").is_file():
        return _lazy_database(database, image_size)
    if names := picture_names(pictures):
        return lazy_pictures(pictures, names, crops.lsun, image_size)
    raise missing(
        f"LSUN {category}",
        place,
        f"unpack {database.name}.zip there, or export it to pictures in {pictures}",
    )


def _lazy_database(folder: Path, image_size: int) -> LazyExamples:
    try:
        database = open_database(folder / "data.mdb")
    except DamagedDatabaseError as error:
        raise ValueError(f"{folder} is damaged and cannot be read: {error}") from error

    def name(row: int) -> str:
        return f"{folder}: image {bytes(database.keys[row]).decode(errors='replace')}"

    def read(row: int) -> np.ndarray:
        try:
            stored = database.read(row)
        except DamagedDatabaseError as error:
            raise ValueError(f"{name(row)} cannot be read: {error}") from error
        return decoded(stored, name(row), crops.lsun, image_size)

    return lazy_images(len(database.keys), image_size, read, name)
