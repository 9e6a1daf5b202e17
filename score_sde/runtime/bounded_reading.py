"""Bounds on what a foreign file may make its reader allocate, by its own size."""

import gzip
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MAX_DEPTH = 64
"""Levels of nested dictionaries and lists; those of a published checkpoint or config
are ten at most.
"""

MAX_RATIO = 200
"""Bytes that a byte of a compressed file may stand for: zlib reaches a thousand, for
nothing but zeros; data sets of drawn shapes reach a hundred.
"""

ALWAYS = 2**26
"""Bytes that any file may unfold to."""


def check_tree(tree: Any, num_bytes: int) -> None:
    """Refuse a tree that is nested too deeply, refers to itself, or has more nodes than
    the file of it has bytes.

    A pickle may hold one dictionary in two places of another, that one in two places of
    a third, and so on: a thousand bytes are then a tree of ``2^100`` leaves for whoever
    walks over it.

    Raises:
        ValueError: where that is so.
    """
    known: dict[int, tuple[int, int]] = {}  # the nodes below and the levels, of those that are done
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
                raise ValueError("damaged: what it holds is repeated more often than it has bytes")
            depth = height
        elif children and id(node) not in known:
            open_.append((node, True, depth))
            open_.extend((child, False, depth + 1) for child in children)
        if depth > MAX_DEPTH:
            raise ValueError(
                f"damaged: it is nested more than {MAX_DEPTH} levels deep, or holds itself"
            )


def arrays_in(tree: Any) -> list[np.ndarray]:
    """All arrays in a tree that was checked; unlike for JAX, its keys need not be sortable."""
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


def one_line(error: BaseException) -> str:
    """The message of an error in one line of at most 300 characters, since it may quote a file."""
    return " ".join(str(error).split())[:300]


def parsed_json(text: str | bytes) -> Any:
    """A value from JSON.

    Raises:
        ValueError: where it is no JSON, or nested more than ``MAX_DEPTH`` levels deep.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_tree(found, len(text) + 1)
    return found


def read_json(path: Path) -> Any:
    """The value in a file of JSON, as `parsed_json` reads it."""
    return parsed_json(path.read_bytes().decode("utf-8"))


def allowed(num_bytes: int) -> int:
    """How many bytes a compressed file of ``num_bytes`` may unfold to."""
    return max(ALWAYS, MAX_RATIO * num_bytes)


def check_unfolded(unfolded: int, num_bytes: int) -> None:
    """Refuse data that unfold to more than that.

    Raises:
        ValueError: in one line.
    """
    if unfolded > allowed(num_bytes):
        raise ValueError(
            f"{num_bytes} compressed bytes unfold to {unfolded}, which is more than {MAX_RATIO} "
            "times as many: "
            "if it is to be so, save it without compression"
        )


def unzipped(path: Path) -> bytes:
    """The bytes of a file compressed by gzip.

    Raises:
        ValueError: where they are more than it may unfold to.
        EOFError, OSError, zlib.error: where it is damaged.
    """
    most = allowed(path.stat().st_size)
    with gzip.open(path) as stream:
        found = stream.read(most + 1)
    check_unfolded(len(found), path.stat().st_size)
    return found


def check_member(entry: zipfile.ZipInfo, path: Path) -> None:
    """Refuse a member of an archive that unfolds to more than it may.

    Raises:
        ValueError: in one line.
    """
    check_unfolded(entry.file_size, min(entry.compress_size, path.stat().st_size))
