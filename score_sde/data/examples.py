"""Examples that are read when they are asked for: arrays in memory, and what is like them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from jaxtyping import Int

Rows: TypeAlias = slice | Int[np.ndarray, " b"]
"""Which examples: their numbers, in any order, or a slice."""


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
        read: the example of a row, of this shape and type. It may be called from several threads or processes, and
            raises ``ValueError`` or ``OSError`` with the name of the file that it cannot read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """The examples of these rows, one after the other.

        Raises:
            IndexError: where there is no such row.
        """
        chosen = np.arange(len(self))[rows]
        found = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for place, row in enumerate(chosen):
            found[place] = self.read(int(row))
        return found
