"""Bounds on the memory that reading a foreign file takes, by the size of the file."""

import gzip
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from score_sde import checks

MAX_DEPTH = 64
"""The most levels of nested dictionaries and lists. Published checkpoints and configs have
at most ten.
"""

MAX_RATIO = 200
"""The largest compression ratio. Zlib reaches a thousand for zeros alone, and a hundred for
data sets of drawn shapes.
"""

ALWAYS = 2**26
"""The decompressed bytes that a file of any size may have."""


def check_tree(tree: Any, num_bytes: int) -> None:
    """Check that a tree is not nested too deeply, does not contain itself, and has no more
    nodes than its file has bytes.

    A pickle may hold one dictionary in two places of another, that one in two places of
    a third, and so on: a thousand bytes are then a tree of ``2^100`` leaves.

    Raises:
        ValueError: where it fails one of the checks.
    """
    known: dict[int, tuple[int, int]] = {}  # the number of nodes and the height of finished nodes
    open_: list[tuple[Any, bool, int]] = [(tree, False, 0)]
    while open_:
        node, is_done, depth = open_.pop()
        children = _children(node)
        if is_done:
            below = [known.get(id(child), (1, 0)) for child in children]
            count, height = (
                1 + sum(count for count, _ in below),
                1 + max(height for _, height in below),
            )
            known[id(node)] = (count, height)
            if count > num_bytes:
                raise ValueError("damaged: its content is repeated more often than it has bytes")
            depth = height
        elif children and id(node) not in known:
            open_.append((node, True, depth))
            open_.extend((child, False, depth + 1) for child in children)
        if depth > MAX_DEPTH:
            raise ValueError(
                f"damaged: it is nested more than {MAX_DEPTH} levels deep, or contains itself"
            )


def arrays_in(tree: Any) -> list[np.ndarray]:
    """All arrays in a tree that `check_tree` passed. Unlike in JAX, keys need not be sortable."""
    found, left = [], [tree]
    while left:
        node = left.pop()
        left += _children(node)
        found += [node] if isinstance(node, np.ndarray) else []
    return found


def _children(node: Any) -> list[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    return list(node) if isinstance(node, list | tuple) else []


def parsed_json(text: str | bytes) -> Any:
    """A value from JSON.

    Raises:
        ValueError: where the text is no JSON, or nested more than ``MAX_DEPTH`` levels deep.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_tree(found, len(text) + 1)
    return found


def read_json(path: Path) -> Any:
    """The value in a JSON file, read by `parsed_json`."""
    return parsed_json(path.read_bytes().decode("utf-8"))


def read_yaml(path: Path) -> Any:
    """The plain values in a YAML file: no tag of it makes an object.

    Raises:
        ValueError: where the file is no YAML, or nested more than ``MAX_DEPTH`` levels deep.
    """
    import yaml

    data = path.read_bytes()
    try:
        found = yaml.safe_load(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}") from None
    check_tree(found, len(data) + 1)
    return found


def allowed(num_bytes: int) -> int:
    """The decompressed bytes that a compressed file of ``num_bytes`` may have."""
    return max(ALWAYS, MAX_RATIO * num_bytes)


def check_unfolded(unfolded: int, num_bytes: int) -> None:
    """Check that ``num_bytes`` compressed bytes do not stand for more than `allowed`.

    Raises:
        ValueError: where they do.
    """
    checks.require(
        unfolded <= allowed(num_bytes),
        f"{num_bytes} compressed bytes unfold to {unfolded}, more than {MAX_RATIO} times as many: "
        "if that is intended, save it without compression",
    )


def unzipped(path: Path) -> bytes:
    """The bytes of a file compressed by gzip.

    Raises:
        ValueError: where they are more than `allowed`.
        EOFError, OSError, zlib.error: where it is damaged.
    """
    most = allowed(path.stat().st_size)
    with gzip.open(path) as stream:
        found = stream.read(most + 1)
    check_unfolded(len(found), path.stat().st_size)
    return found


def check_member(entry: zipfile.ZipInfo, path: Path) -> None:
    """Check the size of a member of an archive, before it is decompressed.

    Raises:
        ValueError: where it is more than `allowed`.
    """
    check_unfolded(entry.file_size, min(entry.compress_size, path.stat().st_size))
