"""The sections of a config, and the plain values that are saved with each checkpoint."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from score_sde import checks
from score_sde.data import DataSource, standardization
from score_sde.runtime.naming import did_you_mean, errors_of, fits

SECTIONS = (
    "seed", "sde", "model", "parameterization", "objective", "optim", "sampling", "data",
    "training", "eval"
)  # fmt: skip

WITHOUT_SAMPLES = ("seed", "sde", "model", "objective", "optim", "data", "training")
"""The sections of a config of a classifier or dequantizer, which draws no samples."""

STANDARDIZE = "standardize"
"""The key of the section ``data`` for the standardisation of continuous data."""

CLASSES = "classes"
"""The key of the section ``example`` for the names of the classes ``0 .. n - 1``."""

SKIP_DAMAGED = "skip_damaged"
"""The key of the section ``data`` for damaged examples in files: whether training skips them."""

FORMER: Mapping[str, Mapping[str, Any]] = {"ddpm": {"num_groups": 32}}
"""For each network: options whose default has changed, with the former default, which
older saved configs rely on.
"""


def with_former_options(config: Any) -> Any:
    """A saved config with the former defaults of its network made explicit; a value
    that is not a config is returned unchanged.
    """
    return _with_options(config, _changed(config)) if isinstance(config, Mapping) else config


def as_begun(config: Mapping[str, Any], saved: Any) -> dict[str, Any]:
    """A config with the options of `FORMER` that a saved config has, or had by default."""
    begun = saved.get("model") if isinstance(saved, Mapping) else None
    begun = begun if isinstance(begun, Mapping) else {}
    return _with_options(
        config, {key: begun.get(key, former) for key, former in _changed(config).items()}
    )


def with_explicit_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with options whose default has changed made explicit: None unless given."""
    return _with_options(config, dict.fromkeys(_changed(config)))


def _changed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a config's network whose default has changed, with the former default."""
    model = config.get("model")
    return FORMER.get(str(model.get("name")), {}) if isinstance(model, Mapping) else {}


def _with_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "model": {**options, **config["model"]}} if options else dict(config)


def checked_sections(
    plain: Mapping[str, Any], sections: Sequence[str], kind: str
) -> dict[str, Any]:
    """A config with these sections and values of JSON types; ``kind`` is the name of its
    kind of model in messages.

    Raises:
        ValueError: where a section is missing, unknown or not a section, or a value is
            not of a JSON type.
    """
    for section in plain:
        if section not in (*sections, "example"):
            hint = did_you_mean(str(section), sections)
            raise ValueError(
                f"{_owner(section, kind)} has an unknown section {section!r:.200}{hint}; sections: "
                f"{', '.join(sections)}"
            )
    for section in sections:
        checks.require(
            section in plain,
            f"{_owner(section, kind)} lacks the section {section!r:.200}; start from the defaults "
            "of configs/default.py",
        )
        if section != "seed" and not isinstance(plain[section], Mapping):
            checks.fail(section, plain[section], "a section of keys and values")
    found = {section: _plain_value(section, values) for section, values in plain.items()}
    if "example" in found:
        _check_example(found["example"])
    return found


def _check_example(example: Any) -> None:
    """Raise ``ValueError`` unless the section ``example`` describes an example."""
    shape = example.get("shape") if isinstance(example, dict) else None
    levels = example.get("num_levels", "missing") if isinstance(example, dict) else None
    conditional = example.get("conditional", False) if isinstance(example, dict) else None
    classes = example.get(CLASSES, []) if isinstance(example, dict) else []
    are_sizes = (
        isinstance(shape, list)
        and 0 < len(shape) <= 8
        and all(type(n) is int and 0 < n < 2**31 for n in shape)
    )
    if not are_sizes or not (levels is None or type(levels) is int):
        raise ValueError(
            "example needs shape, the positive whole numbers of an example's axes, and num_levels, "
            f"a whole number or None; got {example!r:.200}"
        )
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        checks.fail(f"example.{CLASSES}", classes, "a list of names")
    if not isinstance(conditional, bool):
        checks.fail("example.conditional", conditional, "True or False")


def _owner(section: str, kind: str) -> str:
    """The subject of a message about a section: with the kind of the config where only
    some kinds have that section.
    """
    of_some_kinds = set(SECTIONS) - set(WITHOUT_SAMPLES)
    return (
        f"the config of a {kind} (by its objective)" if section in of_some_kinds else "the config"
    )


def _plain_value(path: str, value: Any) -> Any:
    """A value as JSON has it, so that the saved config is the one that was built."""
    if isinstance(value, Mapping):
        return {str(key): _plain_value(f"{path}.{key}", item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain_value(path, item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        checks.fail(path, value, "a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{path} must be a plain value, got {type(value).__name__}; code is named as "
        "package.module:Name"
    )


def skips_damaged(data: dict[str, Any]) -> bool:
    """The value of ``data.skip_damaged``. Where it is false the key is removed from
    ``data``, so that a config with it equals a config without.
    """
    chosen = data.pop(SKIP_DAMAGED, False)
    if not isinstance(chosen, bool):
        checks.fail(f"data.{SKIP_DAMAGED}", chosen, "True or False")
    if chosen:
        data[SKIP_DAMAGED] = True
    return chosen


def fitted_standardization(data: dict[str, Any], source: DataSource) -> dict[str, list[float]]:
    """The keys ``mean`` and ``std`` of the section ``example``, measured on the training
    data where ``data.standardize`` is true.

    Where it is false the key is removed from ``data``, so that a config with it equals a
    config without.

    Raises:
        ValueError: where the data cannot be standardised.
    """
    chosen = data.pop(STANDARDIZE, False)
    if not isinstance(chosen, bool):
        checks.fail(f"data.{STANDARDIZE}", chosen, "True or False")
    if not chosen:
        return {}
    checks.require(
        source.num_levels is None,
        f"data.{STANDARDIZE}=True is for continuous data, these have {source.num_levels} levels",
    )
    data[STANDARDIZE] = True
    with errors_of("data"):
        return standardization(source.train)


def saved_standardization(
    data: Mapping[str, Any], example: Mapping[str, Any]
) -> dict[str, tuple[float, ...]]:
    """The ``mean`` and ``std`` of a model's training, from its section ``example``; empty
    for a model without standardisation.

    Raises:
        ValueError: where they are not numbers, or contradict ``data.standardize``.
    """
    found = {key: example[key] for key in ("mean", "std") if key in example}
    for key, values in found.items():
        if not fits(values, tuple[float, ...]):
            checks.fail(f"example.{key}", values, "a sequence of finite numbers")
    checks.require(
        bool(found) == (data.get(STANDARDIZE, False) is True),
        f"data.{STANDARDIZE} cannot be changed: the model was trained with "
        f"{STANDARDIZE}={bool(found)}",
    )
    return {key: tuple(map(float, values)) for key, values in found.items()}


def numbered_classes(sampling: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``sampling`` with the numbers of classes in place of their names,
    ``cat,dog`` or ``["cat", "dog"]``.

    Raises:
        ValueError: where the training data have no class of a name.
    """
    chosen, names = sampling.get(CLASSES), example.get(CLASSES, [])
    chosen = chosen.split(",") if isinstance(chosen, str) else chosen
    if not isinstance(chosen, list) or not any(isinstance(each, str) for each in chosen):
        return dict(sampling)
    return {**sampling, CLASSES: [_number_of(each, names) for each in chosen]}


def _number_of(chosen: Any, names: Sequence[str]) -> Any:
    """The number of a class; anything but a name as it is."""
    if not isinstance(chosen, str):
        return chosen
    if chosen.strip() not in names:
        raise ValueError(
            f"sampling.{CLASSES} names {chosen!r:.200}{did_you_mean(chosen, names)}; classes of "
            f"the training data: {', '.join(names) or 'they have numbers only'}"
        )
    return names.index(chosen.strip())
