"""FFHQ and CelebA-HQ, as pictures or as the TFRecords of StyleGAN."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from score_sde.data import crops
from score_sde.data.named.pictures import lazy_part, lazy_pictures, lazy_rows, picture_names
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.named.tfrecord import RecordFile
from score_sde.data.source import DataSource


def ffhq(path: Place = None, *, image_size: int = 256, num_test: int = 10_000) -> DataSource:
    """Return FFHQ: 70,000 faces of which the last ``num_test`` are held out; images are read when they are asked for.

    ``path`` has a file ``…-r08.tfrecords`` for an ``image_size`` of 256 (``-r10`` for 1024), or is such a file; or it
    is a folder of pictures, whose sides are ``image_size`` or 2, 4, 8 … times that, as `score_sde.data.crops.halved`
    takes them. Pictures are in the order of their names, records in that of the file.

    ``num_test=0`` trains on all images and evaluates on the same ones, as the published code does.

    Raises:
        FileNotFoundError: where there is neither, with what to do.
        ValueError: where the records are damaged or of another size, or no image is left to train on; for a damaged
            image, when it is read.
    """
    return _source("FFHQ", place_of("ffhq", path), image_size, num_test)


def celebahq(path: Place = None, *, image_size: int = 256, num_test: int = 3_000) -> DataSource:
    """Return CelebA-HQ: 30,000 faces, in everything else as `ffhq`."""
    return _source("CelebA-HQ", place_of("celebahq", path), image_size, num_test)


def _source(title: str, place: Path, image_size: int, num_test: int) -> DataSource:
    record_file = _record_file(place, image_size)
    if record_file is not None:
        records = RecordFile.of(record_file)
        examples = lazy_rows(len(records), image_size, _Records(file=records, image_size=image_size))
        examples.read(0)  # another size is told now rather than while training
    elif names := picture_names(place):
        examples = lazy_pictures(place, names, crops.halved, image_size)
    else:
        remedy = f"put the file …{_suffix(image_size)} of StyleGAN or a folder of pictures there"
        raise missing(f"{title} at {image_size} × {image_size}", place, remedy)
    num_train = len(examples) - num_test
    if num_test < 0 or num_train < 1:
        raise ValueError(f"num_test must be from 0 to {len(examples) - 1} for the {len(examples)} images of {place}")
    test = examples if num_test == 0 else lazy_part(examples, num_train, num_test)
    return DataSource(train=lazy_part(examples, 0, num_train), test=test, num_levels=256)


def _record_file(place: Path, image_size: int) -> Path | None:
    """The file of records of a size, or None."""
    if place.is_file():
        return place
    suffix = _suffix(image_size)
    found = sorted(file for pattern in ("*", "*/*") for file in place.glob(f"{pattern}{suffix}"))
    if len(found) > 1:
        raise ValueError(f"{place} has {len(found)} files {suffix}: name one of them, as {found[0]}")
    return found[0] if found else None


def _suffix(image_size: int) -> str:
    """How the name of the file for a power of two ends."""
    return f"-r{image_size.bit_length() - 1:02d}.tfrecords"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Records:
    file: RecordFile
    image_size: int

    def __call__(self, row: int) -> np.ndarray:
        image, side = self.file.image(row), self.image_size
        if image.shape != (side, side, 3):
            found = " × ".join(map(str, image.shape))
            raise ValueError(
                f"{self.file.path} has images of {found} where image_size={side} takes {side} × {side} × 3"
            )
        return image
