"""What a data set is: two arrays of examples, checked once, and the fixed permutations that split and shuffle them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

MAX_LEVELS = 65536
_SPLIT_EPOCH = 2**64 - 1  # a stream of its own: no epoch of a loader has this number


def permutation(num_examples: int, *, seed: int, epoch: int = 0) -> Int[np.ndarray, " n"]:
    """Return the permutation of ``0 .. num_examples - 1`` that belongs to ``(seed, epoch)``.

    It is the stable order of raw 64-bit words of the counter-based Philox generator (Salmon et al. 2011) keyed by
    ``(seed, epoch)``. NumPy promises that stream for every version, which it does not for ``Generator.permutation``.

    Raises:
        ValueError: where ``seed`` is outside ``0 .. 2**64 - 1``.
    """
    check_seed(seed)
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(num_examples)
    return np.argsort(words, kind="stable")


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSource:
    """A data set held in memory, with its training and its held-out split.

    Images are integers with levels ``0 .. num_levels - 1`` (stored as uint8, or int32 above 256 levels); continuous
    vectors have ``num_levels=None`` (stored as float32). The arrays are kept as read-only views.

    Attributes:
        train: training examples, ``[n, *shape]``.
        test: held-out examples, ``[m, *shape]``.
        num_levels: number of levels of a pixel, or None for continuous data.
        shape: shape of one example; left out, it is read from ``train``.
        train_labels: class of each training example, int32 ``[n]``, or None.
        test_labels: class of each held-out example, int32 ``[m]``, or None.

    Raises:
        ValueError: where a split is empty, shapes differ, a value is NaN or infinite (names the first such example),
            a level lies outside ``0 .. num_levels - 1``, or labels do not match their examples.
    """

    train: np.ndarray
    test: np.ndarray
    num_levels: int | None
    shape: tuple[int, ...] = ()
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_num_levels(self.num_levels)
        for split in ("train", "test"):
            examples = _checked_examples(getattr(self, split), self.num_levels, split)
            labels = _checked_labels(getattr(self, f"{split}_labels"), len(examples), split)
            object.__setattr__(self, split, examples)
            object.__setattr__(self, f"{split}_labels", labels)
        object.__setattr__(self, "shape", self.shape or self.train.shape[1:])
        for split in ("train", "test"):
            found = getattr(self, split).shape[1:]
            if found != self.shape:
                raise ValueError(f"{split} examples have shape {found} where {self.shape} was expected")

    @classmethod
    def from_examples(
        cls,
        examples: Shaped[np.ndarray, "n *shape"],
        *,
        num_levels: int | None,
        labels: Shaped[np.ndarray, " n"] | None = None,
        test_fraction: float = 0.1,
        seed: int = 0,
    ) -> "DataSource":
        """Split ``examples`` by a fixed permutation of ``seed``; ``test_fraction`` of them, at least one, are held out.

        Raises:
            ValueError: as the class does (an example is named by its row in ``examples``), and where there are fewer
                than two examples or ``test_fraction`` is not between 0 and 1.
        """
        check_num_levels(num_levels)
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction must lie between 0 and 1, not {test_fraction}")
        if len(examples) < 2:
            raise ValueError(f"a training and a test split need at least 2 examples, found {len(examples)}")
        examples = _checked_examples(examples, num_levels, "")
        num_test = min(max(round(test_fraction * len(examples)), 1), len(examples) - 1)
        order = permutation(len(examples), seed=seed, epoch=_SPLIT_EPOCH)
        train, test = order[num_test:], order[:num_test]
        return cls(
            train=examples[train],
            test=examples[test],
            num_levels=num_levels,
            train_labels=None if labels is None else labels[train],
            test_labels=None if labels is None else labels[test],
        )


def check_seed(seed: int) -> None:
    """Raise ValueError unless ``seed`` is a whole number that fits a 64-bit word."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be between 0 and 2**64 - 1, not {seed}")


def check_num_levels(num_levels: int | None) -> None:
    """Raise ValueError unless ``num_levels`` is None or between 2 and 65536 (what float32 can tell apart)."""
    if num_levels is not None and not 2 <= num_levels <= MAX_LEVELS:
        raise ValueError(f"num_levels must be None or between 2 and {MAX_LEVELS}, not {num_levels}")


def _checked_examples(array: np.ndarray, num_levels: int | None, split: str) -> np.ndarray:
    """Return ``array`` as a read-only array of the stored type, or raise the ValueError that says what is wrong."""
    where = f"{split} " if split else ""
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"the {where}split has no examples")
    if math.prod(array.shape[1:]) == 0:
        raise ValueError(f"{where}examples of shape {array.shape[1:]} have no values")
    stored = _checked_floats(array, where) if num_levels is None else _checked_levels(array, num_levels, where)
    stored = stored.view()
    stored.flags.writeable = False
    return stored


def _checked_floats(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind != "f":
        raise ValueError(f"{where}examples are {array.dtype}: continuous data are floats; images need num_levels")
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes inf and is named below
        stored = array.astype(np.float32, copy=False)
    bad = _first_bad(np.isfinite(stored))
    if bad is not None:
        raise ValueError(f"{where}example {bad} has a NaN or infinite value; every value must be finite in float32")
    return stored


def _checked_levels(array: np.ndarray, num_levels: int, where: str) -> np.ndarray:
    if array.dtype.kind not in "biu":
        bad = None if array.dtype.kind != "f" else _first_bad(np.isfinite(array))
        found = f"are {array.dtype}" if bad is None else f"have a NaN or infinite value (the first is example {bad})"
        raise ValueError(f"{where}examples {found}; with num_levels={num_levels} they must be integers")
    if int(array.min()) < 0 or int(array.max()) >= num_levels:
        bad = _first_bad((array >= 0) & (array < num_levels))
        low, high = int(array[bad].min()), int(array[bad].max())
        allowed = f"0 to {num_levels - 1} (num_levels={num_levels})"
        raise ValueError(f"{where}example {bad} has levels {low} to {high}; they must lie in {allowed}")
    return array.astype(np.uint8 if num_levels <= 256 else np.int32, copy=False)


def _checked_labels(labels: np.ndarray | None, num_examples: int, split: str) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.dtype.kind not in "iu" or labels.shape != (num_examples,):
        found = f"{labels.dtype} of shape {labels.shape}"
        raise ValueError(f"{split}_labels must be integers of shape ({num_examples},), one per example, not {found}")
    stored = labels.astype(np.int32)
    stored.flags.writeable = False
    return stored


def _first_bad(good: np.ndarray) -> int | None:
    """Row of the first example with a value that is not good, or None."""
    rows = good.reshape(len(good), -1).all(axis=1)
    return None if rows.all() else int(np.argmin(rows))
