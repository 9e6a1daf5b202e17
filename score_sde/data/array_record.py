"""ArrayRecord files: examples of a data set in records that are read in any order.

A record is one example: an encoded image (PNG, JPEG and the like), or an array as
``.npy`` bytes. A folder has the files ``train*.array_record`` and ``test*.array_record``
of the two splits, in the order of their names, and, where the examples have classes,
``train_labels.npy`` and ``test_labels.npy``, integers of shape ``[n]``.
"""

import io
from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.checks import at_least, require
from score_sde.data.array_examples import ArrayExamples, array_examples
from score_sde.data.examples import Examples, LazyExamples
from score_sde.data.files import read_npy
from score_sde.data.images import check_options, encoded_images
from score_sde.data.listing import matching
from score_sde.data.source import DataSource
from score_sde.data.splits import (
    SPLIT_NAMES,
    Split,
    held_out_split,
    imported_extra,
    load_splits,
)
from score_sde.runtime.damage import reading
from score_sde.runtime.object_cache import cached
from score_sde.runtime.working_copy import local_path, sync

_NPY_MAGIC = b"\x93NUMPY"
_SUFFIX = ".array_record"


class Records(NamedTuple):
    """The records of several files, numbered consecutively: the name of a record in
    messages, and its bytes.
    """

    num: int
    name: Callable[[int], str]
    read: Callable[[int], bytes]


def arrayrecord(
    path: str | Path,
    *,
    num_levels: int | None = None,
    channels_first: bool | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read ArrayRecord files whose records are images or arrays, as
    `write_array_record` and ``scripts/make_array_record.py`` write them.

    Args:
        path: a file, a pattern such as ``photos/part-*``, or a folder; in object storage,
            they are copied to this machine first. The files of a
            folder are its splits where the names of some begin with ``train`` and of
            others with ``test``, ``validation``, ``valid`` or ``val``; else, and for a
            file or a pattern, a random part is held out.
        num_levels: the number of levels of arrays of integers, as for `npz`.
        channels_first: of arrays, as for `npz`.
        image_size: of encoded images, as for `folder`.
        channels: 1 for grey, 3 for RGB; by default as the first encoded image.
        train_split: the split to train on, as for `npz`.
        test_split: the held-out split, as for `npz`.
        test_fraction: as for `folder`.
        seed: as for `folder`.
        in_memory: as for `folder`.

    Raises:
        ValueError: where the extra ``arrayrecord`` is missing, or a file or a record is
            damaged (it is named).
        FileNotFoundError: where there are no such files.
    """
    check_options(image_size, channels)
    path = cached(path)
    files, others = _splits(path)
    held_out = held_out_split(str(path), list(files), train_split, test_split)

    def load(split: str) -> tuple[ArrayExamples, Split]:
        records = opened_records(files[split])
        images = {"image_size": image_size, "channels": channels}
        found = _examples(records, path, num_levels, channels_first, **images)
        return found, Split(found.examples, _labels(path, files[split][0], split))

    found, train = load(train_split)
    source = load_splits(
        str(path),
        files,
        lambda split: train if split == train_split else load(split)[1],
        train_split=train_split,
        test_split=held_out,
        num_levels=found.num_levels,
        test_fraction=test_fraction,
        seed=seed,
        in_memory=in_memory,
    )
    notes = [found.note, _of_splits(files, train_split, held_out, others)]
    return source.with_notes(*(f"{path}: {note}" for note in notes if note))


def opened_records(files: list[Path]) -> Records:
    """The records of files; each file is opened here, and read when a record is.

    Raises:
        OSError: where a file cannot be opened.
        ValueError: where a file is damaged or is no ArrayRecord file.
    """
    library = imported_extra(
        "array_record.python.array_record_data_source", "arrayrecord", f"arrayrecord:{files[0]}"
    )
    sources = []
    for file in files:
        with reading(file, "cannot be read as an ArrayRecord file", files=[file]):
            sources.append(library.ArrayRecordDataSource(str(file)))
    ends = np.cumsum([len(source) for source in sources])

    def place(row: int) -> tuple[int, int]:
        file = bisect_right(ends, row)
        return file, int(row - (ends[file - 1] if file else 0))

    def name(row: int) -> str:
        file, record = place(row)
        return f"{files[file]}: record {record} (example {row})"

    def read(row: int) -> bytes:
        file, record = place(row)
        with reading(name(row), "cannot be read", files=[files[file]]):
            return sources[file][record]

    return Records(int(ends[-1]), name, read)


def _splits(place: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """The files of each split, and the files of a folder that belong to none."""
    if not place.is_dir():
        found = [place] if place.is_file() else matching(place)
        if not found:
            raise FileNotFoundError(f"no such file or folder: {place}")
        return {"train": found}, []
    found = sorted(
        file for file in place.iterdir() if _SUFFIX in file.name and not file.name.startswith(".")
    )
    if not found:
        raise FileNotFoundError(f"no {_SUFFIX} files in {place}")
    splits: dict[str, list[Path]] = {}
    others = []
    for file in found:
        split = _split_of(file.name)
        (others if split is None else splits.setdefault(split, [])).append(file)
    return (splits, others) if "train" in splits and len(splits) > 1 else ({"train": found}, [])


def _split_of(file: str) -> str | None:
    """The split that a name begins with."""
    return next(
        (split for split, names in SPLIT_NAMES.items() if file.lower().startswith(names)),
        None,
    )


def _labels(path: str | Path, first: Path, split: str) -> np.ndarray | None:
    """The labels beside the files of a split of a folder; ``first`` is one of the files."""
    if not Path(path).expanduser().is_dir():
        return None
    names = [f"{name}_labels.npy" for name in SPLIT_NAMES.get(split, (split,))]
    files = [file for name in names if (file := first.parent / name).is_file()]
    return read_npy(files[0]) if files else None


def _of_splits(
    files: Mapping[str, list[Path]], train: str, held_out: str | None, others: list[Path]
) -> str:
    """The line about the splits of a folder; empty where it has none."""
    if held_out is None:
        return ""
    unused = [name for name in files if name not in (train, held_out)]
    unused += [f"{len(others)} files of no split"] if others else []
    line = f"split {train} to train on, {held_out} held out"
    return line + (f", {', '.join(unused)} not used" if unused else "")


def _examples(
    records: Records,
    path: str | Path,
    num_levels: int | None,
    channels_first: bool | None,
    *,
    image_size: int | None,
    channels: int | None,
) -> ArrayExamples:
    """The examples. All are of the kind of the first record."""
    require(records.num, f"{path} has no records")
    first = records.read(0)
    if not first.startswith(_NPY_MAGIC):
        images = encoded_images(
            records.num, records.read, records.name, image_size=image_size, channels=channels
        )
        return ArrayExamples(images, 256)
    require(
        image_size is None and channels is None,
        f"{path} holds arrays, not encoded images: omit image_size and channels",
    )

    def read(row: int) -> np.ndarray:
        return _array(records.read(row), records.name(row))

    like = _array(first, records.name(0))
    arrays = LazyExamples(
        shape=(records.num, *like.shape), dtype=like.dtype, read=read, name=records.name
    )
    return array_examples(arrays, path, num_levels, channels_first)


def _array(record: bytes, name: str) -> np.ndarray:
    with reading(name, "is no array"):
        return np.lib.format.read_array(io.BytesIO(record), allow_pickle=False)


def write_array_record(
    source: DataSource, folder: str | Path, *, num_shards: int = 1, png: bool = False
) -> None:
    """Write both splits of a source and their labels to a new folder, each split in
    ``num_shards`` files.

    Examples are written one by one.

    Args:
        source: the data.
        folder: the new folder; an empty one may be there.
        num_shards: number of files of each split.
        png: write PNG images, which are smaller than ``.npy`` bytes and slower to read.

    Raises:
        ValueError: where the folder is not empty, ``num_shards`` is below 1, the
            examples cannot be PNG images, or the extra ``arrayrecord`` is missing.
    """
    folder = local_path(folder)
    require(
        not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
        f"{folder} exists and is not an empty folder",
    )
    at_least(1, num_shards=num_shards)
    is_png = source.num_levels == 256 and len(source.shape) == 3 and source.shape[-1] in (1, 3)
    require(
        is_png or not png,
        "png=True needs 256 levels and 1 or 3 channels, these examples have "
        f"num_levels={source.num_levels} and shape={source.shape}",
    )
    library = imported_extra(
        "array_record.python.array_record_module", "arrayrecord", "writing ArrayRecord files"
    )
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        _write(library, folder, split, getattr(source, split), num_shards, _png if png else _npy)
        labels = getattr(source, f"{split}_labels")
        if labels is not None:
            np.save(folder / f"{split}_labels.npy", labels)
    sync(folder)


def _write(
    library: Any,
    folder: Path,
    split: str,
    examples: Examples,
    num_shards: int,
    encode: Callable[[np.ndarray], bytes],
) -> None:
    for shard, rows in enumerate(np.array_split(np.arange(len(examples)), num_shards)):
        file = folder / f"{split}-{shard:05}-of-{num_shards:05}{_SUFFIX}"
        writer = library.ArrayRecordWriter(str(file), "group_size:1")  # a group is read as a whole
        try:
            for row in rows:
                writer.write(encode(np.asarray(examples[row : row + 1])[0]))
        finally:
            writer.close()


def _npy(example: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, example, allow_pickle=False)
    return stream.getvalue()


def _png(example: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(example[..., 0] if example.shape[-1] == 1 else example).save(stream, "PNG")
    return stream.getvalue()
