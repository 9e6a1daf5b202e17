"""Parameters and facts about them in one file: safetensors, with a fingerprint of every
tensor and a checksum of the rest.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from score_sde.export.parameter_names import containers_of, named
from score_sde.runtime.bounded_reading import parsed_json
from score_sde.runtime.damage import FileError, need, reading
from score_sde.runtime.fingerprints import array_checksum, crc32
from score_sde.runtime.safetensors_file import (
    check_known,
    check_supported,
    read_safetensors,
    write_safetensors,
)
from score_sde.runtime.unreadable import opening
from score_sde.runtime.working_copy import fetch, publish
from score_sde.typing import Params

CARD = "score_sde"
"""The key of the facts and the fingerprints, as JSON, in the metadata of the file."""


def write_tensors(path: Path, params: Params, facts: Mapping[str, Any]) -> None:
    """Write parameters and facts about them; the file appears whole, replacing any other,
    or not at all.

    Equal parameters and facts give equal bytes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "ema.safetensors"
    ...     write_tensors(path, {"dense": {"bias": np.zeros(2)}}, {"step": 7})
    ...     with open_tensors(path) as file:
    ...         file.names, file.facts
    (['dense/bias'], {'step': 7})

    Args:
        path: the file, in a folder that exists.
        params: the parameters, any pytree of arrays.
        facts: plain values by name.

    Raises:
        ValueError: where an array is of a type that a file cannot hold.
    """
    tensors, containers = named(params), containers_of(params)
    card = {
        "facts": dict(facts),
        "fingerprints": {name: array_checksum(value) for name, value in tensors.items()},
        **({} if containers is None else {"containers": containers}),
    }
    metadata = {CARD: _text({**card, "checksum": _checksum(card)})}
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        write_safetensors(temporary, tensors, metadata)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    publish(path)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of killed processes."""
    for path in folder.glob(".*.safetensors-*"):
        path.unlink(missing_ok=True)


class TensorFile:
    """A file of parameters, open for reading: each tensor is checked when it is read.

    Attributes:
        path: the file.
        facts: the facts about the parameters.
        names: the names of the tensors, in order.
        containers: their containers, for `score_sde.export.parameter_names.nested`.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file
        card = _read_card(path, file.metadata() or {})
        self.facts, self._fingerprints = card["facts"], card["fingerprints"]
        self.containers = card.get("containers")
        self.names = sorted(self._fingerprints)
        same = set(self.names) == set(file.keys())
        need(same, "its tensors are not the ones that were written")

    def read(self, name: str) -> np.ndarray:
        """One tensor.

        Raises:
            FileError: where it is not the one that was written.
        """
        kind = self._file.get_slice(name).get_dtype()
        with reading(self.path):
            check_supported(name, kind)
            # The library lacks the types of ml_dtypes except bfloat16 when it reads one tensor.
            value = (
                read_safetensors(self.path.read_bytes())[name]
                if kind.startswith("F8")
                else self._file.get_tensor(name)
            )
            same = array_checksum(value) == self._fingerprints[name]
            need(same, f"{name} has another fingerprint than was written")
        return value


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a file of `write_tensors`.

    Raises:
        OSError: where it is missing, or cannot be read (`UnreadableError`).
        FileError: where it is damaged.
    """
    fetch(path)
    # For any file that it cannot open, safetensors reports that it does not exist.
    with opening("the parameters", path), path.open("rb") as stream:
        stream.read(1)
    with reading(path, errors=SafetensorError), _opened(path) as file:
        yield TensorFile(path, file)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        check_known(error)
        raise


def _read_card(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    without = "its metadata have no facts and fingerprints"
    try:
        card = parsed_json(metadata[CARD])
        checksum = card.pop("checksum")
        facts, fingerprints = card["facts"], card["fingerprints"]
        intact = checksum == _checksum(card)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FileError(f"{path} is damaged: {without}") from error
    need(isinstance(facts, dict) and isinstance(fingerprints, dict), without)
    need(intact, "its metadata have another checksum than was written")
    return card


def _checksum(card: Mapping[str, Any]) -> int:
    return crc32(_text(card).encode())


def _text(card: Mapping[str, Any]) -> str:
    return json.dumps(card, sort_keys=True)
