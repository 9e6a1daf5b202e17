"""CelebA, aligned and cropped."""

from pathlib import Path
from typing import Literal

from score_sde.data import crops
from score_sde.data.named.image_files import lazy_image_files
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource
from score_sde.runtime.damage import need, reading

FOLDER = "img_align_celeba"
PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
PARTS = {"train": "0", "validation": "1", "test": "2"}


def celeba(
    path: Place = None,
    *,
    image_size: int = 64,
    held_out: Literal["validation", "test"] = "validation",
) -> DataSource:
    """Return CelebA: 162,770 faces to train on, cropped and resized by
    `score_sde.data.crops.celeba`, each read on access.

    Args:
        path: a folder with the folder ``img_align_celeba`` of JPEG images and
            ``list_eval_partition.txt``, or ``list_eval_partition.csv`` with a header.
        image_size: the side of an image, in pixels.
        held_out: 19,867 images for validation, as in the published code, or 19,962 for
            the test.

    Raises:
        FileNotFoundError: where the files are missing; the message says how to get them.
        ValueError: where the partition is damaged; for a damaged image, when it is
            read.
    """
    place = place_of("celeba", path)
    partitions = [
        found
        for name in PARTITIONS
        for found in (place / name, place / "Eval" / name)
        if found.is_file()
    ]
    # Some archives hold a folder of their own name.
    folders = [
        found
        for found in (place / FOLDER / FOLDER, place / "Img" / FOLDER, place / FOLDER)
        if found.is_dir()
    ]
    if not partitions or not folders:
        raise missing(
            "CelebA", place, f"unpack {FOLDER}.zip there and put {PARTITIONS[0]} beside it"
        )
    names = _read_partition(partitions[0])
    train, test = (
        lazy_image_files(folders[0], names[part], crops.celeba, image_size)
        for part in (PARTS["train"], PARTS[held_out])
    )
    return DataSource(train=train, test=test, num_levels=256)


def _read_partition(file: Path) -> dict[str, list[str]]:
    """The names of the images of each part; a line is a name and the number of the part,
    with a comma between them in a CSV file, whose first line is a header.
    """
    names: dict[str, list[str]] = {part: [] for part in PARTS.values()}
    with reading(file):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        comma = "," if file.suffix == ".csv" else None
        for number, line in enumerate(lines, 1):
            words = [word.strip() for word in line.split(comma)]
            is_header = comma and number == 1 and words[-1] not in names
            if not line.strip() or is_header:
                continue
            is_entry = len(words) == 2 and words[1] in names and Path(words[0]).name == words[0]
            need(is_entry, f"line {number} is no file name and 0, 1 or 2")
            names[words[1]].append(words[0])
        for part, number in PARTS.items():
            need(names[number], f"it names no image for {part} ({number})")
    return names
