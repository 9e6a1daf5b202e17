"""FFHQ and CelebA-HQ, as image files or as the TFRecords of StyleGAN."""

from pathlib import Path

import numpy as np

from score_sde.checks import between, same_shape
from score_sde.data import crops
from score_sde.data.examples import LazyExamples, selected
from score_sde.data.listing import files_within
from score_sde.data.named.image_files import image_names, lazy_image_files, lazy_images
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.named.tfrecord import RecordFile
from score_sde.data.source import DataSource


def ffhq(path: Place = None, *, image_size: int = 256, num_test: int = 10_000) -> DataSource:
    """Return FFHQ: 70,000 faces of which the last ``num_test`` are held out; images are
    read on access.

    Args:
        path: a file ``…-r08.tfrecords`` for an ``image_size`` of 256 (``-r10`` for
            1024), or a folder with such a file; or a folder of image files, whose sides
            are ``image_size`` or 2, 4, 8 … times that (`score_sde.data.crops.halved`).
            Records are in the order of the file, image files in the order of their
            names.
        image_size: the side of an image, in pixels.
        num_test: the number of held-out images; 0 trains on all images and evaluates on
            the same ones, as the published code does.

    Raises:
        FileNotFoundError: where there is neither; the message says how to get them.
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
    elif names := image_names(place):
        examples = lazy_image_files(place, names, crops.halved, image_size)
    else:
        remedy = f"put the file …{_suffix(image_size)} of StyleGAN or a folder of image files there"
        raise missing(f"{title} at {image_size} × {image_size}", place, remedy)
    num_train = len(examples) - num_test
    between(0, len(examples) - 1, num_test=num_test, because=f"{place} has {len(examples)} images")
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
    """The end of the file name for a power of two."""
    return f"-r{image_size.bit_length() - 1:02d}.tfrecords"


def _lazy_records(path: Path, image_size: int) -> LazyExamples:
    records, shape = RecordFile.of(path), (image_size, image_size, 3)

    def read(row: int) -> np.ndarray:
        image = records.image(row)
        same_shape(f"an image of {path}", image.shape, shape, f"image_size={image_size}")
        return image

    read(0)  # another size is an error now rather than during training
    return lazy_images(len(records), image_size, read, records.name)
