"""PyTorch checkpoints as NumPy arrays, read without torch and without running the code
that a pickle names.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from score_sde.runtime.bounded_reading import check_tree
from score_sde.runtime.damage import (
    FormatError,
    WrongBytesError,
    errors_in,
    need,
    need_format,
    reading,
)

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a checkpoint written before torch 1.6."""

DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


class _StorageType(NamedTuple):
    dtype: np.dtype[Any]


class _Storage(NamedTuple):
    values: np.ndarray | None
    """None in the first pass over an old file, which only finds its storages."""


Fetch = Callable[[str, np.dtype[Any], int], _Storage]
"""``(key, dtype, number of elements) ->`` the storage of that key."""

MAX_AXES, MAX_SIZE = 16, 2**62
"""The most axes of a tensor, and the limit of offsets, sizes and strides."""

SHARING = 4
"""The number of times that each byte of a file may appear in tensors that share storages."""


def read_torch(path: str | Path) -> Any:
    """Read a file of ``torch.save``: dictionaries, lists, numbers and texts, with NumPy
    arrays for the tensors.

    The format of torch 1.6 and later and the older one are read. Only the few names that
    make up tensors are known; any other name in a pickle is an error, and not run.

    Raises:
        OSError: where the file cannot be opened.
        FileError: where it is damaged, is no checkpoint, or asks to run code.
    """
    data = Path(path).read_bytes()
    with reading(path, "is damaged, or no PyTorch checkpoint"):
        found = _read_zip(data) if zipfile.is_zipfile(io.BytesIO(data)) else _read_old(data)
    with errors_in(path):
        check_tree(found, len(data))
    return found


def _no_extension(unpickler: Any) -> None:
    raise FormatError("it asks to run a registered extension, and a checkpoint needs no code")


def _no_set(unpickler: Any) -> None:
    raise FormatError("the file holds a set, and a checkpoint holds dictionaries and lists")


# The unpickler in Python rather than in C: a number in a damaged file makes the one in C
# allocate without bound.
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _Unpickler(_PythonUnpickler):
    """An unpickler of tensors and ordered dictionaries, and nothing else.

    The size of the file bounds the result: tensors by ``budget``, the bytes that may still
    be copied into them, and the rest by the length of the pickle. Keys must be texts and
    numbers, as hashing nested tuples may take exponential time.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        **_PythonUnpickler.dispatch,
        **{code[0]: _no_extension for code in (pickle.EXT1, pickle.EXT2, pickle.EXT4)},
        **{code[0]: _no_set for code in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)},
    }

    def __init__(self, file: io.BytesIO, fetch: Fetch, budget: int = 0) -> None:
        super().__init__(file, encoding="latin1")
        self._fetch, self._budget = fetch, budget

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if module == "torch" and name in DTYPES:
            return _StorageType(DTYPES[name])
        asked = f"{module}.{name}"[:80]
        raise FormatError(
            f"it asks to run {asked if asked.isprintable() else repr(asked)}, and a checkpoint "
            "needs no code"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, size = pid[:5]
        if not isinstance(storage, _StorageType):
            raise WrongBytesError("a tensor points at no storage")
        need(kind == "storage" and isinstance(key, str | int), "a tensor points at no storage")
        return self._fetch(str(key), storage.dtype, _number(size))

    def _tensor(
        self, storage: _Storage, offset: Any, size: Any, stride: Any, *_: Any
    ) -> np.ndarray | None:
        if storage.values is None:
            return None
        view = _view(storage.values, _number(offset), _shape(size), _shape(stride))
        self._budget -= view.nbytes
        need(
            self._budget >= 0,
            f"its tensors together are more than {SHARING} times as large as the file",
        )
        return view.copy()

    def load_build(self) -> None:
        self.stack.pop()  # the state, such as the version of each module, is not needed
        is_dictionary = isinstance(self.stack[-1], OrderedDict)
        need_format(is_dictionary, "the file sets attributes of an object that is no dictionary")

    dispatch[pickle.BUILD[0]] = load_build

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        _check_keys(self.stack[::2])
        super().load_setitems()

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    dispatch[pickle.DICT[0]] = load_dict


def _check_keys(keys: Sequence[Any]) -> None:
    are_plain = all(isinstance(key, str | int | float) for key in keys)
    need_format(are_plain, "a key of a dictionary is neither a text nor a number")


def _number(value: Any) -> int:
    is_number = isinstance(value, int) and 0 <= value < MAX_SIZE
    need(is_number, "the place of a tensor is no number from 0 to 2**62")
    return int(value)


def _shape(values: Any = ()) -> tuple[int, ...]:
    is_shape = isinstance(values, tuple | list) and len(values) <= MAX_AXES
    need(is_shape, f"a shape is no tuple of {MAX_AXES} numbers at most")
    return tuple(map(_number, values))


def _view(
    values: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> np.ndarray:
    """The view on a storage, checked to lie within it."""
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    need(
        count <= values.size and (not count or last < values.size),
        f"a tensor of shape {size} does not fit its storage of {values.size}",
    )
    steps = tuple(step * values.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _device(*names: Any) -> str:
    return ":".join(str(name) for name in names if isinstance(name, str | int))


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    pairs = list(pairs)
    _check_keys([pair[0] for pair in pairs])
    return OrderedDict(pairs)


KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _shape,
    ("torch", "device"): _device,
}
"""All functions that a pickle may call, besides the unpickler's own ``_tensor``."""


def _read_zip(data: bytes) -> Any:
    """The format since torch 1.6: a zip archive of one pickle and one file a storage,
    nothing compressed.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        is_plain = all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        need(is_plain, "a checkpoint is not compressed inside")
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        need_format(
            len(names) == 1, "it is a zip archive without a PyTorch checkpoint (data.pkl) inside"
        )
        root = names[0].removesuffix("data.pkl")
        members = {info.filename: info.file_size for info in archive.infolist()}
        storages: dict[str, _Storage] = {}
        left = len(data)

        def fetch(key: str, dtype: np.dtype[Any], size: int) -> _Storage:
            nonlocal left
            if key not in storages:
                left -= members[f"{root}data/{key}"]
                # Members of a forged archive may overlap.
                need(left >= 0, "its storages together are larger than the file")
                storages[key] = _Storage(_elements(archive.read(f"{root}data/{key}"), dtype, size))
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(names[0])), fetch, SHARING * len(data)).load()


def _read_old(data: bytes) -> Any:
    """The format before torch 1.6: pickles of the header and the object, the storages'
    keys, then their bytes.
    """
    file = io.BytesIO(data)

    def nothing(key: str, dtype: np.dtype[Any], size: int) -> _Storage:
        raise WrongBytesError("a tensor in the header")

    need_format(_Unpickler(file, nothing).load() == MAGIC, "it is no PyTorch checkpoint")
    for _ in ("protocol", "system"):
        _Unpickler(file, nothing).load()
    start, wanted = file.tell(), dict[str, tuple[np.dtype[Any], int]]()

    def note(key: str, dtype: np.dtype[Any], size: int) -> _Storage:
        wanted[key] = (dtype, size)
        return _Storage(None)

    _Unpickler(file, note).load()
    storages = {}
    for key in map(str, _Unpickler(file, nothing).load()):
        dtype, size = wanted[key]
        stored = int.from_bytes(file.read(8), "little")
        need(stored == size, "a storage has another size than its tensors say")
        storages[key] = _Storage(_elements(file.read(size * dtype.itemsize), dtype, size))
    file.seek(start)
    return _Unpickler(file, lambda key, dtype, size: storages[key], SHARING * len(data)).load()


def _elements(data: bytes, dtype: np.dtype[Any], size: int) -> np.ndarray:
    need(
        len(data) == size * dtype.itemsize,
        f"a storage of {size} elements has {len(data)} bytes",
    )
    return np.frombuffer(data, dtype.newbyteorder("<") if dtype.isbuiltin else dtype)
