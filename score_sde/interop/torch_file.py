"""PyTorch checkpoints as NumPy arrays, read without torch and without running what a
pickle asks for.
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
    """None in the pass over an old file that only learns where its storages are."""


Fetch = Callable[[str, np.dtype[Any], int], _Storage]
"""``(key, dtype, number of elements) ->`` the storage of that key."""

MAX_AXES, MAX_SIZE = 16, 2**62
"""The most axes of a tensor, and the limit of offsets, sizes and strides."""

SHARING = 4
"""How often each byte of a file may appear in the tensors that share storages."""


def read_torch(path: str | Path) -> Any:
    """What ``torch.save`` wrote: dictionaries, lists, numbers and texts, with NumPy
    arrays for the tensors.

    Both formats are read, that of torch 1.6 and later and the older one. Only the
    handful of names that make up tensors are known; whatever else a pickle names is
    refused, not run.

    Raises:
        OSError: where the file cannot be opened.
        ValueError: in one line, where it is damaged, is no checkpoint, or asks to run
            code.
    """
    data = Path(path).read_bytes()
    try:
        found = _read_zip(data) if zipfile.is_zipfile(io.BytesIO(data)) else _read_old(data)
    except _RefusedError as refusal:
        raise ValueError(f"{path}: {refusal}") from None
    except Exception as error:  # whatever damaged bytes may raise
        raise ValueError(
            f"{path} is damaged, or no PyTorch checkpoint ({type(error).__name__})"
        ) from error
    try:
        check_tree(found, len(data))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return found


class _RefusedError(ValueError):
    """A reason that says what is wrong."""


def _refuse_extension(unpickler: Any) -> None:
    raise _RefusedError(
        "refused: the file asks to run a registered extension, and a checkpoint needs no code"
    )


def _refuse_set(unpickler: Any) -> None:
    raise _RefusedError(
        "refused: the file holds a set, and a checkpoint holds dictionaries and lists"
    )


# The unpickler in Python rather than that in C: a number in a damaged file makes the
# latter allocate without bound.
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _Unpickler(_PythonUnpickler):
    """Knows tensors and ordered dictionaries, and nothing else.

    What it makes is bounded by the file: tensors by ``budget``, the bytes that may yet
    be copied into them, and the rest by the pickle's length, for keys are texts and
    numbers: to hash a tuple of tuples would take exponential time.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        **_PythonUnpickler.dispatch,
        **{code[0]: _refuse_extension for code in (pickle.EXT1, pickle.EXT2, pickle.EXT4)},
        **{code[0]: _refuse_set for code in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)},
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
        raise _RefusedError(
            f"refused: the file asks to run {asked if asked.isprintable() else repr(asked)}, "
            "and a checkpoint needs no code"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, size = pid[:5]
        if (
            kind != "storage"
            or not isinstance(storage, _StorageType)
            or not isinstance(key, str | int)
        ):
            raise _RefusedError("damaged: a tensor points at no storage")
        return self._fetch(str(key), storage.dtype, _number(size))

    def _tensor(
        self, storage: _Storage, offset: Any, size: Any, stride: Any, *_: Any
    ) -> np.ndarray | None:
        if storage.values is None:
            return None
        view = _view(storage.values, _number(offset), _shape(size), _shape(stride))
        self._budget -= view.nbytes
        if self._budget < 0:
            raise _RefusedError(
                f"damaged: its tensors together are more than {SHARING} times as large as the file"
            )
        return view.copy()

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict):
            raise _RefusedError("refused: the file sets the attributes of what is no dictionary")
        del state  # such as the version of each module, which no reader asks for

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
    if not all(isinstance(key, str | int | float) for key in keys):
        raise _RefusedError("refused: a key of a dictionary is neither a text nor a number")


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < MAX_SIZE:
        raise _RefusedError("damaged: the place of a tensor is no number from 0 to 2**62")
    return int(value)


def _shape(values: Any = ()) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > MAX_AXES:
        raise _RefusedError(f"damaged: a shape is no tuple of {MAX_AXES} numbers at most")
    return tuple(map(_number, values))


def _view(
    values: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> np.ndarray:
    """The view on a storage, checked to lie within it."""
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > values.size or (count and last >= values.size):
        raise _RefusedError(
            f"damaged: a tensor of shape {size} does not fit its storage of {values.size}"
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
"""All that a pickle may call, besides the unpickler's own ``_tensor``."""


def _read_zip(data: bytes) -> Any:
    """The format since torch 1.6: a zip archive of one pickle and one file a storage,
    nothing compressed.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise _RefusedError("damaged: a checkpoint is not compressed inside")
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise _RefusedError(
                "it is a zip archive without a PyTorch checkpoint (data.pkl) inside"
            )
        root = names[0].removesuffix("data.pkl")
        members = {info.filename: info.file_size for info in archive.infolist()}
        storages: dict[str, _Storage] = {}
        left = len(data)

        def fetch(key: str, dtype: np.dtype[Any], size: int) -> _Storage:
            nonlocal left
            if key not in storages:
                left -= members[f"{root}data/{key}"]
                if left < 0:  # members of a forged archive may lie on top of each other
                    raise _RefusedError("damaged: its storages together are larger than the file")
                storages[key] = _Storage(_elements(archive.read(f"{root}data/{key}"), dtype, size))
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(names[0])), fetch, SHARING * len(data)).load()


def _read_old(data: bytes) -> Any:
    """The format before torch 1.6: pickles of the header and the object, the storages'
    keys, then their bytes.
    """
    file = io.BytesIO(data)

    def nothing(key: str, dtype: np.dtype[Any], size: int) -> _Storage:
        raise _RefusedError("damaged: a tensor in the header")

    if _Unpickler(file, nothing).load() != MAGIC:
        raise _RefusedError("it is no PyTorch checkpoint")
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
        if int.from_bytes(file.read(8), "little") != size:
            raise _RefusedError("damaged: a storage has another size than its tensors say")
        storages[key] = _Storage(_elements(file.read(size * dtype.itemsize), dtype, size))
    file.seek(start)
    return _Unpickler(file, lambda key, dtype, size: storages[key], SHARING * len(data)).load()


def _elements(data: bytes, dtype: np.dtype[Any], size: int) -> np.ndarray:
    if len(data) != size * dtype.itemsize:
        raise _RefusedError(f"damaged: a storage of {size} elements has {len(data)} bytes")
    return np.frombuffer(data, dtype.newbyteorder("<") if dtype.isbuiltin else dtype)
