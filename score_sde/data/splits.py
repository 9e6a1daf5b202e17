"""Splits, columns and extras: what all sources of ready-made data sets need."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from score_sde.checks import require
from score_sde.data.examples import Examples, in_memory_or_lazy
from score_sde.data.source import DataSource
from score_sde.runtime.damage import errors_in
from score_sde.runtime.naming import did_you_mean

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("train", "training"),
        "test": ("test", "testing"),
        "validation": ("validation", "valid", "val"),
    }
)
"""The splits, and the names that folders and files have for them in any case of letters."""

_HELD_OUT = ("test", *SPLIT_NAMES["validation"])


class Split(NamedTuple):
    """The examples of a split, their labels, if they have any, and the names of the
    classes ``0 .. n - 1``, if they are known.
    """

    examples: Examples
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None = None


def split_of(name: str) -> str | None:
    """The split that a folder is named after; None for any other name.

    >>> split_of("Train"), split_of("val"), split_of("trains")
    ('train', 'validation', None)
    """
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def held_out_split(
    title: str, available: Sequence[str], train_split: str, test_split: str | None
) -> str | None:
    """The held-out split: ``test_split``; else ``test``, else ``validation``, if there is
    one.

    Raises:
        ValueError: where there is no such split, or no ``train_split``; the message
            begins with ``title``.
    """
    held_out = test_split or next(
        (name for name in _HELD_OUT if name in available and name != train_split), None
    )
    for name in filter(None, (train_split, held_out)):
        # TFDS slices its splits: train[:90%]
        check_known(title, "split", name, available, name.partition("[")[0])
    return held_out


def load_splits(
    title: str,
    available: Iterable[str],
    load: Callable[[str], Split],
    *,
    train_split: str,
    test_split: str | None,
    num_levels: int | None,
    test_fraction: float,
    seed: int,
    in_memory: bool | None,
) -> DataSource:
    """The data source of a training and a held-out split.

    Without ``test_split`` the split ``test`` is held out, else ``validation``; where
    there is neither, a random part of the training split. Labels are kept where both
    splits have them.

    Raises:
        ValueError: where there is no such split, or its examples are wrong; the message
            begins with ``title``.
    """
    held_out = held_out_split(title, list(available), train_split, test_split)
    train = load(train_split)
    examples = in_memory_or_lazy(train.examples, in_memory)
    with errors_in(title):
        if held_out is None:
            return DataSource.from_examples(
                examples,
                num_levels=num_levels,
                labels=train.labels,
                class_names=train.class_names,
                test_fraction=test_fraction,
                seed=seed,
            )
        test = load(held_out)
        labelled = train.labels is not None and test.labels is not None
        return DataSource(
            train=examples,
            test=in_memory_or_lazy(test.examples, in_memory),
            num_levels=num_levels,
            train_labels=train.labels if labelled else None,
            test_labels=test.labels if labelled else None,
            class_names=train.class_names if labelled else None,
        )


def check_known(
    title: str | Path, kind: str, name: str, known: Iterable[str], wanted: str | None = None
) -> None:
    """Raise ValueError unless ``known`` has a name; the message suggests the nearest and
    lists all.

    Args:
        title: the file or data set, with which the message begins.
        kind: the word for such names: ``column``.
        name: the name that was chosen.
        known: the names there are.
        wanted: the name to look for, where it is not the whole of ``name``.
    """
    known = list(known)
    if (name if wanted is None else wanted) not in known:
        hint = did_you_mean(name, known)
        raise ValueError(
            f"{title} has no {kind} {name!r}{hint}; {kind}s: {', '.join(known) or 'none'}"
        )


def chosen_one(
    title: str | Path,
    kind: str,
    option: str,
    chosen: str | None,
    found: Sequence[str],
    known: Iterable[str],
) -> str:
    """The name of one column or array: the ``chosen`` one, or the only one ``found``.

    Args:
        title: the file or data set, with which messages begin.
        kind: the words for the choice: ``image column``.
        option: the option that chooses.
        chosen: the value of the option, or None.
        found: the names to choose from without the option.
        known: all names of the same sort, which the option may choose from.

    Raises:
        ValueError: where there is none, or more than one to choose from.
    """
    known = list(known)
    sort = kind.rpartition(" ")[2]
    if chosen is not None:
        check_known(title, sort, chosen, known)
        return chosen
    require(found, f"{title} has no {kind}; {sort}s: {', '.join(known) or 'none'}")
    require(
        len(found) == 1,
        f"{title} has {len(found)} {kind}s; choose one by {option}=…: {', '.join(found)}",
    )
    return found[0]


def imported_extra(module: str, extra: str, source: str) -> Any:
    """Import a library that an extra of this package installs.

    Raises:
        ValueError: where it is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{source} needs the extra {extra}: pip install 'score-sde[{extra}]' ({error})"
        ) from error
