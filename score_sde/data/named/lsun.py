"""LSUN: a category of scenes, as exported pictures or as the database that the archives hold."""

import errno
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from score_sde.data import crops
from score_sde.data.examples import LazyExamples
from score_sde.data.inflation import allowed
from score_sde.data.named.pictures import decoded, lazy_images, lazy_pictures, picture_names
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource
from score_sde.unreadable import is_of_system, system_error

SPLITS = ("train", "val")


def lsun(path: Place = None, *, category: str, image_size: int = 256) -> DataSource:
    """Return a category of LSUN, such as ``bedroom`` or ``church_outdoor``; images are read when they are asked for.

    ``path`` has the folders ``CATEGORY_train`` and ``CATEGORY_val`` of pictures, or ``CATEGORY_train_lmdb`` and
    ``CATEGORY_val_lmdb`` as the archives hold them, which need the extra ``lsun``. The 300 images for validation are
    held out, as in the published code. The images are those of `score_sde.data.crops.lsun`.

    Raises:
        FileNotFoundError: where they are not there, with what to do.
        ValueError: where a database cannot be opened, or its reader is not installed; for a damaged image, when it is
            read.
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
        f"LSUN {category}", place, f"unpack {database.name}.zip there, or export it to pictures in {pictures}"
    )


def _lazy_database(folder: Path, image_size: int) -> LazyExamples:
    lmdb, file = _lmdb(), folder / "data.mdb"
    try:
        database = _opened(folder)
        with database.begin() as transaction:
            found = list(transaction.cursor().iternext(keys=True, values=False))
    except lmdb.Error as error:
        damage = ValueError(f"{folder} is damaged and cannot be read ({type(error).__name__}: {error})")
        raise _of_system(error, file) or damage from error

    # One long key would make all as long.
    if max(map(len, found), default=0) * len(found) > allowed(file.stat().st_size):
        raise ValueError(f"{folder} is damaged: its keys take more room than its file")
    keys = np.array(found)

    def name(row: int) -> str:
        return f"{folder}: image {bytes(keys[row]).decode(errors='replace')}"

    def read(row: int) -> np.ndarray:
        try:
            with database.begin() as transaction:
                stored = transaction.get(bytes(keys[row]))
        except lmdb.Error as error:
            damage = ValueError(f"{name(row)} cannot be read ({type(error).__name__}: {error})")
            raise _of_system(error, file) or damage from error
        return decoded(stored or b"", name(row), crops.lsun, image_size)

    return lazy_images(len(keys), image_size, read, name)


@functools.cache  # a process may open a database but once
def _opened(folder: Path) -> Any:
    return _lmdb().open(str(folder), readonly=True, lock=False, readahead=False, max_readers=1024)


def _of_system(error: Exception, file: Path) -> BaseException | None:
    """The error of the system behind one of the library, which gives its number in words at the end of a line."""
    words = str(error).rpartition(": ")[2]
    number = next((number for number in errno.errorcode if os.strerror(number) == words), None)
    found = None if number is None else OSError(number, words, str(file))
    return found if found is not None and is_of_system(found) else system_error(error, [file])


def _lmdb() -> Any:
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise ValueError("a database of LSUN needs the extra lsun: pip install 'score-sde[lsun]'") from error
    return lmdb
