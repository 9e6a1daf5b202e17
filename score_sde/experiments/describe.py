"""From objects to the config that builds them: the inverse of the builders."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from score_sde.data.source import IN_MEMORY
from score_sde.experiments.score_model import Model
from score_sde.experiments.tables import FUNCTIONS, NAMED, VALUES, Table
from score_sde.objectives import ScoreMatching
from score_sde.solvers import Nodes

_INFINITE = (math.inf, -math.inf)


def described(model: Model, *, objective: ScoreMatching) -> dict[str, Any] | None:
    """The resolved config of a model that was made of objects; None where a table lacks
    one of them, such as a network of the user's own.

    The config can load the model and evaluate it. It cannot train the model again,
    because the optimizer and the data are objects of the caller's.
    """
    try:
        return {
            "seed": model.seed % 2**32,
            "sde": _section("sde", model.sde),
            "model": _network(model),
            "parameterization": _section("parameterization", model.parameterization),
            "objective": _section("objective", objective),
            "optim": {"name": "given"},
            "sampling": {
                **_section("sampling", model.sampler),
                **_options("sampling", model.drawing),
            },
            "data": {"source": IN_MEMORY, **_scaling(model)},
            "training": {},
            "eval": _options("eval", model.evaluating),
            "example": _example(model),
        }
    except UnnamedError:
        return None


class UnnamedError(Exception):
    """No table has a name for an object."""


def _network(model: Model) -> dict[str, Any]:
    if model.network.section is None:
        raise UnnamedError
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in model.network.section
    }


def _scaling(model: Model) -> dict[str, Any]:
    scaling = model.scaling
    return {} if scaling.num_levels is None else {"centered": scaling.centered}


def _example(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = {"shape": list(model.shape), "num_levels": model.scaling.num_levels}
    return found if model.condition is None else {**found, "conditional": True}


def _section(section: str, value: Any) -> dict[str, Any]:
    """The section of a config whose ``name`` and keys construct a value."""
    return {"name": name_in(NAMED[section], type(value)), **_options(section, value)}


def _options(section: str, value: Any) -> dict[str, Any]:
    """The attributes of a frozen value as keys of a section, without attributes at an
    infinite default, which a config cannot state.
    """
    if not dataclasses.is_dataclass(value):
        raise UnnamedError
    found = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {
        field.name: plain_value(section, field.name, each)
        for field, each in found.items()
        if not (each in _INFINITE and each == field.default)
    }


def plain_value(section: str, key: str, value: Any) -> Any:
    """The value of a key as a config states it.

    Raises:
        UnnamedError: where a config cannot state it.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UnnamedError  # JSON has no such number
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if key == "grid" and isinstance(value, Nodes):
        return list(value.times)
    if isinstance(value, tuple):
        return [plain_value(section, "", item) for item in value]
    if key in FUNCTIONS:
        table = FUNCTIONS[key]
        if value in table.values():
            return name_in(table, value)
        for name, found in table.items():
            if dataclasses.is_dataclass(found) and type(found) is type(value):
                return {"name": name, **_options(section, value)}
    if key in VALUES and f"{section}.{key}" in NAMED:
        return _section(f"{section}.{key}", value)
    raise UnnamedError


def name_in(table: Table | Mapping[str, Any], value: Any) -> str:
    """The name of an entry of a table.

    Raises:
        UnnamedError: where it has none.
    """
    for name, found in table.items():
        if found == value:
            return name
    raise UnnamedError
