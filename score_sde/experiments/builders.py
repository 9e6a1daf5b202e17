"""From a config to objects, by explicit tables: the only reader of configs.

A config has sections, and the keys of a section are the keyword arguments of the
constructor that its ``name`` chooses. So ``{"sde": {"name": "ve", "sigma_max": 90.0}}``
is ``VESDE(sigma_max=90.0)``, and a misspelt key is refused before anything compiles. A
``"package.module:Name"`` instead of a name takes code that lives elsewhere.
"""

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from score_sde import objectives, parameterization, sampling, sdes
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
from score_sde.experiments.construction import call, construct
from score_sde.experiments.dequantizer import (
    DequantizerExperiment,
    LearnedDequantizer,
    VariationalDequantization,
)
from score_sde.experiments.score_model import Experiment, Model
from score_sde.experiments.sections import (
    CLASSIFIER,
    DEQUANTIZER,
    SCORE_MODEL,
    checked_sections,
    fitted_standardization,
    saved_standardization,
    with_explicit_options,
)
from score_sde.experiments.settings import Drawing, Evaluating, Training
from score_sde.experiments.tables import (
    AUGMENTATION,
    CLASSIFICATION,
    DEQUANTIZATION,
    NETWORKS,
    NOT_OF_THE_SOURCE,
    SCALING,
)
from score_sde.models import Classifier, ConditionalFlow, ScoreNetwork
from score_sde.runtime.naming import errors_of
from score_sde.runtime.trust import EVERYTHING, Trust
from score_sde.typing import Params

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""A config, or its sections as plain dictionaries."""


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
        "training": call("training", Training, plain["training"], trust=EVERYTHING),
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
    augmentation = call("data", Augmentation, values, trust=EVERYTHING)
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
        drawing=call("sampling", Drawing, drawing, trust=trust),
        evaluating=call("eval", Evaluating, plain["eval"], trust=trust),
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
    scaling = call(
        "data", Scaling, {key: data[key] for key in SCALING if key in data}, trust=trust, **given
    )
    with errors_of("example"):
        scaling.check(tuple(example["shape"]))
    return scaling


def build_sde(config: Config, *, trust: Trust = EVERYTHING) -> sdes.SDE:
    """The SDE alone of a config, which may name any code unless ``trust`` restricts it."""
    return construct("sde", sdes.SDE, plain_config(config)["sde"], trust=trust)


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
