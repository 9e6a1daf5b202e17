"""Splits, columns and extras: what all sources of ready-made data sets need."""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from score_sde.checks import require
from score_sde.data.examples import Examples, in_memory_or_lazy
from score_sde.data.source import DataSource
from score_sde.runtime.damage import errors_in
from score_sde.runtime.naming import did_you_mean

_HELD_OUT = ("test", "validation", "valid", "val")


class Split(NamedTuple):
    """The examples of a split, and their labels, if they have any."""

    examples: Examples
    labels: np.ndarray | None


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
    available = list(available)
    held_out = test_split or next(
        (name for name in _HELD_OUT if name in available and name != train_split), None
    )
    for name in filter(None, (train_split, held_out)):
        # TFDS slices its splits: train[:90%]
        check_known(title, "split", name, available, name.partition("[")[0])
    train = load(train_split)
    examples = in_memory_or_lazy(train.examples, in_memory)
    with errors_in(title):
        if held_out is None:
            options = {"labels": train.labels, "test_fraction": test_fraction, "seed": seed}
            return DataSource.from_examples(examples, num_levels=num_levels, **options)
        test = load(held_out)
        labelled = train.labels is not None and test.labels is not None
        return DataSource(
            train=examples,
            test=in_memory_or_lazy(test.examples, in_memory),
            num_levels=num_levels,
            train_labels=train.labels if labelled else None,
            test_labels=test.labels if labelled else None,
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
