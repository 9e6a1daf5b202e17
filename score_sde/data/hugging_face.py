"""Images of Hugging Face data sets: parquet files, saved data sets, and those of the hub."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from score_sde.data.images import check_options, encoded_images
from score_sde.data.listing import walked
from score_sde.data.source import DataSource
from score_sde.data.splits import Split, chosen_column, first_line, imported_extra, load_splits
from score_sde.runtime.unreadable import TRANSIENT, system_error

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
    """Read the images of a Hugging Face data set, and their labels, if it has any.

    The library converts parquet files once into files of its own cache (``HF_HOME``),
    whose rows are read in any order. No code of a data set is run.

    Args:
        path: a parquet file, a folder of parquet files (``train-….parquet``,
            ``test-….parquet``) or of a data set that was saved by ``save_to_disk``, or
            the name of a data set of the hub.
        subset: which configuration of a data set of the hub.
        revision: which version of it: a tag or a commit.
        train_split: the split to train on.
        test_split: the held-out split; left out, ``test`` or ``validation`` if there is
            one, else a random part.
        image: the column of images; left out, the only one.
        label: the column of classes; left out, that of class labels or the integers
            named ``label``, if there is one.
        image_size: resize the middle square of each image, as for ``folder``.
        channels: 1 for grey, 3 for RGB; left out, as the first image has.
        test_fraction: size of the random part.
        seed: seed of the random part.
        in_memory: whether all are decoded at once; left out, if they have no more than
            1 GiB in all.

    Raises:
        ValueError: where the extra ``hf`` is missing, there is no such split or column,
            or a file is damaged.
        FileNotFoundError: where there is no such file, or the hub cannot be reached; it
            says how to prepare the data.
    """
    check_options(image_size, channels)
    library = imported_extra("datasets", "hf", f"hf:{path}")
    title = f"hf:{path}"
    tables = _tables(library, path, subset, revision)

    def load(split: str) -> Split:
        table = tables[split]
        column = chosen_column(
            title, "image", image, _image_columns(library, table), table.column_names
        )
        if len(table) == 0:
            raise ValueError(f"{title}: split {split!r} has no examples")
        name = f"{title}, split {split}: example {{}}".format
        images = encoded_images(
            len(table),
            _reader(library, table, column, name),
            name,
            image_size=image_size,
            channels=channels,
        )
        return Split(images, _labels(library, table, label, title))

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
    place = Path(path).expanduser()
    if not place.exists() and (path.startswith((".", "/", "~")) or place.suffix == ".parquet"):
        raise FileNotFoundError(f"no such file or folder: {place}")
    files = list(_files(place))
    try:
        if not place.exists():
            found = library.load_dataset(path, subset, revision=revision)
        elif place.is_file():
            found = library.load_dataset("parquet", data_files=str(place))
        elif any((place / name).exists() for name in _SAVED):
            found = library.load_from_disk(str(place))
        else:
            found = library.load_dataset("parquet", data_dir=str(place))
    except (
        Exception
    ) as error:  # the hub, the cache and the parquet reader raise whatever their libraries do
        obstacle = system_error(error, files)
        if place.exists():
            raise obstacle or ValueError(f"hf:{path} cannot be read {first_line(error)}") from error
        of_disk = (
            isinstance(obstacle, PermissionError) or getattr(obstacle, "errno", None) in TRANSIENT
        )
        if obstacle is not None and (of_disk or isinstance(obstacle, MemoryError)):
            raise obstacle from error  # of its own cache, and no word about the hub
        if isinstance(error, ValueError):  # of a subset, which it lists
            raise ValueError(f"hf:{path}: {' '.join(str(error).split())}") from error
        arguments = ", ".join(repr(value) for value in (path, subset) if value is not None)
        raise FileNotFoundError(
            f"hf:{path} is no file or folder, and not to be had from the hub {first_line(error)}; "
            "prepare it where "
            'there is a network: python -c "import datasets; '
            f"datasets.load_dataset({arguments}).save_to_disk('DIR')\""
            ", then take hf:DIR"
        ) from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _files(place: Path) -> Iterator[Path]:
    """The files of a data set on disk; the library passes over folders that it cannot list."""
    if place.is_file():
        yield place
    for folder, names in walked(place, hidden=False):
        yield from (folder / name for name in names)


def _image_columns(library: Any, table: Any) -> list[str]:
    """The columns of declared images; where there are none, those of bytes."""
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
            raise ValueError(f"{name(row)} has no image in column {column!r}")
        return found

    return read


def _labels(library: Any, table: Any, label: str | None, title: str) -> np.ndarray | None:
    """The labels: of a chosen column, of the only one of class labels, or of integers
    of a telling name.
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
        return None
    column = chosen_column(title, "label", label, found, table.column_names)
    labels = np.asarray(table.select_columns([column]).with_format("numpy")[:][column])
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"{title}: the labels in column {column!r} are {labels.dtype}, not integers"
        )
    return labels
