"""Images of TensorFlow Datasets, prepared as ArrayRecord files and read without TensorFlow."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.data.examples import is_lazy
from score_sde.data.images import check_options, encoded_images
from score_sde.data.listing import files_within, walked
from score_sde.data.source import DataSource
from score_sde.data.splits import Split, chosen_column, first_line, imported_extra, load_splits
from score_sde.runtime.unreadable import system_error

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

    The labels lie in the records of the images. Those of images in memory are read
    where the data set has one feature of class labels; to find those of other images
    every record is read once, only if ``label`` asks for it.

    Args:
        path: its name, ``mnist`` or ``mnist/3.0.1``; or the folder of one version, with
            ``dataset_info.json``.
        data_dir: where it was prepared (default: that of the library).
        train_split: the split to train on, or a slice of it, ``train[:90%]``.
        test_split: the held-out split; left out, ``test`` or ``validation`` if there is
            one, else a random part.
        image: the feature of images; left out, the only one.
        label: the feature of classes.
        image_size: resize the middle square of each image, as for ``folder``.
        channels: 1 for grey, 3 for RGB; left out, as the first image has.
        test_fraction: size of the random part.
        seed: seed of the random part.
        in_memory: whether all are decoded at once; left out, if they have no more than
            1 GiB in all.

    Raises:
        ValueError: where the extra ``tfds`` is missing, there is no such data set,
            split or feature, it was prepared in another format, or a record is damaged.
        FileNotFoundError: where it is not prepared; it says how to.
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
        return Split(examples, np.array([int(record(row)[label_column]) for row in range(num)]))

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
    """The features of images and of classes, the latter None where there is none to read."""
    images = [
        name for name, feature in features.items() if isinstance(feature, library.features.Image)
    ]
    classes = [
        name
        for name, feature in features.items()
        if isinstance(feature, library.features.ClassLabel)
    ]
    column = chosen_column(title, "image", image, images, features)
    if column not in images:
        raise ValueError(
            f"{title}: feature {column!r} is no image; images: {', '.join(images) or 'none'}"
        )
    if label is None and len(classes) != 1:
        return column, None
    return column, chosen_column(title, "label", label, classes, features)


class _Records(NamedTuple):
    """The records of a split: how many, one of them, and what it is called."""

    num: int
    record: Callable[[int], Any]
    name: Callable[[int], str]


def _records(builder: Any, split: str, decoders: dict[str, Any], title: str) -> _Records:
    folder = Path(builder.data_path)
    try:
        source = builder.as_data_source(split=split, decoders=decoders)
    except Exception as error:  # the reader raises RuntimeError for all that it finds
        raise system_error(error, _files(folder)) or ValueError(
            f"{title} cannot be read {first_line(error)}"
        ) from error
    if len(source) == 0:
        raise ValueError(f"{title} has no examples")
    name = f"{title}: example {{}}".format

    def record(row: int) -> Any:
        try:
            return source[row]
        except Exception as error:  # of the reader of the file, or of the decoder of a feature
            damage = ValueError(f"{name(row)} cannot be read {first_line(error)}")
            raise system_error(error, _files(folder)) or damage from error

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
        try:
            waiting = [json.loads(file.read_text(encoding="utf-8"))]
        except (ValueError, RecursionError):
            raise ValueError(f"{title}: {file} is damaged: it is no JSON") from None
        while waiting:
            found = waiting.pop()
            if isinstance(found, dict):
                waiting.extend(found.values())
                for name in (found[key] for key in _CLASS_NAMES if isinstance(found.get(key), str)):
                    if "." in name and not name.startswith("tensorflow_datasets."):
                        raise ValueError(
                            f"{title}: {file} names the code {name!r}, which is not run"
                        )
            elif isinstance(found, list):
                waiting.extend(found)


def _prepared(library: Any, path: str, data_dir: str | None, title: str) -> Any:
    """The builder of a data set that is prepared as ArrayRecord files."""
    folder = Path(path).expanduser()
    if ":" in path and not folder.exists():
        raise ValueError(
            f"{title}: a data set of another namespace runs code of its own, and is not fetched: "
            "prepare it, and give "
            f"its folder"
        )
    _check_features(folder, title)
    if data_dir is not None:
        _check_features(Path(data_dir).expanduser() / path.partition("/")[0], title)
    try:
        if (folder / "dataset_info.json").exists():
            builder = library.builder_from_directory(str(folder))
        elif path.startswith((".", "/", "~")):
            raise FileNotFoundError(
                f"no dataset_info.json in {folder}: the folder of one version of a data set has it"
            )
        else:
            builder = library.builder(path, data_dir=data_dir, try_gcs=False)
    except FileNotFoundError:
        raise
    except (
        Exception
    ) as error:  # the library raises errors of its own, of many lines, and of what it reads
        places = [folder] if data_dir is None else [folder, Path(data_dir).expanduser() / path]
        there = (
            file for place in places for file in files_within(place, 2) if file.suffix == ".json"
        )
        raise system_error(error, there) or ValueError(
            f"{title} cannot be had {first_line(error)}"
        ) from error
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
    if (found := builder.info.file_format.value) != "array_record":
        raise ValueError(
            f"{title} is prepared as {found}, which is not read in any order; prepare it anew: "
            f"{command}"
        )
    return builder
