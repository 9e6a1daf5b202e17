"""FFHQ and CelebA-HQ, as pictures or as the TFRecords of StyleGAN."""

from pathlib import Path

import numpy as np

from score_sde.data import crops
from score_sde.data.examples import LazyExamples, selected
from score_sde.data.listing import files_within
from score_sde.data.named.pictures import lazy_images, lazy_pictures, picture_names
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.named.tfrecord import RecordFile
from score_sde.data.source import DataSource


def ffhq(path: Place = None, *, image_size: int = 256, num_test: int = 10_000) -> DataSource:
    """Return FFHQ: 70,000 faces of which the last ``num_test`` are held out; images are
    read when they are asked for.

    ``path`` has a file ``…-r08.tfrecords`` for an ``image_size`` of 256 (``-r10`` for
    1024), or is such a file; or it is a folder of pictures, whose sides are
    ``image_size`` or 2, 4, 8 … times that, as `score_sde.data.crops.halved` takes them.
    Pictures are in the order of their names, records in that of the file.

    ``num_test=0`` trains on all images and evaluates on the same ones, as the published
    code does.

    Raises:
        FileNotFoundError: where there is neither, with what to do.
        ValueError: where the records are damaged or of another size, or no image is
            left to train on; for a damaged image, when it is read.
    """
    return _source("FFHQ", place_of("ffhq", path), image_size, num_test)


def celebahq(path: Place = None, *, image_size: int = 256, num_test: int = 3_000) -> DataSource:
    """Return CelebA-HQ: 30,000 faces, in everything else as `ffhq`."""
    return _source("CelebA-HQ", place_of("celebahq", path), image_size, num_test)


def _source(title: str, place: Path, image_size: int, num_test: int) -> DataSource:
    record_file = _record_file(place, image_size)
    if record_file is not None:
        examples = _lazy_records(record_file, image_size)
    elif names := picture_names(place):
        examples = lazy_pictures(place, names, crops.halved, image_size)
    else:
        remedy = f"put the file …{_suffix(image_size)} of StyleGAN or a folder of pictures there"
        raise missing(f"{title} at {image_size} × {image_size}", place, remedy)
    num_train = len(examples) - num_test
    if num_test < 0 or num_train < 1:
        raise ValueError(
            f"num_test must be from 0 to {len(examples) - 1} for the {len(examples)} images of "
            f"{place}"
        )
    order = np.arange(len(examples))
    test = examples if num_test == 0 else selected(examples, order[num_train:])
    return DataSource(train=selected(examples, order[:num_train]), test=test, num_levels=256)


def _record_file(place: Path, image_size: int) -> Path | None:
    """The file of records of a size, or None."""
    if place.is_file():
        return place
    suffix = _suffix(image_size)
    found = sorted(file for file in files_within(place, 2) if file.name.endswith(suffix))
    if len(found) > 1:
        raise ValueError(
            f"{place} has {len(found)} files {suffix}: name one of them, as {found[0]}"
        )
    return found[0] if found else None


def _suffix(image_size: int) -> str:
    """How the name of the file for a power of two ends."""
    return f"-r{image_size.bit_length() - 1:02d}.tfrecords"


def _lazy_records(path: Path, image_size: int) -> LazyExamples:
    records = RecordFile.of(path)

    def read(row: int) -> np.ndarray:
        image = records.image(row)
        if image.shape != (image_size, image_size, 3):
            found, wanted = (
                " × ".join(map(str, shape)) for shape in (image.shape, (image_size, image_size, 3))
            )
            raise ValueError(
                f"{path} has images of {found} where image_size={image_size} takes {wanted}"
            )
        return image

    read(0)  # another size is told now rather than while training
    return lazy_images(len(records), image_size, read, records.name)
