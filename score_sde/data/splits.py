"""What the sources of ready-made data sets share: their splits, columns, and the extras
that they need.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from score_sde.data.examples import Examples, in_memory_or_lazy
from score_sde.data.source import DataSource
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.unreadable import message_of

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
    """The source of two splits; of one, part of which is held out at random, where
    there is no other.

    Without ``test_split`` that is the split ``test``, else ``validation``. Labels are
    kept where both splits have them.

    Raises:
        ValueError: where there is no such split (``title`` says where), or its examples
            are at fault.
    """
    available = list(available)
    held_out = test_split or next(
        (name for name in _HELD_OUT if name in available and name != train_split), None
    )
    for name in filter(None, (train_split, held_out)):
        if name.partition("[")[0] not in available:  # TFDS slices its splits: train[:90%]
            hint = did_you_mean(name, available)
            raise ValueError(
                f"{title} has no split {name!r}{hint}; splits: {', '.join(available) or 'none'}"
            )
    train = load(train_split)
    examples = in_memory_or_lazy(train.examples, in_memory)
    try:
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
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(title) else f"{title}: {message}") from error


def chosen_column(
    title: str, kind: str, chosen: str | None, found: Sequence[str], columns: Iterable[str]
) -> str:
    """The name of the one image or label column: the chosen one, or the only one that was found.

    Raises:
        ValueError: where there is none, or more than one to choose from.
    """
    columns = list(columns)
    if chosen is not None:
        if chosen not in columns:
            hint = did_you_mean(chosen, columns)
            raise ValueError(
                f"{title} has no column {chosen!r}{hint}; columns: {', '.join(columns)}"
            )
        return chosen
    if not found:
        raise ValueError(f"{title} has no {kind} column; columns: {', '.join(columns)}")
    if len(found) > 1:
        raise ValueError(
            f"{title} has {len(found)} {kind} columns; choose one by {kind}=…: {', '.join(found)}"
        )
    return found[0]


def imported_extra(module: str, extra: str, source: str) -> Any:
    """A library that comes with an extra of this package.

    Raises:
        ValueError: where it is not installed; it says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{source} needs the extra {extra}: pip install 'score-sde[{extra}]' ({error})"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of what an error, or what caused it, says, in brackets:
    ``(OSError: no such file)``.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return f"({message_of(error)})"
