"""Parameters in one file that says what they are: safetensors, with a fingerprint of
everything in it.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from score_sde.runtime.bounded_reading import MAX_DEPTH, one_line, parsed_json
from score_sde.runtime.fingerprints import array_checksum, crc32, named_leaves
from score_sde.runtime.unreadable import opening
from score_sde.typing import Params

CARD = "score_sde"
"""The key of the file's metadata under which the facts and the fingerprints are, as JSON."""


def write_tensors(path: Path, params: Params, facts: Mapping[str, Any]) -> None:
    """Write parameters and what is to be known of them; the file appears whole, in
    place of any other, or not at all.

    Equal parameters and facts give equal bytes.

    Args:
        path: where; the folder must be there.
        params: the parameters, in nested dictionaries.
        facts: plain values by name.
    """
    tensors = named(params)
    card = {
        "facts": dict(facts),
        "fingerprints": {name: array_checksum(value) for name, value in tensors.items()},
    }
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        save_file(tensors, temporary, metadata={CARD: _text({**card, "checksum": _checksum(card)})})
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process has left of files that it was writing."""
    for path in folder.glob(".*.safetensors-*"):
        path.unlink(missing_ok=True)


class TensorFile:
    """A file of parameters, open for reading: each tensor is checked when it is read.

    Attributes:
        path: the file.
        facts: what is known of the parameters.
        names: the paths of the tensors, in order.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file
        self.facts, self._fingerprints = _read_card(path, file.metadata() or {})
        self.names = sorted(self._fingerprints)
        if set(self.names) != set(file.keys()):
            raise ValueError(f"{path} is damaged: its tensors are not those that were written")

    def read(self, name: str) -> np.ndarray:
        """One tensor.

        Raises:
            ValueError: where it is not the one that was written.
        """
        value = self._file.get_tensor(name)
        if array_checksum(value) != self._fingerprints[name]:
            raise ValueError(
                f"{self.path} is damaged: {name} has another fingerprint than was written"
            )
        return value


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a file of `write_tensors`.

    Raises:
        OSError: where it is missing, or cannot be read (`UnreadableError`).
        ValueError: in one line, where it is damaged.
    """
    with opening("the parameters", path), path.open("rb") as stream:
        stream.read(1)  # safetensors says of every file that it cannot open that it is not there
    try:
        with safe_open(path, framework="numpy") as file:
            yield TensorFile(path, file)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {one_line(error)}") from None


def named(params: Params) -> dict[str, np.ndarray]:
    """The arrays in nested dictionaries by their paths, such as ``conv_in/kernel``."""
    return {name: np.asarray(leaf, order="C") for name, leaf in named_leaves(params).items()}


def nested(tensors: Mapping[str, np.ndarray]) -> Params:
    """Nested dictionaries of arrays from their paths.

    Raises:
        ValueError: where a path is that of a dictionary of others, or has too many
            parts.
    """
    params: dict[str, Any] = {}
    for name, value in tensors.items():
        *parents, last = name.split("/")
        if len(parents) > MAX_DEPTH:
            raise ValueError(f"the name of a tensor has more than {MAX_DEPTH} parts")
        place = params
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{name!r:.200} lies below another tensor")
        if last in place:
            raise ValueError(f"{name!r:.200} lies above another tensor")
        place[last] = value
    return params


def _read_card(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        card = parsed_json(metadata[CARD])
        checksum = card.pop("checksum")
        facts, fingerprints = card["facts"], card["fingerprints"]
        intact = checksum == _checksum(card)
        if not (isinstance(facts, dict) and isinstance(fingerprints, dict)):
            raise TypeError
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged: it does not say what it holds") from None
    if not intact:
        raise ValueError(
            f"{path} is damaged: what it says of itself has another checksum than was written"
        )
    return facts, fingerprints


def _checksum(card: Mapping[str, Any]) -> int:
    return crc32(_text(card).encode())


def _text(card: Mapping[str, Any]) -> str:
    return json.dumps(card, sort_keys=True)
