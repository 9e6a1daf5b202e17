"""Fingerprints of data, by which data are recognised wherever they lie."""

from typing import Any

import jax
import numpy as np

from score_sde.data.examples import Examples, is_array
from score_sde.data.source import DataSource
from score_sde.runtime.fingerprints import digest, sha256, type_and_shape

NUM_WITNESSES = 64
"""The number of examples of files from which `data_fingerprint` is computed: a run reads
them whenever it starts.
"""


def examples_digest(examples: Examples, conditions: Any, *, num_witnesses: int) -> str:
    """The SHA-256 of the type, shape and values of examples and of their conditions.

    Examples in files are represented by ``num_witnesses`` of them, evenly spread.

    Raises:
        ValueError, OSError: where an example cannot be read.
    """
    head = type_and_shape(examples).encode()
    if not is_array(examples):
        num = min(num_witnesses, len(examples))
        rows = np.linspace(0, len(examples) - 1, num).round().astype(np.int64)
        examples = examples[rows]
    leaves = jax.tree.leaves([examples, conditions])
    return sha256([head, *(np.ascontiguousarray(values).data for values in leaves)])


def data_fingerprint(source: DataSource) -> str | None:
    """The fingerprint of both splits of a data set; None where an example that it needs
    cannot be read, which the training reports when it comes to that example.
    """
    try:
        splits = [
            examples_digest(each, conditions, num_witnesses=NUM_WITNESSES)
            for each, conditions in (
                (source.train, source.conditions("train")),
                (source.test, source.conditions("test")),
            )
        ]
    except (ValueError, OSError):
        return None
    return digest({"num_levels": source.num_levels, "splits": splits})
