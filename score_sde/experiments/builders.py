"""From a config to objects, by explicit tables: the only reader of configs.

A config has sections, and the keys of a section are the keyword arguments of the
constructor that its ``name`` chooses. So ``{"sde": {"name": "ve", "sigma_max": 90.0}}``
is ``VESDE(sigma_max=90.0)``, and a misspelt key is refused before anything compiles. A
``"package.module:Name"`` instead of a name takes code that lives elsewhere.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from score_sde import objectives, parameterization, sampling, sdes, solvers
from score_sde.data import (
    DATA_SETS,
    FILE_SOURCES,
    SOURCES,
    Augmentation,
    DataSource,
    Scaling,
    load_source,
)
from score_sde.experiments.classifier import ClassifierExperiment, NoisyClassifier
from score_sde.experiments.dequantizer import (
    DequantizerExperiment,
    LearnedDequantizer,
    VariationalDequantization,
)
from score_sde.experiments.experiment import Drawing, Evaluating, Experiment, Model, Training
from score_sde.experiments.sections import (
    CLASSIFIER,
    DEQUANTIZER,
    SCORE_MODEL,
    SECTIONS,
    STANDARDIZE,
    checked_sections,
    fitted_standardization,
    saved_standardization,
    with_explicit_options,
)
from score_sde.experiments.tables import (
    AUGMENTATION,
    AVERAGES,
    CLASSIFICATION,
    CLASSIFIERS,
    DEQUANTIZATION,
    FLOWS,
    FUNCTIONS,
    NAMED,
    NETWORKS,
    OBJECTIVES,
    OPTIMIZERS,
    OPTIONAL,
    PARAMETERIZATIONS,
    SAMPLERS,
    SCALING,
    SDES,
    VALUES,
    Table,
)
from score_sde.models import Classifier, ConditionalFlow, ScoreNetwork
from score_sde.runtime.naming import check_arguments, errors_of, from_text, lookup
from score_sde.runtime.trust import EVERYTHING, Trust
from score_sde.typing import Params

__all__ = [
    "AUGMENTATION",
    "AVERAGES",
    "CLASSIFICATION",
    "CLASSIFIERS",
    "DEQUANTIZATION",
    "FLOWS",
    "FUNCTIONS",
    "NAMED",
    "NETWORKS",
    "NOT_OF_THE_SOURCE",
    "OBJECTIVES",
    "OPTIMIZERS",
    "OPTIONAL",
    "PARAMETERIZATIONS",
    "SAMPLERS",
    "SCALING",
    "SDES",
    "SECTIONS",
    "VALUES",
    "Config",
    "Table",
    "as_mapping",
    "build",
    "build_classifier",
    "build_classifier_model",
    "build_dequantizer",
    "build_dequantizer_model",
    "build_model",
    "build_sde",
    "construct",
    "kind_of",
    "load_data",
    "plain_config",
]

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""A config, or its sections as plain dictionaries."""

NOT_OF_THE_SOURCE = (*SCALING, STANDARDIZE, *AUGMENTATION)
"""The keys of the section ``data`` that are not options of its source."""


def build(config: Config) -> Experiment:
    """The experiment that a config describes, with its data loaded and its parameters initialised.

    The config of a classifier is for `build_classifier`, that of a dequantizer for
    `build_dequantizer`.

    Raises:
        ValueError: in one line, for whatever in the config is unknown, misspelt, of a
            wrong type or out of range.
        FileNotFoundError: where the data are not there.
    """
    plain = plain_config(config)
    _check_unconditional(plain["model"])
    plain, parts = _training_parts(plain, objectives.ScoreMatching)
    # The model comes last, for its network compiles.
    return Experiment(
        augmentation=_augmentation(plain), model=build_model(plain, None, step=0), **parts
    )


def build_classifier(config: Config) -> ClassifierExperiment:
    """The training of a noisy classifier that a config describes, as `build` does for a
    score model.

    Raises:
        ValueError: in one line, for whatever in the config is unknown, misspelt, of a
            wrong type or out of range, or where the data have no labels or more classes
            than the network.
        FileNotFoundError: where the data are not there.
    """
    plain, parts = _training_parts(config, objectives.NoisyClassification)
    model = build_classifier_model(plain, None, step=0)
    return ClassifierExperiment(augmentation=_augmentation(plain), model=model, **parts)


def build_dequantizer(
    config: Config, score_model: Model, *, trust: Trust = EVERYTHING
) -> DequantizerExperiment:
    """The training of a dequantizer for a score model, whose sections ``sde`` and
    ``data`` the config is given.

    ``trust`` says which code the section ``data`` may name. The SDE has been built, and
    what else the config names is the caller's own choice.

    Raises:
        ValueError: in one line, for whatever in the config is unknown, misspelt, of a
            wrong type or out of range, or where the data have no levels.
        FileNotFoundError: where the data are not there.
    """
    given = {section: score_model.config[section] for section in ("sde", "data")}
    plain, parts = _training_parts(
        {**as_mapping(config), **given}, VariationalDequantization, data_trust=trust
    )
    model = build_dequantizer_model(plain, None, step=0)
    return DequantizerExperiment(score_model=score_model, model=model, **parts)


def kind_of(config: Config) -> str:
    """What a config describes, which its objective tells: a score model, a classifier
    or a dequantizer.
    """
    objective = config.get("objective")
    name = objective.get("name") if isinstance(objective, Mapping | ConfigDict) else None
    return {CLASSIFICATION: CLASSIFIER, DEQUANTIZATION: DEQUANTIZER}.get(str(name), SCORE_MODEL)


def as_mapping(config: Config) -> Mapping[str, Any]:
    """The config as plain dictionaries, as it is."""
    return config.to_dict() if isinstance(config, ConfigDict) else config


def plain_config(config: Config) -> dict[str, Any]:
    """The config as plain dictionaries, its sections checked."""
    plain = as_mapping(config)
    return checked_sections(plain, kind_of(plain))


def _training_parts(
    config: Config, objective: type, *, data_trust: Trust = EVERYTHING
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plain config, which then knows its examples, and all of an experiment but its model."""
    plain = with_explicit_options(plain_config(config))
    parts = {
        "objective": construct("objective", objective, plain["objective"]),
        "source": load_data(plain, trust=data_trust),
        "optimizer": construct("optim", optax.GradientTransformation, plain["optim"]),
        "training": _call("training", Training, plain["training"], trust=EVERYTHING),
    }
    plain["example"] = {
        "shape": list(parts["source"].shape),
        "num_levels": parts["source"].num_levels,
    }
    plain["example"] |= fitted_standardization(plain["data"], parts["source"])
    return plain, parts


def _check_unconditional(model: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where a network would get a table of labels: no label
    reaches a score model in training.

    Models that were trained with such a table are loaded; networks of the user's own
    have options of their own.
    """
    if str(model.get("name")) in NETWORKS and model.get("num_classes") is not None:
        raise ValueError(
            f"model.num_classes={model['num_classes']!r:.200} would make a table of class labels "
            "that is never used: "
            "score models are trained without labels so far, so remove it"
        )


def _augmentation(plain: Mapping[str, Any]) -> Augmentation:
    """What training does to the data of a config."""
    values = {key: plain["data"][key] for key in AUGMENTATION if key in plain["data"]}
    augmentation = _call("data", Augmentation, values, trust=EVERYTHING)
    augmentation.check(tuple(plain["example"]["shape"]))
    return augmentation


def load_data(config: Config, *, trust: Trust = EVERYTHING) -> DataSource:
    """The data of a config, which may name any code unless ``trust`` restricts it."""
    options = {
        key: value
        for key, value in plain_config(config)["data"].items()
        if key not in NOT_OF_THE_SOURCE
    }
    source = options.pop("source", None)
    if "name" in options:
        raise ValueError("data has no key 'name': its source is chosen by 'source'")
    if not isinstance(source, str):
        files = [f"{prefix}:PATH" for prefix in FILE_SOURCES]
        raise ValueError(f"data needs source: one of {', '.join([*SOURCES, *DATA_SETS, *files])}")
    with errors_of("data"):
        return load_source(source, trust, **options)


def build_model(
    config: Config, params: Params | None, *, step: int, trust: Trust = EVERYTHING
) -> Model:
    """The model of a resolved config, which knows the shape of an example; initial
    parameters where none are given.

    The config may name any code unless ``trust`` restricts it.
    """
    plain = _of_kind(SCORE_MODEL, config)
    sampler = dict(plain["sampling"])
    drawing = {
        key: sampler.pop(key) for key in inspect.signature(Drawing).parameters if key in sampler
    }
    predicted = parameterization.Parameterization
    return Model(
        **_model_parts(plain, ScoreNetwork, params, trust),
        parameterization=construct(
            "parameterization", predicted, plain["parameterization"], trust=trust
        ),
        sampler=construct("sampling", sampling.Sampler, sampler, trust=trust),
        drawing=_call("sampling", Drawing, drawing, trust=trust),
        evaluating=_call("eval", Evaluating, plain["eval"], trust=trust),
        step=step,
        config=plain,
    )


def build_classifier_model(
    config: Config, params: Params | None, *, step: int, trust: Trust = EVERYTHING
) -> NoisyClassifier:
    """The classifier of a resolved config, as `build_model` does for a score model."""
    plain = _of_kind(CLASSIFIER, config)
    return NoisyClassifier(
        **_model_parts(plain, Classifier, params, trust), step=step, config=plain
    )


def build_dequantizer_model(
    config: Config, params: Params | None, *, step: int, trust: Trust = EVERYTHING
) -> LearnedDequantizer:
    """The dequantizer of a resolved config, as `build_model` does for a score model."""
    plain = _of_kind(DEQUANTIZER, config)
    return LearnedDequantizer(
        **_model_parts(plain, ConditionalFlow, params, trust), step=step, config=plain
    )


def _of_kind(wanted: str, config: Config) -> dict[str, Any]:
    """The plain config; raises ``ValueError`` where it is one of another kind."""
    # Explicit, because a saved config without these options is read with the former
    # defaults.
    plain = with_explicit_options(plain_config(config))
    found = kind_of(plain)
    if found != wanted:
        suffix = "" if found == SCORE_MODEL else f"_{found}"
        raise ValueError(
            f"this is a {found}, not a {wanted}: load{suffix} loads it, build{suffix} builds it"
        )
    if "example" not in plain:
        raise ValueError(
            "the config lacks the section 'example', which training writes: build trains such a "
            "config"
        )
    return plain


def _model_parts(
    plain: dict[str, Any], kind: type, params: Params | None, trust: Trust
) -> dict[str, Any]:
    """What every model has, with a network of a ``kind``."""
    seed, example = plain["seed"], plain["example"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed!r:.200}")
    shape = tuple(example["shape"])
    parts = {
        "sde": build_sde(plain, trust=trust),
        "network": construct("model", kind, plain["model"], trust=trust, shape=shape),
        "scaling": _scaling(plain["data"], example, trust),
    }
    params = _init(parts["network"], seed) if params is None else _checked(parts["network"], params)
    return {**parts, "params": params, "shape": shape, "seed": seed}


def _scaling(data: Mapping[str, Any], example: Mapping[str, Any], trust: Trust) -> Scaling:
    """The scaling of the data of a resolved config, which is that of its training."""
    given = {"num_levels": example["num_levels"], **saved_standardization(data, example)}
    scaling = _call(
        "data", Scaling, {key: data[key] for key in SCALING if key in data}, trust=trust, **given
    )
    with errors_of("example"):
        scaling.check(tuple(example["shape"]))
    return scaling


def build_sde(config: Config, *, trust: Trust = EVERYTHING) -> sdes.SDE:
    """The SDE alone of a config, which may name any code unless ``trust`` restricts it."""
    return construct("sde", sdes.SDE, plain_config(config)["sde"], trust=trust)


def construct(
    section: str, kind: type, values: Any, *, trust: Trust = EVERYTHING, **given: Any
) -> Any:
    """The object of a ``kind`` that ``values["name"]`` chooses for a section, made with
    the other values and ``given``.

    The values may name any code unless ``trust`` restricts it.

    Raises:
        ValueError: where the name or a key is unknown, or the object is of another
            kind.
    """
    table = NAMED[section]
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(
            f"{section} needs a name: one of {', '.join(table)}, or package.module:Name"
        )
    rest = {key: value for key, value in values.items() if key != "name"}
    function = lookup(section, values["name"], table, trust=trust)
    found = _call(section, function, rest, trust=trust, name=values["name"], **given)
    if not isinstance(found, kind):
        raise ValueError(
            f"{section} {values['name']!r:.200} gives {type(found).__name__} where {kind.__name__} "
            "is expected"
        )
    return found


def _call(
    section: str,
    function: Callable[..., Any],
    values: Mapping[str, Any],
    *,
    trust: Trust,
    name: Any = None,
    **given: Any,
) -> Any:
    arguments = {key: _argument(section, key, value, trust) for key, value in values.items()}
    arguments = check_arguments(section, function, arguments, given=given, name=name)
    with errors_of(section, TypeError):
        return function(**given, **arguments)


def _argument(section: str, key: str, value: Any, trust: Trust) -> Any:
    """A value of a config as the constructor takes it: functions and nested sections by
    their tables.
    """
    if key == "grid" and isinstance(value, list):
        return _call(f"{section}.{key}", solvers.Nodes, {"times": value}, trust=trust)
    if key == "averages":
        if not isinstance(value, list):
            raise ValueError(
                f"{section}.{key} must be a tuple of texts such as ('power:0.05','power:0.1'), got "
                f"{value!r:.200}"
            )
        return tuple(from_text(f"{section}.{key}", text, AVERAGES) for text in value)
    if key in FUNCTIONS:
        return _function(f"{section}.{key}", value, FUNCTIONS[key], trust)
    if key in VALUES and f"{section}.{key}" in NAMED:
        values = {"name": value} if isinstance(value, str) else value
        if key in OPTIONAL and values in (None, {"name": "none"}):
            return None
        return construct(f"{section}.{key}", VALUES[key][1], values, trust=trust)
    return tuple(value) if isinstance(value, list) else value


def _function(path: str, value: Any, table: Table, trust: Trust) -> Callable[..., Any]:
    """The function of a name; or, where there are parameters beside its name, one like
    it that has them.
    """
    if not isinstance(value, Mapping):
        return lookup(path, value, table, trust=trust)
    if "name" not in value:
        raise ValueError(f"{path} needs a name: one of {', '.join(table)}, or package.module:Name")
    function = lookup(path, value["name"], table, trust=trust)
    parameters = {key: parameter for key, parameter in value.items() if key != "name"}
    if not dataclasses.is_dataclass(function):
        if parameters:
            raise ValueError(
                f"{path} {value['name']!r:.200} is a function without parameters, got "
                f"{', '.join(parameters)}"
            )
        return function
    make = function if isinstance(function, type) else type(function)
    return _call(path, make, parameters, trust=trust, name=value["name"])


def _init(network: ScoreNetwork | Classifier | ConditionalFlow, seed: int) -> Params:
    with errors_of("model"):
        return jax.block_until_ready(jax.jit(network.init)(jax.random.key(seed)))


def _checked(network: ScoreNetwork | Classifier | ConditionalFlow, params: Params) -> Params:
    """Trained parameters; raises ``ValueError`` where they are not those of the network."""
    ours = _shapes(jax.eval_shape(network.init, jax.random.key(0)))
    theirs = _shapes(params)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            was, wanted = theirs.get(name, "missing"), ours.get(name, "missing")
            raise ValueError(
                f"model does not fit the trained parameters: {name} is {was} there and {wanted} "
                "here"
            )
    return params


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf)
        for path, leaf in leaves
    }
