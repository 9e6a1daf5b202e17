"""What a config consists of: its sections, and the plain values that are saved with each checkpoint."""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from ml_collections import ConfigDict

from score_sde.naming import did_you_mean
from score_sde.tables import CLASSIFICATION, DEQUANTIZATION

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""A config, or its sections as plain dictionaries."""

SECTIONS = (
    "seed", "sde", "model", "parameterization", "objective", "optim", "sampling", "data", "training", "eval"
)  # fmt: skip

SCORE_MODEL, CLASSIFIER, DEQUANTIZER = "score model", "classifier", "dequantizer"
"""The kinds of models, each trained by a config of its own."""

_WITHOUT_SAMPLES = ("seed", "sde", "model", "objective", "optim", "data", "training")

SECTIONS_OF = {SCORE_MODEL: SECTIONS, CLASSIFIER: _WITHOUT_SAMPLES, DEQUANTIZER: _WITHOUT_SAMPLES}
"""The sections of the config of each kind: what has no samples has no likelihood either."""


def kind_of(config: Config) -> str:
    """What a config describes, which its objective tells: a score model, a classifier or a dequantizer."""
    objective = config.get("objective")
    name = objective.get("name") if isinstance(objective, Mapping | ConfigDict) else None
    return {CLASSIFICATION: CLASSIFIER, DEQUANTIZATION: DEQUANTIZER}.get(str(name), SCORE_MODEL)


def plain_config(config: Config) -> dict[str, Any]:
    """The config as plain dictionaries.

    Raises:
        ValueError: where a section is missing, unknown or no section, or a value is none that JSON knows.
    """
    plain = config.to_dict() if isinstance(config, ConfigDict) else config
    sections = SECTIONS_OF[kind_of(plain)]
    for section in plain:
        if section not in (*sections, "example"):
            hint = did_you_mean(str(section), sections)
            known = ", ".join(sections)
            raise ValueError(f"{_owner(section, plain)} has an unknown section {section!r}{hint}; sections: {known}")
    for section in sections:
        if section not in plain:
            lacks = f"{_owner(section, plain)} lacks the section {section!r}"
            raise ValueError(f"{lacks}; start from the defaults of configs/default.py")
        if section != "seed" and not isinstance(plain[section], Mapping):
            raise ValueError(f"{section} must be a section of keys and values, got {plain[section]!r}")
    return {section: _plain_value(section, values) for section, values in plain.items()}


def _owner(section: str, config: Config) -> str:
    """What has or lacks a section; it says of which kind the config is where another kind has that section."""
    kind = kind_of(config)
    of_some_kinds = set(SECTIONS) - set(_WITHOUT_SAMPLES)
    return f"the config of a {kind}, which its objective makes it," if section in of_some_kinds else "the config"


def _plain_value(path: str, value: Any) -> Any:
    """A value as JSON knows it, so that what is saved with a checkpoint is what was built."""
    if isinstance(value, Mapping):
        return {str(key): _plain_value(f"{path}.{key}", item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain_value(path, item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} must be a finite number, got {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{path} must be a plain value, got {type(value).__name__}; code is named as package.module:Name")
