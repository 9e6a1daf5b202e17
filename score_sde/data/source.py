"""A data set: two checked splits of examples, and the fixed permutations that split and
shuffle them.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Int

from score_sde.checks import require
from score_sde.data.checking import check_num_levels, checked_examples, checked_labels
from score_sde.data.examples import Examples, is_array, selected

IN_MEMORY = "in_memory"
"""The name of the data source of models that were trained on arrays."""

_SPLIT_EPOCH = 2**64 - 1  # a separate stream: no epoch of a loader has this number


def permutation(num_examples: int, *, seed: int, epoch: int = 0) -> Int[np.ndarray, " n"]:
    """Return the permutation of ``0 .. num_examples - 1`` that belongs to ``(seed, epoch)``.

    It is the stable order of raw 64-bit words of the counter-based Philox generator
    (Salmon et al. 2011) keyed by ``(seed, epoch)``. NumPy guarantees that stream for
    every version, which it does not for ``Generator.permutation``.

    >>> sorted(permutation(4, seed=0).tolist())
    [0, 1, 2, 3]

    Raises:
        ValueError: where ``seed`` is outside ``0 .. 2**64 - 1``.
    """
    check_seed(seed)
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(num_examples)
    return np.argsort(words, kind="stable")


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSource:
    """A data set, in memory or in files, with its training and its held-out split.

    Images are integers with levels ``0 .. num_levels - 1`` (stored as uint8, or int32
    above 256 levels); continuous vectors have ``num_levels=None`` (stored as float32).
    Arrays are kept as read-only views, and all their values are checked at once. Memory
    maps and other ``Examples`` stay in their files: their values are checked when they
    are read, and a wrong value then raises a ``ValueError`` that names its row and file.

    >>> import numpy as np, score_sde as ss
    >>> digits = np.zeros((10, 8, 8, 1), np.uint8)
    >>> ss.DataSource(train=digits[:8], test=digits[8:], num_levels=17).shape
    (8, 8, 1)

    Attributes:
        train: training examples, ``[n, *shape]``.
        test: held-out examples, ``[m, *shape]``.
        num_levels: number of levels of a pixel, or None for continuous data.
        shape: shape of one example; by default the shape of those in ``train``.
        train_labels: class of each training example, int32 ``[n]``, or None.
        test_labels: class of each held-out example, int32 ``[m]``, or None.
        train_conditions: conditions of the training examples in place of their classes,
            a pytree of arrays ``[n, ...]``, or None.
        test_conditions: conditions of the held-out examples, ``[m, ...]``, or None.
        class_names: the names of the classes ``0 .. n - 1``, where they are known.
        notes: lines for the log about how the data were read: the splits, the classes,
            the files that were passed over.

    Raises:
        ValueError: where a split is empty, shapes differ, a value is NaN or infinite
            (the message names the first such example), a level lies outside ``0 ..
            num_levels - 1``, or labels or conditions do not match their examples.
    """

    train: Examples
    test: Examples
    num_levels: int | None
    shape: tuple[int, ...] = ()
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    train_conditions: Any = None
    test_conditions: Any = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_num_levels(self.num_levels)
        for split in ("train", "test"):
            examples = checked_examples(getattr(self, split), self.num_levels, split)
            labels = checked_labels(getattr(self, f"{split}_labels"), len(examples), split)
            object.__setattr__(self, split, examples)
            object.__setattr__(self, f"{split}_labels", labels)
            for values in jax.tree.leaves(getattr(self, f"{split}_conditions")):
                require(
                    np.shape(values)[:1] == (len(examples),),
                    f"{split} conditions must be arrays with a row for each of "
                    f"{len(examples)} examples, got shape {np.shape(values)}",
                )
        object.__setattr__(self, "shape", self.shape or self.train.shape[1:])
        for split in ("train", "test"):
            found = getattr(self, split).shape[1:]
            require(
                found == self.shape,
                f"{split} examples have shape {found} where {self.shape} was expected",
            )

    def conditions(self, split: Literal["train", "test"]) -> Any:
        """The condition of each example of a split: ``train_conditions`` or
        ``test_conditions``, else the class labels; None where there are neither.
        """
        given = self.train_conditions if split == "train" else self.test_conditions
        labels = self.train_labels if split == "train" else self.test_labels
        return labels if given is None else given

    def with_notes(self, *notes: str) -> "DataSource":
        """The same source with further lines for the log."""
        found = copy(self)  # not replace, which would check all values again
        object.__setattr__(found, "notes", (*self.notes, *notes))
        return found

    @classmethod
    def from_examples(
        cls,
        examples: Examples,
        *,
        num_levels: int | None,
        labels: np.ndarray | None = None,
        conditions: Any = None,
        class_names: tuple[str, ...] | None = None,
        test_fraction: float = 0.1,
        seed: int = 0,
    ) -> "DataSource":
        """Split ``examples`` by a fixed permutation of ``seed``; ``test_fraction`` of
        them, at least one, are held out.

        The split is the same in memory and in files; nothing is read for it.

        >>> import numpy as np, score_sde as ss
        >>> points = np.zeros((100, 2), np.float32)
        >>> len(ss.DataSource.from_examples(points, num_levels=None).test)
        10

        Raises:
            ValueError: as the class does (an example is named by its row in
                ``examples``), and where there are fewer than two examples or
                ``test_fraction`` is not between 0 and 1.
        """
        check_num_levels(num_levels)
        require(
            0 < test_fraction < 1,
            f"test_fraction={test_fraction} must be between 0 and 1, both excluded",
        )
        require(
            len(examples) >= 2,
            f"a training and a test split need at least 2 examples, found {len(examples)}",
        )
        labels = checked_labels(labels, len(examples), "")
        if is_array(examples):  # before the split: a wrong example is named by its row here
            examples = checked_examples(examples, num_levels, "")
        num_test = min(max(round(test_fraction * len(examples)), 1), len(examples) - 1)
        order = permutation(len(examples), seed=seed, epoch=_SPLIT_EPOCH)
        train, test = order[num_test:], order[:num_test]
        return cls(
            train=selected(examples, train),
            test=selected(examples, test),
            num_levels=num_levels,
            train_labels=None if labels is None else labels[train],
            test_labels=None if labels is None else labels[test],
            train_conditions=jax.tree.map(lambda values: np.asarray(values)[train], conditions),
            test_conditions=jax.tree.map(lambda values: np.asarray(values)[test], conditions),
            class_names=class_names,
        )


def in_memory() -> DataSource:
    """The data source of a model that was trained on arrays, which no file holds.

    Raises:
        FileNotFoundError: always.
    """
    raise FileNotFoundError(
        "this model was trained on arrays in memory: name data by --config.data.source, as npz:PATH"
    )


def check_seed(seed: int) -> None:
    """Raise ValueError unless ``seed`` is a whole number that fits a 64-bit word."""
    require(0 <= seed < 2**64, f"seed={seed} must be from 0 to 2**64 - 1")
