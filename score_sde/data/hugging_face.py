"""Images of Hugging Face data sets: parquet files, saved data sets, and data sets of the hub."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from score_sde.checks import require
from score_sde.data.images import check_options, encoded_images
from score_sde.data.listing import walked
from score_sde.data.source import DataSource
from score_sde.data.splits import Split, chosen_one, imported_extra, load_splits
from score_sde.runtime.damage import FileError, reading, root_cause
from score_sde.runtime.object_cache import cached
from score_sde.runtime.unreadable import TRANSIENT, message_of, system_error

_SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk leaves in the folder
_LABELS = ("label", "labels")


def hf(
    path: str,
    *,
    subset: str | None = None,
    revision: str | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    image: str | None = None,
    label: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read the images of a Hugging Face data set, and their labels if it has any.

    The library converts parquet files once into files of its own cache (``HF_HOME``),
    whose rows are read in any order. No code of a data set is run.

    Args:
        path: a parquet file, a folder of parquet files (``train-….parquet``,
            ``test-….parquet``) or of a data set that was saved by ``save_to_disk``, or
            the name of a data set of the hub.
        subset: the configuration of a data set of the hub.
        revision: its version: a tag or a commit.
        train_split: the split to train on, or a slice of it: ``train[:1000]``,
            ``train[10%:90%]``.
        test_split: the held-out split; by default ``test`` or ``validation`` if there is
            one, else a random part of the training split.
        image: the column of images; by default the only one.
        label: the column of classes; by default the only column of class labels, else
            the integers named ``label`` or ``labels``, if there are any.
        channels: 1 for grey, 3 for RGB; by default as the first image.
        image_size: as for `folder`.
        test_fraction: as for `folder`.
        seed: as for `folder`.
        in_memory: as for `folder`.

    Raises:
        ValueError: where the extra ``hf`` is missing, there is no such split or column,
            or a file is damaged.
        FileNotFoundError: where there is no such file, or the hub cannot be reached; the
            message says how to prepare the data.
    """
    check_options(image_size, channels)
    library = imported_extra("datasets", "hf", f"hf:{path}")
    title = f"hf:{path}"
    tables = _tables(library, path, subset, revision)

    def load(split: str) -> Split:
        table = rows_of(tables, split, title)
        columns = _image_columns(library, table)
        column = chosen_one(title, "image column", "image", image, columns, table.column_names)
        require(len(table), f"{title}: split {split!r} has no examples")
        name = f"{title}, split {split}: example {{}}".format
        images = encoded_images(
            len(table),
            _reader(library, table, column, name),
            name,
            image_size=image_size,
            channels=channels,
        )
        return Split(images, *_labels(library, table, label, title))

    return load_splits(
        title,
        tables,
        load,
        train_split=train_split,
        test_split=test_split,
        num_levels=256,
        test_fraction=test_fraction,
        seed=seed,
        in_memory=in_memory,
    )


def _tables(library: Any, path: str, subset: str | None, revision: str | None) -> dict[str, Any]:
    """The table of each split."""
    place = cached(path)
    if not place.exists() and (path.startswith((".", "/", "~")) or place.suffix == ".parquet"):
        raise FileNotFoundError(f"no such file or folder: {place}")
    if not place.exists():
        found = _from_hub(library, path, subset, revision)
    else:
        files = list(_files(place))  # raises for a folder that cannot be listed
        with reading(f"hf:{path}", "cannot be read", files=files):
            if place.is_file():
                found = library.load_dataset("parquet", data_files=str(place))
            elif any((place / name).exists() for name in _SAVED):
                found = library.load_from_disk(str(place))
            else:
                found = library.load_dataset("parquet", data_dir=str(place))
    return dict(found) if isinstance(found, dict) else {"train": found}


def _from_hub(library: Any, path: str, subset: str | None, revision: str | None) -> Any:
    try:
        return library.load_dataset(path, subset, revision=revision)
    except Exception as error:  # the hub and the cache raise whatever their libraries do
        obstacle = system_error(error)
        is_of_cache = (
            isinstance(obstacle, PermissionError | MemoryError)
            or getattr(obstacle, "errno", None) in TRANSIENT
        )
        if obstacle is not None and is_of_cache:
            raise obstacle from error
        if isinstance(error, ValueError):  # an unknown subset; the message lists the known ones
            raise FileError(f"hf:{path}: {' '.join(str(error).split())}") from error
        arguments = ", ".join(repr(value) for value in (path, subset) if value is not None)
        raise FileNotFoundError(
            f"hf:{path} is no file or folder, and cannot be loaded from the hub "
            f"({message_of(root_cause(error))}); prepare it where there is a network: "
            f'python -c "import datasets; datasets.load_dataset({arguments})'
            ".save_to_disk('DIR')\", then take hf:DIR"
        ) from error


def _files(place: Path) -> Iterator[Path]:
    """The files of a data set on disk; the library skips folders that it cannot list."""
    if place.is_file():
        yield place
    for folder, names in walked(place, hidden=False):
        yield from (folder / name for name in names)


def rows_of(tables: dict[str, Any], split: str, title: str) -> Any:
    """The table of a split, or of a slice of it, ``train[:10]`` or ``train[10%:90%]``."""
    name, bracket, rest = split.partition("[")
    table = tables[name]
    if not bracket:
        return table
    found = re.fullmatch(r"(-?\d{1,18}%?)?:(-?\d{1,18}%?)?\]", rest)
    if found is None:
        raise ValueError(
            f"{title} has no split {split!r}: a slice is {name}[START:END], in examples or, "
            "with %, in hundredths"
        )
    start, end = (part and _place(part, len(table)) for part in found.groups())
    return table.select(range(*slice(start, end).indices(len(table))))


def _place(text: str, num: int) -> int:
    """The place of ``10`` or ``10%`` among ``num`` examples."""
    return round(int(text[:-1]) / 100 * num) if text.endswith("%") else int(text)


def _image_columns(library: Any, table: Any) -> list[str]:
    """The columns of declared images; where there are none, the columns of bytes."""
    declared = [
        name for name, feature in table.features.items() if isinstance(feature, library.Image)
    ]
    return declared or [
        name for name, feature in table.features.items() if _is_bytes(library, feature)
    ]


def _is_bytes(library: Any, feature: Any) -> bool:
    if isinstance(feature, dict):  # {"bytes": …, "path": …}: an image, written by pyarrow
        return _is_bytes(library, feature.get("bytes"))
    return isinstance(feature, library.Value) and feature.dtype in ("binary", "large_binary")


def _reader(
    library: Any, table: Any, column: str, name: Callable[[int], str]
) -> Callable[[int], Path | bytes]:
    """The encoded image of a row."""
    if isinstance(table.features[column], library.Image):
        table = table.cast_column(column, library.Image(decode=False))
    rows = table.select_columns([column])

    def read(row: int) -> Path | bytes:
        found = rows[row][column]
        if isinstance(found, dict):
            found = found.get("bytes") or (found.get("path") and Path(found["path"]))
        if not isinstance(found, bytes | Path):
            raise FileError(f"{name(row)} has no image in column {column!r}")
        return found

    return read


def _labels(
    library: Any, table: Any, label: str | None, title: str
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """The labels in the chosen column, else in the only column of class labels, else in
    a column of integers that is named as labels are; and the names of the classes.
    """
    declared = [
        name for name, feature in table.features.items() if isinstance(feature, library.ClassLabel)
    ]
    named = [
        name
        for name in _LABELS
        if getattr(table.features.get(name), "dtype", "").startswith(("int", "uint"))
    ]
    found = declared if len(declared) == 1 else named[:1]
    if label is None and not found:
        return None, None
    column = chosen_one(title, "label column", "label", label, found, table.column_names)
    labels = np.asarray(table.select_columns([column]).with_format("numpy")[:][column])
    require(
        labels.dtype.kind in "iu",
        f"{title}: the labels in column {column!r} are {labels.dtype}, not integers",
    )
    names = getattr(table.features[column], "names", None)
    return labels, tuple(names) if names else None
