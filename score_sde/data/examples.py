"""Examples in memory or in files, behind one interface: the indexing of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from jaxtyping import Int

from score_sde.checks import require

Rows: TypeAlias = slice | Int[np.ndarray, " b"]
"""Rows of examples: an array of indices, in any order, or a slice."""

LAZY_ABOVE = 2**30
"""By default, examples of more bytes than this stay in their files."""


@runtime_checkable
class Examples(Protocol):
    """The part of the interface of NumPy's arrays and memory maps that data sets need.

    >>> isinstance(np.zeros((3, 2)), Examples)
    True
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, *shape)``: the number of examples and the shape of one."""
        ...

    @property
    def dtype(self) -> Any:
        """The type of a value."""
        ...

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """The examples of these rows as one array, ``[b, *shape]``."""
        ...


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LazyExamples:
    """Examples in files, each read on access.

    >>> squares = LazyExamples(shape=(5, 1), dtype=np.dtype(int), read=lambda i: np.array([i * i]))
    >>> squares[np.array([3, 1])]
    array([[9],
           [1]])

    Attributes:
        shape: ``(n, *shape)``: the number of examples and the shape of one.
        dtype: the type of a value.
        read: the example of a row, of this shape and type. It may be called from
            several threads or processes, and raises ``ValueError`` or ``OSError`` with
            the row and the file that it cannot read.
        name: the name of an example in messages, ``images.npy: example 3``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int], np.ndarray]
    name: Callable[[int], str] = "example {}".format

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | Rows) -> np.ndarray:
        """The examples of these rows, ``[b, *shape]``; for a single index, the example.

        Raises:
            IndexError: where there is no such row.
        """
        chosen = np.arange(len(self))[rows]
        if np.ndim(chosen) == 0:
            return self.read(int(chosen))
        found = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for place, row in enumerate(chosen):
            found[place] = self.read(int(row))
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, in memory."""
        require(copy is not False, "examples in files become an array only by copying them")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


def in_memory_or_lazy(examples: Examples, in_memory: bool | None) -> Examples:
    """All examples as one array; or unchanged, where `is_lazy` says so."""
    return (
        examples
        if is_lazy(in_memory, examples.shape, np.dtype(examples.dtype))
        else np.asarray(examples[:])
    )


def is_lazy(in_memory: bool | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether examples stay in their file: ``not in_memory``, or, where that is None,
    whether they have more than ``LAZY_ABOVE`` bytes.
    """
    if in_memory is not None:
        return not in_memory
    num_bytes = dtype.itemsize
    for size in shape:
        num_bytes *= size
    return num_bytes > LAZY_ABOVE


def is_array(examples: Examples) -> bool:
    """Whether the examples are in memory: an array, but not a memory map of a file."""
    return isinstance(examples, np.ndarray) and not isinstance(examples, np.memmap)


def example(examples: Examples, row: int) -> np.ndarray:
    """One example, read now."""
    return (
        examples.read(row)
        if isinstance(examples, LazyExamples)
        else np.array(examples[row : row + 1])[0]
    )


def selected(examples: Examples, rows: Int[np.ndarray, " m"]) -> Examples:
    """The examples of these rows: a copy of the rows of an array; else a view, which
    reads nothing yet and keeps the names of the examples.
    """
    if is_array(examples):
        return examples[rows]
    return LazyExamples(
        shape=(len(rows), *examples.shape[1:]),
        dtype=np.dtype(examples.dtype),
        read=lambda row: example(examples, int(rows[row])),
        name=lambda row: name_of(examples, int(rows[row])),
    )


def first(examples: Examples, count: int | None) -> Examples:
    """The first ``count`` examples, or all: a view, which reads nothing yet."""
    if count is None or count >= len(examples):
        return examples
    return (
        examples[:count]
        if isinstance(examples, np.ndarray)
        else selected(examples, np.arange(count))
    )


def name_of(examples: Examples, row: int) -> str:
    """The name of an example in messages."""
    if isinstance(examples, LazyExamples):
        return examples.name(row)
    file = getattr(examples, "filename", None)  # of a memory map
    return f"example {row}" if file is None else f"{file}: example {row}"
