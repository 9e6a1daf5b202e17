"""Arrays as examples: images of integers, or floats of any shape, with their channels last."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from score_sde.checks import require
from score_sde.data.examples import Examples, LazyExamples

_CHANNELS = (1, 3, 4)
_FEW = 32
"""Floats with at most so many channels, fewer than pixels on a side, may be latents with
their channels first.
"""


class ArrayExamples(NamedTuple):
    """Examples, the number of their levels (None for floats), and a line for the log."""

    examples: Examples
    num_levels: int | None
    note: str = ""


def array_examples(
    array: Examples,
    path: str | Path,
    num_levels: int | None,
    channels_first: bool | None = None,
) -> ArrayExamples:
    """Images as ``[n, h, w, c]`` with their number of levels (256 by default, 2 for
    Booleans), or floats as they are.

    >>> array_examples(np.zeros((2, 4, 16, 16), np.float32), "a.npz", None, True).examples.shape
    (2, 16, 16, 4)

    Args:
        array: integers ``[n, h, w]`` or ``[n, h, w, c]``, or floats ``[n, ...]``.
        path: the file, with which messages begin.
        num_levels: the number of levels of integers.
        channels_first: whether examples are ``[c, h, w]``, and their channels are to be
            moved to the end.

    Raises:
        ValueError: where they are neither, or are integers that seem to have their
            channels first and ``channels_first`` is None.
    """
    kind, shape = array.dtype.kind, array.shape
    found = f"{path} holds {array.dtype} of shape {shape}"
    require(kind in "biuf", f"{found}; images must be integers, latents and vectors floats")
    if channels_first:
        require(len(shape) == 4, f"{found}; channels_first=True is for [n, c, h, w]")
        array = _channels_last(array)
    if kind == "f":
        require(
            num_levels is None,
            f"{found}; num_levels={num_levels} is for images of integers, so omit it",
        )
        require(len(shape) >= 2, f"{found}; floats must be [n, d] or [n, …], one row an example")
        return ArrayExamples(array, None, _hint(shape) if channels_first is None else "")
    require(
        len(shape) in (3, 4),
        f"{found}; images must be [n, h, w] or [n, h, w, c] (vectors [n, d] are floats)",
    )
    require(
        channels_first is not None or not _is_channels_first(shape),
        f"{found}, with channels first: channels_first=True moves them to the end, as "
        "x.transpose(0, 2, 3, 1) does (False takes the shape as it is)",
    )
    default = 2 if kind == "b" else 256
    images = _with_channel(array) if len(shape) == 3 else array
    return ArrayExamples(images, default if num_levels is None else num_levels)


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images ``[n, ...]`` have their channels first."""
    return len(shape) == 4 and shape[1] in _CHANNELS and min(shape[2:]) > max(_CHANNELS)


def _hint(shape: tuple[int, ...]) -> str:
    """The line about floats that may have their channels first, or an empty text."""
    is_likely = len(shape) == 4 and shape[1] <= _FEW and shape[1] < shape[2] == shape[3]
    return (
        f"examples of shape {shape[1:]} may have their channels first, and networks take them "
        "last: channels_first=True moves them to the end"
        if is_likely
        else ""
    )


def _with_channel(images: Examples) -> Examples:
    if not isinstance(images, LazyExamples):
        return images[..., None]
    return dataclasses.replace(
        images, shape=(*images.shape, 1), read=lambda row: images.read(row)[..., None]
    )


def _channels_last(images: Examples) -> Examples:
    if not isinstance(images, LazyExamples):
        return np.moveaxis(images[:], 1, -1)
    num, channels, height, width = images.shape
    return dataclasses.replace(
        images,
        shape=(num, height, width, channels),
        read=lambda row: np.moveaxis(images.read(row), 0, -1),
    )
