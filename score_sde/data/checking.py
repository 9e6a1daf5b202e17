"""What must hold of examples and labels: of arrays it is checked at once, of examples
in files when they are read.
"""

import math
from typing import Any

import numpy as np

from score_sde.data.examples import Examples, LazyExamples, example, is_array, name_of

MAX_LEVELS = 65536


def check_num_levels(num_levels: int | None) -> None:
    """Raise ValueError unless ``num_levels`` is None or between 2 and 65536 (what
    float32 can tell apart).
    """
    if num_levels is not None and not 2 <= num_levels <= MAX_LEVELS:
        raise ValueError(f"num_levels must be None or between 2 and {MAX_LEVELS}, not {num_levels}")


def checked_examples(examples: Examples, num_levels: int | None, split: str) -> Examples:
    """Return read-only examples of the stored type: float32, or uint8, or int32 above 256 levels.

    Of an array every value is checked; of other examples their shape and type, and the
    values whenever they are read.

    Raises:
        ValueError: where there are no examples, their type is wrong, a value is NaN or
            infinite, or a level lies outside ``0 .. num_levels - 1``; it names the
            first such example.
    """
    where = f"{split} " if split else ""
    shape, dtype = examples.shape, np.dtype(examples.dtype)
    if len(shape) == 0 or shape[0] == 0:
        raise ValueError(f"the {where}split has no examples")
    if math.prod(shape[1:]) == 0:
        raise ValueError(f"{where}examples of shape {shape[1:]} have no values")
    if isinstance(examples, np.ndarray) and is_array(examples):
        stored = _checked_values(examples, num_levels, where).view()
        stored.flags.writeable = False
        return stored
    _check_type(dtype, num_levels, where)

    def read(row: int) -> np.ndarray:
        found = example(examples, row)
        if found.shape != shape[1:] or found.dtype != dtype:
            expected = f"{dtype} of shape {shape[1:]}"
            raise ValueError(
                f"{name_of(examples, row)} is {found.dtype} of shape {found.shape}, not {expected}"
            )
        return _checked_values(found[None], num_levels, "", name_of(examples, row))[0]

    return LazyExamples(
        shape=shape,
        dtype=_stored_type(num_levels),
        read=read,
        name=lambda row: name_of(examples, row),
    )


def checked_labels(labels: np.ndarray | None, num_examples: int, split: str) -> np.ndarray | None:
    """Return labels as read-only int32; raise ValueError unless they are whole numbers,
    one of each example.
    """
    if labels is None:
        return None
    if labels.dtype.kind not in "iu" or labels.shape != (num_examples,):
        found = f"{labels.dtype} of shape {labels.shape}"
        raise ValueError(
            f"{split}_labels must be integers of shape ({num_examples},), one per example, not "
            f"{found}"
        )
    stored = labels.astype(np.int32)
    stored.flags.writeable = False
    return stored


def _stored_type(num_levels: int | None) -> np.dtype[Any]:
    if num_levels is None:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if num_levels <= 256 else np.int32)


def _check_type(dtype: np.dtype[Any], num_levels: int | None, where: str) -> None:
    if num_levels is None and dtype.kind != "f":
        raise ValueError(
            f"{where}examples are {dtype}: continuous data are floats; images need num_levels"
        )
    if num_levels is not None and dtype.kind not in "biu":
        raise ValueError(
            f"{where}examples are {dtype}; with num_levels={num_levels} they must be integers"
        )


def _checked_values(
    array: np.ndarray, num_levels: int | None, where: str, name: str = ""
) -> np.ndarray:
    """The array in its stored type; ``name`` is that of its only example, if it has one
    of its own.
    """
    if num_levels is None:
        return _checked_floats(array, where, name)
    return _checked_levels(array, num_levels, where, name)


def _checked_floats(array: np.ndarray, where: str, name: str) -> np.ndarray:
    _check_type(array.dtype, None, where)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what float32 cannot hold becomes inf and is named below
        stored = array.astype(np.float32, copy=False)
    bad = _first_bad(np.isfinite(stored))
    if bad is not None:
        name = name or f"{where}example {bad}"
        raise ValueError(
            f"{name} has a NaN or infinite value; every value must be finite in float32"
        )
    return stored


def _checked_levels(array: np.ndarray, num_levels: int, where: str, name: str) -> np.ndarray:
    if array.dtype.kind == "f" and (bad := _first_bad(np.isfinite(array))) is not None:
        found = f"have a NaN or infinite value (the first is example {bad})"
        raise ValueError(
            f"{where}examples {found}; with num_levels={num_levels} they must be integers"
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
