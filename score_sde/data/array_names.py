"""The names that arrays have in archives: those of splits, and those of labels."""

from collections.abc import Sequence
from typing import NamedTuple

from score_sde.data.splits import SPLIT_NAMES

_OF_SPLITS = (
    ("{}", "{}_labels"),
    ("x_{}", "y_{}"),  # Keras
    ("{}_x", "{}_y"),
    ("{}_images", "{}_labels"),  # MedMNIST
    ("{}_data", "{}_labels"),
    ("{}_latents", "{}_labels"),
)
_OF_ALL = (
    ("x", "y"),
    ("images", "labels"),
    ("image", "label"),
    ("data", "labels"),
    ("latents", "labels"),
    ("arr_0", "arr_1"),  # np.savez(file, images, labels)
)


class Names(NamedTuple):
    """The names of an array of examples, and of the array of their labels, if there is one."""

    examples: str
    labels: str | None


def names_of_splits(keys: Sequence[str]) -> dict[str, Names]:
    """The arrays of each split, if an archive has arrays for two of them, in any case of
    letters.

    >>> names_of_splits(["x_train", "y_train", "x_test"])
    {'train': Names(examples='x_train', labels='y_train'), 'test': Names(examples='x_test', ...)}
    """
    known = {key.lower(): key for key in keys}
    for examples, labels in _OF_SPLITS:
        found = {
            split: Names(known[examples.format(name)], known.get(labels.format(name)))
            for split, names in SPLIT_NAMES.items()
            for name in names
            if examples.format(name) in known
        }
        if "train" in found and len(found) > 1:
            return found
    return {}


def names_of_pair(keys: Sequence[str]) -> Names | None:
    """The arrays of examples and labels, by the names of an archive's only two arrays;
    None for other names.
    """
    known = {key.lower(): key for key in keys}
    for examples, labels in _OF_ALL:
        if set(known) == {examples, labels}:
            return Names(known[examples], known[labels])
    return None
