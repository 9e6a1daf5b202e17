"""CelebA, aligned and cropped."""

from pathlib import Path
from typing import Literal

from score_sde.data import crops
from score_sde.data.named.pictures import lazy_pictures
from score_sde.data.named.places import Place, missing, place_of
from score_sde.data.source import DataSource

FOLDER, PARTITION = "img_align_celeba", "list_eval_partition.txt"
PARTS = {"train": "0", "validation": "1", "test": "2"}


def celeba(
    path: Place = None,
    *,
    image_size: int = 64,
    held_out: Literal["validation", "test"] = "validation",
) -> DataSource:
    """Return CelebA: 162,770 faces to train on, the middle of each resized to
    ``image_size``; read when asked for.

    ``path`` has the folder ``img_align_celeba`` of JPEG images and
    ``list_eval_partition.txt``, which says what is held out: 19,867 images for
    validation, as in the published code, or 19,962 for the test. The images are those
    of `score_sde.data.crops.celeba`.

    Raises:
        FileNotFoundError: where they are not there, with what to do.
        ValueError: where the partition is damaged; for a damaged image, when it is
            read.
    """
    place = place_of("celeba", path)
    partitions = [
        found for found in (place / PARTITION, place / "Eval" / PARTITION) if found.is_file()
    ]
    # Some archives hold a folder of their own name.
    folders = [
        found
        for found in (place / FOLDER / FOLDER, place / "Img" / FOLDER, place / FOLDER)
        if found.is_dir()
    ]
    if not partitions or not folders:
        raise missing("CelebA", place, f"unpack {FOLDER}.zip there and put {PARTITION} beside it")
    names = _read_partition(partitions[0])
    train, test = (
        lazy_pictures(folders[0], names[part], crops.celeba, image_size)
        for part in (PARTS["train"], PARTS[held_out])
    )
    return DataSource(train=train, test=test, num_levels=256)


def _read_partition(file: Path) -> dict[str, list[str]]:
    """The names of the images of each part; a line is a name and the number of the part."""
    names: dict[str, list[str]] = {part: [] for part in PARTS.values()}
    for number, line in enumerate(
        file.read_text(encoding="utf-8", errors="replace").splitlines(), 1
    ):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in names or Path(words[0]).name != words[0]:
            raise ValueError(f"{file} is damaged: line {number} is no file name and 0, 1 or 2")
        names[words[1]].append(words[0])
    for part, number in PARTS.items():
        if not names[number]:
            raise ValueError(
                f"{file} is cut off or damaged: it names no image for {part} ({number})"
            )
    return names
