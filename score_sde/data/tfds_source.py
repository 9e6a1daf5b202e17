"""Images of TensorFlow Datasets, prepared as ArrayRecord files and read without TensorFlow."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.checks import require
from score_sde.data.examples import is_lazy
from score_sde.data.images import check_options, encoded_images
from score_sde.data.listing import files_within, walked
from score_sde.data.source import DataSource
from score_sde.data.splits import Split, chosen_one, imported_extra, load_splits
from score_sde.runtime.damage import read_options, reading
from score_sde.runtime.object_cache import cached

_CLASS_NAMES = ("pythonClassName", "python_class_name", "type")
"""The keys under which ``features.json`` names the class of a feature."""

_FEATURES = "features.json"


def tfds(
    path: str,
    *,
    data_dir: str | None = None,
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
    """Read the images of a data set of TensorFlow Datasets that was prepared with
    ``file_format="array_record"``.

    Each record holds an image and its label. Where the images are in memory, the labels
    are read too, if the data set has one feature of class labels. Where they stay in
    their files, reading the labels takes one pass over all records, which only
    ``label`` asks for.

    Args:
        path: its name, ``mnist`` or ``mnist/3.0.1``; or the folder of one version, with
            ``dataset_info.json``.
        data_dir: where it was prepared; by default the folder of the library.
        train_split: the split to train on, or a slice of it, ``train[:90%]``.
        test_split: the held-out split, as for `hf`.
        image: the feature of images; by default the only one.
        label: the feature of classes.
        channels: 1 for grey, 3 for RGB; by default as the first image.
        image_size: as for `folder`.
        test_fraction: as for `folder`.
        seed: as for `folder`.
        in_memory: as for `folder`.

    Raises:
        ValueError: where the extra ``tfds`` is missing, there is no such data set,
            split or feature, it was prepared in another format, or a record is damaged.
        FileNotFoundError: where it is not prepared; the message says how to.
    """
    check_options(image_size, channels)
    title = f"tfds:{path}"
    library = imported_extra("tensorflow_datasets", "tfds", title)
    builder = _prepared(library, path, data_dir, title)
    column, label_column = _columns(library, builder.info.features, image, label, title)
    decoders = {column: library.decode.SkipDecoding()}

    def load(split: str) -> Split:
        num, record, name = _records(builder, split, decoders, f"{title}, split {split}")
        examples = encoded_images(
            num, lambda row: record(row)[column], name, image_size=image_size, channels=channels
        )
        if label_column is None or (
            label is None and is_lazy(in_memory, examples.shape, np.dtype(np.uint8))
        ):
            return Split(examples, None)
        labels = np.array([int(record(row)[label_column]) for row in range(num)])
        names = getattr(builder.info.features[label_column], "names", None)
        return Split(examples, labels, tuple(names) if names else None)

    return load_splits(
        title,
        builder.info.splits,
        load,
        train_split=train_split,
        test_split=test_split,
        num_levels=256,
        test_fraction=test_fraction,
        seed=seed,
        in_memory=in_memory,
    )


def _columns(
    library: Any, features: Any, image: str | None, label: str | None, title: str
) -> tuple[str, str | None]:
    """The feature of images, and the feature of classes or None."""
    images = [
        name for name, feature in features.items() if isinstance(feature, library.features.Image)
    ]
    classes = [
        name
        for name, feature in features.items()
        if isinstance(feature, library.features.ClassLabel)
    ]
    column = chosen_one(title, "image column", "image", image, images, features)
    require(
        column in images,
        f"{title}: feature {column!r} is no image; images: {', '.join(images) or 'none'}",
    )
    if label is None and len(classes) != 1:
        return column, None
    return column, chosen_one(title, "label column", "label", label, classes, features)


class _Records(NamedTuple):
    """The records of a split: their number, a record by its row, and its name in messages."""

    num: int
    record: Callable[[int], Any]
    name: Callable[[int], str]


def _records(builder: Any, split: str, decoders: dict[str, Any], title: str) -> _Records:
    folder = Path(builder.data_path)
    with reading(title, "cannot be read", files=_files(folder)):
        source = builder.as_data_source(split=split, decoders=decoders)
    require(len(source), f"{title} has no examples")
    name = f"{title}: example {{}}".format

    def record(row: int) -> Any:
        with reading(name(row), "cannot be read", files=_files(folder)):
            return source[row]

    return _Records(len(source), record, name)


def _files(folder: Path) -> Iterator[Path]:
    """The files of one version of a data set."""
    return files_within(folder, 1)


def _check_features(folder: Path, title: str) -> None:
    """Raise ``ValueError`` where a prepared data set names features of other packages:
    the library imports them.
    """
    # A library opens a file by its name also where the folder cannot be listed.
    for file in sorted(below / _FEATURES for below, names in walked(folder) if _FEATURES in names):
        waiting: list[Any] = [read_options(file)]
        while waiting:
            found = waiting.pop()
            if isinstance(found, dict):
                waiting.extend(found.values())
                for name in (found[key] for key in _CLASS_NAMES if isinstance(found.get(key), str)):
                    require(
                        "." not in name or name.startswith("tensorflow_datasets."),
                        f"{title}: {file} names the code {name!r}, which is not run",
                    )
            elif isinstance(found, list):
                waiting.extend(found)


def _prepared(library: Any, path: str, data_dir: str | None, title: str) -> Any:
    """The builder of a data set that is prepared as ArrayRecord files."""
    folder = cached(path)
    require(
        ":" not in path or folder.exists(),
        f"{title}: a data set of another namespace runs code of its own, and is not fetched: "
        "prepare it, and give its folder",
    )
    _check_features(folder, title)
    if data_dir is not None:
        _check_features(Path(data_dir).expanduser() / path.partition("/")[0], title)
    is_folder = (folder / "dataset_info.json").exists()
    if path.startswith((".", "/", "~")) and not is_folder:
        raise FileNotFoundError(
            f"no dataset_info.json in {folder}: the folder of one version of a data set has it"
        )
    places = [folder] if data_dir is None else [folder, Path(data_dir).expanduser() / path]
    files = (file for place in places for file in files_within(place, 2) if file.suffix == ".json")
    with reading(title, "cannot be loaded", files=files):
        if is_folder:
            builder = library.builder_from_directory(str(folder))
        else:
            builder = library.builder(path, data_dir=data_dir, try_gcs=False)
    command = (
        f"python -c \"import tensorflow_datasets as t; t.builder('{path}', data_dir='DIR', "
        "file_format='array_record')"
        ".download_and_prepare()\", then data_dir='DIR'"
    )
    if not (Path(builder.data_path) / "dataset_info.json").exists():
        raise FileNotFoundError(
            f"{title} is not prepared in {builder.data_path}; prepare it where there is a network: "
            f"{command}"
        )
    found = builder.info.file_format.value
    require(
        found == "array_record",
        f"{title} is prepared as {found}, whose records cannot be read in any order; prepare it "
        f"again: {command}",
    )
    return builder
