"""Flax checkpoints (msgpack) of all versions as nested dictionaries of NumPy arrays, read
without flax.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from score_sde.runtime.bounded_reading import check_tree
from score_sde.runtime.damage import WrongBytesError, need, need_format, reading

ARRAY, COMPLEX, SCALAR = 1, 2, 3
"""The extension types of flax's msgpack."""

CHUNKED = "__msgpack_chunked_array__"
"""Marks an array that is stored in several chunks, as msgpack limits their length."""

MAX_ARRAY = 2**16
"""The most elements of an array of msgpack, for which memory is allocated before they are
read; flax writes dictionaries in place of long ones.
"""


def read_flax(path: str | Path) -> dict[str, Any]:
    """Read a file of ``flax.serialization.to_bytes``: nested dictionaries with NumPy arrays.

    Raises:
        OSError: where the file cannot be opened.
        FileError: where it is damaged or is no such file.
    """
    data = Path(path).read_bytes()
    with reading(path, "is damaged, or no flax checkpoint"):
        tree = msgpack.unpackb(
            data, ext_hook=_extension, raw=False, strict_map_key=False, max_array_len=MAX_ARRAY
        )
        check_tree(tree, len(data))
        tree = _joined(tree)
        is_dictionary = isinstance(tree, dict) and len(tree) > 0
        need_format(is_dictionary, "it is no flax checkpoint: it holds no dictionary of arrays")
        return tree


def _extension(code: int, data: bytes) -> Any:
    if code == COMPLEX:
        return complex(*msgpack.unpackb(data))
    if code in (ARRAY, SCALAR):
        shape, name, buffer = msgpack.unpackb(data, raw=True)
        array = np.frombuffer(buffer, _dtype(name.decode())).reshape(shape)
        return array if code == ARRAY else array[()]
    raise WrongBytesError(f"unknown extension {code}")


def _dtype(name: str) -> np.dtype[Any]:
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    need(not dtype.hasobject, "it holds arrays of Python objects")
    return dtype


def _joined(tree: Any) -> Any:
    """The tree with the chunks of long arrays joined."""
    if not isinstance(tree, Mapping):
        return tree
    if CHUNKED not in tree:
        return {str(key): _joined(value) for key, value in tree.items()}
    shape = [int(tree["shape"][str(axis)]) for axis in range(len(tree["shape"]))]
    chunks = np.concatenate([np.ravel(tree["chunks"][str(i)]) for i in range(len(tree["chunks"]))])
    need(math.prod(shape) == chunks.size, "the chunks of an array do not fill its shape")
    return chunks.reshape(shape)
