"""Checks of examples and labels: of arrays at once, of examples in files when they are
read.
"""

import math
from typing import Any

import numpy as np

from score_sde.checks import between, require
from score_sde.data.examples import Examples, LazyExamples, example, is_array, name_of

MAX_LEVELS = 65536


def check_num_levels(num_levels: int | None) -> None:
    """Raise ValueError unless ``num_levels`` is None or from 2 to 65536: float32 can
    distinguish no more levels after dequantization.
    """
    if num_levels is not None:
        between(2, MAX_LEVELS, num_levels=num_levels, because="or None for continuous data")


def checked_examples(examples: Examples, num_levels: int | None, split: str) -> Examples:
    """Return read-only examples of the stored type: float32, or uint8, or int32 above 256 levels.

    All values of an array are checked now; of other examples the shape and the type are,
    and the values when they are read.

    Raises:
        ValueError: where there are no examples, their type is wrong, a value is NaN or
            infinite, or a level lies outside ``0 .. num_levels - 1``; the message names
            the first such example.
    """
    where = f"{split} " if split else ""
    shape, dtype = examples.shape, np.dtype(examples.dtype)
    require(shape and shape[0], f"the {where}split has no examples")
    require(math.prod(shape[1:]), f"{where}examples of shape {shape[1:]} have no values")
    if isinstance(examples, np.ndarray) and is_array(examples):
        stored = _checked_values(examples, num_levels, where).view()
        stored.flags.writeable = False
        return stored
    _check_type(dtype, num_levels, where)

    def read(row: int) -> np.ndarray:
        found = example(examples, row)
        name = name_of(examples, row)
        require(
            found.shape == shape[1:] and found.dtype == dtype,
            f"{name} is {found.dtype} of shape {found.shape}, not {dtype} of shape {shape[1:]}",
        )
        return _checked_values(found[None], num_levels, "", name)[0]

    return LazyExamples(
        shape=shape,
        dtype=_stored_type(num_levels),
        read=read,
        name=lambda row: name_of(examples, row),
    )


def checked_labels(labels: np.ndarray | None, num_examples: int, split: str) -> np.ndarray | None:
    """Return labels as read-only int32; raise ValueError unless they are integers of 32
    bits, one for each example.
    """
    if labels is None:
        return None
    name = f"{split}_labels" if split else "labels"
    require(
        labels.dtype.kind in "iu" and labels.shape == (num_examples,),
        f"{name} must be integers of shape ({num_examples},), one per example, not "
        f"{labels.dtype} of shape {labels.shape}",
    )
    if labels.size:  # no label would wrap to another
        low, high = int(labels.min()), int(labels.max())
        require(
            low >= -(2**31) and high < 2**31,
            f"{name} are from {low} to {high}: labels must be below 2**31",
        )
    stored = labels.astype(np.int32)
    stored.flags.writeable = False
    return stored


def _stored_type(num_levels: int | None) -> np.dtype[Any]:
    if num_levels is None:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if num_levels <= 256 else np.int32)


def _check_type(dtype: np.dtype[Any], num_levels: int | None, where: str) -> None:
    if num_levels is None:
        require(
            dtype.kind == "f",
            f"{where}examples are {dtype}: continuous data are floats; images need num_levels",
        )
    else:
        require(
            dtype.kind in "biu",
            f"{where}examples are {dtype}; with num_levels={num_levels} they must be integers",
        )


def _checked_values(
    array: np.ndarray, num_levels: int | None, where: str, name: str = ""
) -> np.ndarray:
    """The array in its stored type; ``name`` is the name of its only example, if that
    has a name of its own.
    """
    if num_levels is None:
        return _checked_floats(array, where, name)
    return _checked_levels(array, num_levels, where, name)


def _checked_floats(array: np.ndarray, where: str, name: str) -> np.ndarray:
    _check_type(array.dtype, None, where)
    # Values beyond the range of float32 become infinite, and are found below.
    with np.errstate(over="ignore", invalid="ignore"):
        stored = array.astype(np.float32, copy=False)
    bad = _first_bad(np.isfinite(stored))
    require(
        bad is None,
        f"{name or f'{where}example {bad}'} has a NaN or infinite value; every value must be "
        "finite in float32",
    )
    return stored


def _checked_levels(array: np.ndarray, num_levels: int, where: str, name: str) -> np.ndarray:
    bad = _first_bad(np.isfinite(array)) if array.dtype.kind == "f" else None
    require(
        bad is None,
        f"{where}examples have a NaN or infinite value (the first is example {bad}); with "
        f"num_levels={num_levels} they must be integers",
    )
    _check_type(array.dtype, num_levels, where)
    if int(array.min()) < 0 or int(array.max()) >= num_levels:
        bad = _first_bad((array >= 0) & (array < num_levels))
        low, high = int(array[bad].min()), int(array[bad].max())
        allowed = f"0 to {num_levels - 1} (num_levels={num_levels})"
        raise ValueError(
            f"{name or f'{where}example {bad}'} has levels {low} to {high}; they must lie in "
            f"{allowed}"
        )
    return array.astype(_stored_type(num_levels), copy=False)


def _first_bad(good: np.ndarray) -> int | None:
    """Row of the first example with a value that is not good, or None."""
    rows = good.reshape(len(good), -1).all(axis=1)
    return None if rows.all() else int(np.argmin(rows))
