"""A trained model as files that any language can read: the weights as safetensors, the
rest as JSON, and a model card.
"""

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError

from score_sde.checks import require
from score_sde.export.folder import CARD, README, WEIGHTS, check_free
from score_sde.export.model_card import model_card
from score_sde.export.parameter_names import containers_of, named, nested
from score_sde.runtime.atomic_files import destination
from score_sde.runtime.damage import need, read_options, reading
from score_sde.runtime.fingerprints import array_checksum
from score_sde.runtime.safetensors_file import read_safetensors, write_safetensors
from score_sde.runtime.unreadable import opening
from score_sde.runtime.working_copy import local_path, sync
from score_sde.typing import Params

FORMAT = "score_sde 1"


class Exported(NamedTuple):
    """The contents of the folder of an exported model.

    Attributes:
        step: the number of updates before the parameters were saved.
        params: the averaged parameters, as NumPy arrays in nested dictionaries, lists and
            tuples; named tuples and modules are dictionaries of their fields.
        config: the resolved config, as plain values.
    """

    step: int
    params: Params
    config: dict[str, Any]


def export_model(
    folder: str | Path,
    params: Params,
    config: Mapping[str, Any],
    *,
    step: int,
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Write a model to a new folder, which appears whole or not at all.

    ``model.safetensors`` holds each parameter under its path, such as
    ``conv_in/kernel``; ``model.json`` the resolved config, the step, for each parameter
    the CRC-32 of its type, shape and bytes, and the lists and tuples of the parameters;
    ``README.md`` describes the model to readers, who may edit it.

    >>> import numpy as np, tempfile
    >>> params = {"dense": {"bias": np.zeros(2, np.float32)}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_model(f"{folder}/model", params, {"seed": 0}, step=7)
    ...     read_exported(f"{folder}/model").step
    7

    Args:
        folder: the new folder; an empty one may exist.
        params: the parameters, any pytree of arrays. Python numbers become arrays
            without axes; named tuples and modules, dictionaries of their fields, of which
            `score_sde.load` makes what the network takes.
        config: the resolved config, as plain values.
        step: the number of updates before the parameters were saved.
        figures: results for the model card, by name.

    Raises:
        FileExistsError: where ``folder`` is not empty.
        ValueError: where an array is of a type, or a dictionary has a key, that the
            files cannot hold.
    """
    target = destination(local_path(folder))
    tensors, containers = named(params), containers_of(params)
    check_free(target)
    card: dict[str, Any] = {"format": FORMAT, "step": step, "config": dict(config)}
    card["fingerprints"] = {name: array_checksum(value) for name, value in tensors.items()}
    if containers is not None:
        card["containers"] = containers
    count = sum(value.size for value in tensors.values())
    described = model_card(
        target.absolute().name, config, step=step, num_parameters=count, figures=figures
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir()
        write_safetensors(temporary / WEIGHTS, tensors)
        text = json.dumps(card, indent=2, ensure_ascii=False)
        # A file name that is no text is escaped, as in JSON.
        (temporary / CARD).write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")
        (temporary / README).write_text(described, encoding="utf-8", errors="backslashreplace")
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(target)


def read_card(folder: str | Path) -> dict[str, Any]:
    """Read ``model.json``: the ``config``, the ``step`` and the ``fingerprints`` of the
    tensors. The weights are neither read nor checked.

    Raises:
        OSError: where the file is missing, or cannot be read (`UnreadableError`).
        ValueError: where it is damaged, or of another format.
    """
    path = Path(folder) / CARD
    with opening("the model", path.parent):
        card = read_options(path)
    kinds = {"format": str, "step": int, "config": dict, "fingerprints": dict}
    require(
        all(isinstance(card.get(key), kind) for key, kind in kinds.items()),
        f"{path} is no card of an exported model: it needs {', '.join(kinds)}",
    )
    require(
        card["format"] == FORMAT,
        f"{path} has the format {card['format']!r:.100}, this version reads {FORMAT!r}",
    )
    return card


def read_exported(folder: str | Path) -> Exported:
    """Read a model back, bit for bit.

    Raises:
        OSError: where a file is missing, or cannot be read (`UnreadableError`).
        ValueError: where a file is damaged, or a tensor is not the one that was written.
    """
    path = Path(folder)
    card = read_card(path)
    with opening("the model", path):
        weights = (path / WEIGHTS).read_bytes()
    with reading(path / WEIGHTS, errors=SafetensorError):
        tensors, expected = read_safetensors(weights), card["fingerprints"]
        for name in sorted(tensors.keys() | expected.keys()):
            need(name in expected, f"{name} is missing in {CARD}")
            need(name in tensors, f"{name}, which {CARD} names, is missing in {WEIGHTS}")
            same = array_checksum(tensors[name]) == expected[name]
            need(same, f"{name} has another fingerprint than {CARD} says")
        params = nested(tensors, card.get("containers"))
        return Exported(step=card["step"], params=params, config=card["config"])
