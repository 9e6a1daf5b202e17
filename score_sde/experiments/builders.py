"""Builds experiments and models from configs.

A config has sections. In most, the keys are the keyword arguments of the constructor
that ``name`` chooses from a table: ``{"sde": {"name": "ve", "sigma_max": 90.0}}`` is
``VESDE(sigma_max=90.0)``, and a misspelt key raises an error before anything compiles.
A name ``"package.module:Name"`` imports a constructor from another package. ``data``
has a ``source`` instead of a name, ``training`` and ``eval`` have options alone.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

import jax
import optax
from ml_collections import ConfigDict

from score_sde import checks, sdes
from score_sde.data import (
    DATA_SETS,
    FILE_SOURCES,
    SOURCES,
    Augmentation,
    DataSource,
    Scaling,
    load_source,
    with_absolute_paths,
)
from score_sde.experiments.base import AnyExperiment, TrainedModel, checked_params, initial_params
from score_sde.experiments.construction import call, construct
from score_sde.experiments.kinds import KINDS, Kind, Plain, kind_of
from score_sde.experiments.limits import MAX_SEED
from score_sde.experiments.score_model import Experiment, Model
from score_sde.experiments.sections import (
    CLASSES,
    checked_sections,
    fitted_standardization,
    numbered_classes,
    saved_standardization,
    skips_damaged,
    with_explicit_options,
)
from score_sde.experiments.settings import TrainingOptions
from score_sde.experiments.tables import AUGMENTATION, NOT_OF_THE_SOURCE, OPTIMIZERS, SCALING
from score_sde.runtime.naming import errors_of
from score_sde.runtime.trust import EVERYTHING, Trust
from score_sde.typing import Params

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""A config, or its sections as plain dictionaries."""

SomeModel = TypeVar("SomeModel", bound=TrainedModel)
SomeExperiment = TypeVar("SomeExperiment", bound=AnyExperiment)


class Normalized(NamedTuple):
    """A config with checked sections: its kind, and its plain dictionaries."""

    kind: Kind
    plain: Plain


def build(
    config: Config,
    kind: type[SomeExperiment] = Experiment,
    *,
    score_model: Model | None = None,
    data_trust: Trust = EVERYTHING,
    trust: Trust = EVERYTHING,
) -> SomeExperiment:
    """The experiment that a config describes, with its data loaded and its parameters initialised.

    >>> import score_sde as ss
    >>> ss.build({"seed": 0})
    Traceback (most recent call last):
    ValueError: the config lacks the section 'sde'; start from ... configs/default.py

    Args:
        config: the config, a ``ConfigDict`` or nested dictionaries. Names in it may
            import code of any package.
        kind: the expected class: ``Experiment`` (of a score model),
            ``ClassifierExperiment``, ``DequantizerExperiment``, or ``AnyExperiment`` for
            whichever the objective of the config implies.
        score_model: the score model for which a dequantizer is trained. The config
            takes its sections ``sde`` and ``data`` from that model.
        data_trust: the code that the source of the data may import.
        trust: the code that all other sections may import.

    Raises:
        ValueError: where a section, key or name is unknown, a value is of a wrong type
            or out of range, the config is of another kind, a score model is missing or
            not wanted, or the data lack the class labels or grey levels that the
            objective needs. The message is one line.
        FileNotFoundError: where the data are not found.
    """
    given = as_mapping(config)
    check_kind(kind_of(given), kind, of="experiment")
    given = _for_score_model(given, score_model)
    found = normalized(given)
    parts = _training_parts(found, data_trust, trust)
    if found.kind.for_score_model:
        parts["score_model"] = score_model
    # The model comes last, since initialising its network compiles.
    parts["model"] = model_of(found, None, step=0, trust=trust)
    return cast("SomeExperiment", found.kind.experiment(**parts))


def _for_score_model(given: Mapping[str, Any], score_model: Model | None) -> Mapping[str, Any]:
    """For a kind that needs a score model, the config with the sections ``sde`` and
    ``data`` of that model; else the config itself.

    Raises:
        ValueError: where it needs a score model and none is given, or the reverse.
    """
    kind = kind_of(given)
    if score_model is None:
        checks.require(
            not kind.for_score_model,
            f"the objective makes this the config of a {kind.name}, which needs a score model: "
            f"score-sde train-{kind.name}, or build(config, kind, score_model=model)",
        )
        return given
    checks.require(
        kind.for_score_model, f"score_model is for a dequantizer, and this is a {kind.name}"
    )
    return {**given, **{name: score_model.saved_config[name] for name in ("sde", "data")}}


def build_model(
    config: Config,
    params: Params | None,
    kind: type[SomeModel] = Model,
    *,
    step: int,
    trust: Trust = EVERYTHING,
) -> SomeModel:
    """The model of a resolved config, with initial parameters unless ``params`` are given.

    A resolved config is the ``config`` of a model: it has the section ``example`` with
    the shape of an example. ``kind`` is the expected class, as in `load`. The config
    may name any code unless ``trust`` restricts it. ::

        model = ss.build_model(ss.saved_config("runs/digits"), params, step=1200)
    """
    found = normalized(config)
    check_kind(found.kind, kind, of="model")
    return cast("SomeModel", model_of(found, params, step=step, trust=trust))


def check_kind(found: Kind, wanted: type, *, of: Literal["model", "experiment"]) -> None:
    """Raise ``ValueError`` unless the models or experiments of a kind are of the class
    ``wanted``.
    """
    given: type = getattr(found, of)
    known = [kind.name for kind in KINDS if getattr(kind, of) is wanted]
    function = {"model": "load(path", "experiment": "build(config"}[of]
    checks.require(
        issubclass(given, wanted),
        f"this is a {found.name}, not a {(known or [wanted.__name__])[0]}: "
        f"{function}, {given.__name__}) takes it",
    )


def as_mapping(config: Config) -> Mapping[str, Any]:
    """The config as plain dictionaries, unchecked."""
    return config.to_dict() if isinstance(config, ConfigDict) else config


def normalized(config: Config) -> Normalized:
    """A config with checked sections and values of JSON types only. Every config passes
    here once.
    """
    given = as_mapping(config)
    kind = kind_of(given)
    plain = checked_sections(given, kind.sections, kind.name)
    # Written out, because a saved config without these options means their former defaults.
    return Normalized(kind, with_explicit_options(plain))


def _training_parts(found: Normalized, data_trust: Trust, trust: Trust) -> dict[str, Any]:
    """The parts of an experiment except its model. The config gets its section
    ``example`` here.
    """
    plain = found.plain
    parts: dict[str, Any] = {
        "objective": construct("objective", found.kind.objective, plain["objective"], trust=trust),
        "source": source_of(plain, data_trust),
        "training": call("training", TrainingOptions, plain["training"], trust=trust),
    }
    parts["optimizer"] = _optimizer(plain["optim"], parts["training"], trust)
    source: DataSource = parts["source"]
    plain["example"] = {"shape": list(source.shape), "num_levels": source.num_levels}
    if source.class_names is not None:
        plain["example"][CLASSES] = list(source.class_names)
    plain["example"] |= fitted_standardization(plain["data"], source)
    plain["data"] = with_absolute_paths(plain["data"])  # for commands in other folders
    parts["skip_damaged"] = skips_damaged(plain["data"])
    if found.kind.augments:
        parts["augmentation"] = _augmentation(plain)
    return parts


def _optimizer(
    section: Any, training: TrainingOptions, trust: Trust
) -> optax.GradientTransformation:
    """The optimizer of a config. A decay of its learning rate ends at the final step of
    the training unless the config has ``optim.decay_steps``.
    """
    name = section.get("name") if isinstance(section, Mapping) else None
    ours = isinstance(name, str) and name in OPTIMIZERS
    if ours and section.get("decay", "none") != "none" and section.get("decay_steps") is None:
        steps, warmup = training.num_steps, section.get("warmup")
        if isinstance(warmup, int):  # a run that ends in its warm-up, as trials do, has no decay
            steps = max(steps, warmup + 1)
        section = {**section, "decay_steps": steps}
    return construct("optim", optax.GradientTransformation, section, trust=trust)


def _augmentation(plain: Plain) -> Augmentation:
    """The augmentation of the section ``data``."""
    values = {key: plain["data"][key] for key in AUGMENTATION if key in plain["data"]}
    augmentation = call("data", Augmentation, values, trust=EVERYTHING)
    augmentation.check(tuple(plain["example"]["shape"]))
    return augmentation


def load_data(config: Config, *, trust: Trust = EVERYTHING) -> DataSource:
    """The data of a config; ``trust`` restricts the code that the source may import."""
    return source_of(normalized(config).plain, trust)


def source_of(plain: Plain, trust: Trust) -> DataSource:
    """The data of a config whose sections have been checked."""
    options = {key: value for key, value in plain["data"].items() if key not in NOT_OF_THE_SOURCE}
    source = options.pop("source", None)
    checks.require(
        "name" not in options, "data has no key 'name': its source is chosen by 'source'"
    )
    if not isinstance(source, str):
        files = [f"{prefix}:PATH" for prefix in FILE_SOURCES]
        checks.fail("data.source", source, f"one of {', '.join([*SOURCES, *DATA_SETS, *files])}")
    with errors_of("data"):
        return load_source(source, trust, **options)


def build_sde(config: Config, *, trust: Trust = EVERYTHING) -> sdes.SDE:
    """Build only the SDE of a config; ``trust`` restricts the code that it may import."""
    return construct("sde", sdes.SDE, normalized(config).plain["sde"], trust=trust)


def model_of(
    found: Normalized, params: Params | None, *, step: int, trust: Trust = EVERYTHING
) -> TrainedModel:
    """The model of a resolved config, with initial parameters unless ``params`` are given."""
    kind, plain = found
    checks.require(
        "example" in plain,
        "the config lacks the section 'example', which training writes: give the config of a "
        "trained model, or use build for this one",
    )
    seed, example = plain["seed"], plain["example"]
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        checks.fail("seed", seed, f"a whole number from 0 to {MAX_SEED}")
    shape = tuple(example["shape"])
    sde = construct("sde", sdes.SDE, plain["sde"], trust=trust)
    network = construct("model", kind.network, plain["model"], trust=trust, shape=shape)
    if params is None and kind.conditional and network.condition is not None:
        example["conditional"] = True
    if "sampling" in plain:
        plain["sampling"] = numbered_classes(plain["sampling"], example)
    parts = kind.parts(plain, network, trust)
    scaling = _scaling(plain["data"], example, trust)
    # Last, because it compiles.
    params = _init(network, seed) if params is None else checked_params(network, params)
    own = {"shape": shape, "seed": seed, "step": step, "config": plain}
    own |= {"sde": sde, "network": network, "scaling": scaling, "params": params, **parts}
    return kind.model(**own)


def _scaling(data: Mapping[str, Any], example: Mapping[str, Any], trust: Trust) -> Scaling:
    """The scaling of the data in training, from a resolved config."""
    given = {"num_levels": example["num_levels"], **saved_standardization(data, example)}
    scaling = call(
        "data", Scaling, {key: data[key] for key in SCALING if key in data}, trust=trust, **given
    )
    with errors_of("example"):
        scaling.check(tuple(example["shape"]))
    return scaling


def _init(network: Any, seed: int) -> Params:
    with errors_of("model"):
        return initial_params(network, jax.random.key(seed))
