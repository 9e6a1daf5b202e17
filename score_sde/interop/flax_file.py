"""Flax checkpoints of any age (msgpack) as nested dictionaries of NumPy arrays, read
without old flax.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from score_sde.runtime.bounded_reading import check_tree

ARRAY, COMPLEX, SCALAR = 1, 2, 3
"""The extension types of flax's msgpack."""

CHUNKED = "__msgpack_chunked_array__"
"""Marks an array that was too long for one piece of msgpack."""

MAX_ARRAY = 2**16
"""Elements of an array of msgpack itself, in whose place flax has dictionaries: room is
made before they are read.
"""


def read_flax(path: str | Path) -> dict[str, Any]:
    """What ``flax.serialization.to_bytes`` wrote: nested dictionaries with NumPy arrays.

    Raises:
        OSError: where the file cannot be opened.
        ValueError: in one line, where it is damaged or is no such file.
    """
    data = Path(path).read_bytes()
    try:
        tree = msgpack.unpackb(
            data, ext_hook=_extension, raw=False, strict_map_key=False, max_array_len=MAX_ARRAY
        )
        check_tree(tree, len(data))
        tree = _joined(tree)
    except Exception as error:  # whatever damaged bytes may raise
        raise ValueError(
            f"{path} is damaged, or no flax checkpoint ({type(error).__name__})"
        ) from error
    if not isinstance(tree, dict) or not tree:
        raise ValueError(f"{path} is no flax checkpoint: it holds no dictionary of arrays")
    return tree


def _extension(code: int, data: bytes) -> Any:
    if code == COMPLEX:
        return complex(*msgpack.unpackb(data))
    if code in (ARRAY, SCALAR):
        shape, name, buffer = msgpack.unpackb(data, raw=True)
        array = np.frombuffer(buffer, _dtype(name.decode())).reshape(shape)
        return array if code == ARRAY else array[()]
    raise ValueError(f"unknown extension {code}")


def _dtype(name: str) -> np.dtype[Any]:
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    if dtype.hasobject:
        raise ValueError(f"arrays of {name} are not data")
    return dtype


def _joined(tree: Any) -> Any:
    """The tree with the pieces of long arrays put together."""
    if not isinstance(tree, Mapping):
        return tree
    if CHUNKED not in tree:
        return {str(key): _joined(value) for key, value in tree.items()}
    shape = [int(tree["shape"][str(axis)]) for axis in range(len(tree["shape"]))]
    pieces = np.concatenate([np.ravel(tree["chunks"][str(i)]) for i in range(len(tree["chunks"]))])
    if math.prod(shape) != pieces.size:
        raise ValueError("the pieces of an array do not fill its shape")
    return pieces.reshape(shape)
