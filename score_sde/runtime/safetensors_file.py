"""Files of safetensors as NumPy arrays, with the types of ml_dtypes."""

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from score_sde.checks import require
from score_sde.runtime.damage import need_format

TYPES: Mapping[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "BOOL": np.bool_,
        **{f"{sign}{bits}": f"{sign.lower()}{bits // 8}" for sign in "IU" for bits in (8, 16, 32)},
        **{"I64": "i8", "U64": "u8", "F16": "f2", "F32": "f4", "F64": "f8", "C64": "c8"},
        "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    }.items()
}
"""The types of NumPy and ml_dtypes by their names in a file."""


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays to a file, with the permissions of any new file.

    Raises:
        ValueError: where an array is of a type that safetensors lacks.
    """
    for name, value in tensors.items():
        require(
            value.dtype.newbyteorder("=") in TYPES.values(),
            f"{name} is of the type {value.dtype}, which a file of safetensors cannot hold",
        )
    path.touch()
    permissions = stat.S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path, metadata=dict(metadata or {}) or None)
    path.chmod(permissions)  # the library replaces the file by one that only its owner may read


def entries_of(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The tensors in the bytes of a file, unconverted: ``dtype``, ``shape`` and ``data``.

    Raises:
        FormatError: where the file has a type that safetensors does not know.
        SafetensorError: where it is damaged.
    """
    try:
        return deserialize(data)
    except SafetensorError as error:
        check_known(error)
        raise


def check_known(error: SafetensorError) -> None:
    """Raise ``FormatError`` where an error means that a type is unknown, of a newer version
    for example.
    """
    unknown = re.search(r"unknown variant `([^`]{1,30})`", str(error))
    if unknown:
        check_supported("it", unknown[1], ())


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """The arrays in the bytes of a file by name.

    Raises:
        FormatError: where a tensor is of a type that NumPy and ml_dtypes lack.
        SafetensorError: where the bytes are damaged.
    """
    return {name: _array(name, entry) for name, entry in entries_of(data)}


def check_supported(name: str, kind: str, supported: Any = TYPES) -> None:
    """Raise ``FormatError`` unless a type of safetensors is supported."""
    need_format(kind in supported, f"{name} has the type {kind}, which is not supported")


def _array(name: str, entry: Mapping[str, Any]) -> np.ndarray:
    check_supported(name, entry["dtype"])
    dtype = TYPES[entry["dtype"]].newbyteorder("<")
    return np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
