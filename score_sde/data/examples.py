"""Examples that are read when they are asked for: arrays in memory, and what is like them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from jaxtyping import Int

Rows: TypeAlias = slice | Int[np.ndarray, " b"]
"""Which examples: their numbers, in any order, or a slice."""

LAZY_ABOVE = 2**30
"""Examples of more bytes than this stay in their files, unless it is said otherwise."""


@runtime_checkable
class Examples(Protocol):
    """What NumPy's arrays and memory maps can do, as far as a data set needs it."""

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
    """Examples in files, each read whenever it is asked for.

    Attributes:
        shape: ``(n, *shape)``: the number of examples and the shape of one.
        dtype: the type of a value.
        read: the example of a row, of this shape and type. It may be called from
            several threads or processes, and raises ``ValueError`` or ``OSError`` with
            the row and the name of the file that it cannot read.
        name: what an example is called where something is wrong with it, ``images.npy:
            example 3``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int], np.ndarray]
    name: Callable[[int], str] = "example {}".format

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | Rows) -> np.ndarray:
        """The examples of these rows, one after the other; or the one example of a number.

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
        if copy is False:
            raise ValueError("examples in files cannot be had without copying them into memory")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


def in_memory_or_lazy(examples: Examples, in_memory: bool | None) -> Examples:
    """All examples as one array; or as they are, if that is asked for or they have more
    than ``LAZY_ABOVE`` bytes.
    """
    return (
        examples
        if is_lazy(in_memory, examples.shape, np.dtype(examples.dtype))
        else np.asarray(examples[:])
    )


def is_lazy(in_memory: bool | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array stays in its file: where ``in_memory`` is None, if it has more
    than ``LAZY_ABOVE`` bytes.
    """
    if in_memory is not None:
        return not in_memory
    num_bytes = dtype.itemsize
    for size in shape:
        num_bytes *= size
    return num_bytes > LAZY_ABOVE


def is_array(examples: Examples) -> bool:
    """Whether the examples are in memory: an array, but no memory map of a file."""
    return isinstance(examples, np.ndarray) and not isinstance(examples, np.memmap)


def example(examples: Examples, row: int) -> np.ndarray:
    """One example, read now."""
    return (
        examples.read(row)
        if isinstance(examples, LazyExamples)
        else np.array(examples[row : row + 1])[0]
    )


def selected(examples: Examples, rows: Int[np.ndarray, " m"]) -> Examples:
    """The examples of these rows: a copy of those of an array, else a view, by which
    nothing is read yet.

    An example keeps the name that it has among all.
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
    """The first ``count`` examples, or all: a view, by which nothing is read yet."""
    if count is None or count >= len(examples):
        return examples
    return (
        examples[:count]
        if isinstance(examples, np.ndarray)
        else selected(examples, np.arange(count))
    )


def name_of(examples: Examples, row: int) -> str:
    """What an example is called where something is wrong with it."""
    if isinstance(examples, LazyExamples):
        return examples.name(row)
    file = getattr(examples, "filename", None)  # of a memory map
    return f"example {row}" if file is None else f"{file}: example {row}"
