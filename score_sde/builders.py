"""From a config to objects, by explicit tables: the only reader of configs.

A config has sections, and the keys of a section are the keyword arguments of the constructor that its ``name``
chooses. So ``{"sde": {"name": "ve", "sigma_max": 90.0}}`` is ``VESDE(sigma_max=90.0)``, and a misspelt key is refused
before anything compiles. A ``"package.module:Name"`` instead of a name takes code that lives elsewhere.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from score_sde import objectives, parameterization, sampling, sdes, solvers
from score_sde.data import SOURCES, DataSource, Scaling, load_source
from score_sde.experiment import Drawing, Evaluating, Experiment, Model, Training
from score_sde.likelihood import ExactTrace, Hutchinson
from score_sde.models import mlp, unet
from score_sde.naming import check_arguments, did_you_mean, lookup
from score_sde.training import adam, restore_for_sampling
from score_sde.typing import Params

Table = Mapping[str, Callable[..., Any]]

SDES: Table = {"vp": sdes.VPSDE, "subvp": sdes.SubVPSDE, "ve": sdes.VESDE, "brownian": sdes.BrownianMotion}
NETWORKS: Table = {"mlp": mlp, "unet": unet}
PARAMETERIZATIONS: Table = {
    "noise": parameterization.NoisePrediction,
    "score": parameterization.ScorePrediction,
    "denoised": parameterization.DenoisedPrediction,
    "v": parameterization.VelocityPrediction,
    "edm": parameterization.EDMPreconditioning,
}
OBJECTIVES: Table = {"denoising": objectives.DenoisingScoreMatching}
OPTIMIZERS: Table = {"adam": adam}
SAMPLERS: Table = {
    "euler_maruyama": sampling.EulerMaruyama,
    "shark": sampling.ShARK,
    "heun": sampling.Heun,
    "probability_flow": sampling.ProbabilityFlow,
    "predictor_corrector": sampling.PredictorCorrector,
}

SCALING = ("centered", "dequantize")
"""The keys of the section ``data`` that are not the source's own."""

FUNCTIONS: Mapping[str, Table] = {
    "time_label": {
        "scaled_time": parameterization.scaled_time,
        "noise_level": parameterization.noise_level,
        "log_noise_to_signal": parameterization.log_noise_to_signal,
    },
    "weighting": {"variance": objectives.variance, "likelihood": objectives.likelihood},
    "grid": {"uniform": solvers.uniform, "quadratic": solvers.quadratic},
    "predictor": {
        "reverse_diffusion": solvers.reverse_diffusion_step,
        "euler_maruyama": solvers.euler_maruyama,
    },
}
"""Arguments that are functions, chosen by name."""

VALUES: Mapping[str, Table] = {
    "time_sampling": {"uniform": objectives.UniformTime},
    "divergence": {"exact": ExactTrace, "hutchinson": Hutchinson},
}
"""Arguments that are values, constructed from a section of their own."""

SECTIONS = (
    "seed", "sde", "model", "parameterization", "objective", "optim", "sampling", "data", "training", "eval"
)  # fmt: skip


def build(config: ConfigDict | Mapping[str, Any]) -> Experiment:
    """The experiment that a config describes, with its data loaded and its parameters initialised.

    Raises:
        ValueError: in one line, for whatever in the config is unknown, misspelt, of a wrong type or out of range.
        FileNotFoundError: where the data are not there.
    """
    plain = _plain(config)
    source = load_data(plain)
    plain["example"] = {"shape": list(source.shape), "num_levels": source.num_levels}
    model = build_model(plain, None, step=0)
    return Experiment(
        model=model,
        source=source,
        objective=construct("objective", OBJECTIVES, plain["objective"]),
        optimizer=construct("optim", OPTIMIZERS, plain["optim"]),
        training=_call("training", Training, plain["training"]),
    )


def load_data(config: ConfigDict | Mapping[str, Any]) -> DataSource:
    """The data of a config."""
    options = {key: value for key, value in _plain(config)["data"].items() if key not in SCALING}
    if "source" not in options:
        raise ValueError(f"data needs source: one of {', '.join(SOURCES)}, or folder:PATH, npz:PATH, npy:PATH")
    return load_source(str(options.pop("source")), **options)


def build_model(config: ConfigDict | Mapping[str, Any], params: Params | None, *, step: int) -> Model:
    """The model of a resolved config, which knows the shape of an example; initial parameters where none are given."""
    plain = _plain(config)
    shape = tuple(plain["example"]["shape"])
    seed, sampler, data = plain["seed"], dict(plain["sampling"]), plain["data"]
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number from 0, got {seed!r}")
    drawing = {key: sampler.pop(key) for key in inspect.signature(Drawing).parameters if key in sampler}
    network = construct("model", NETWORKS, plain["model"], shape=shape)
    scaling = {key: data[key] for key in SCALING if key in data}
    return Model(
        sde=construct("sde", SDES, plain["sde"]),
        network=network,
        parameterization=construct("parameterization", PARAMETERIZATIONS, plain["parameterization"]),
        params=jax.jit(network.init)(jax.random.key(seed)) if params is None else params,
        sampler=construct("sampling", SAMPLERS, sampler),
        shape=shape,
        scaling=_call("data", Scaling, scaling, num_levels=plain["example"]["num_levels"]),
        drawing=_call("sampling", Drawing, drawing),
        evaluating=_call("eval", Evaluating, plain["eval"]),
        seed=seed,
        step=step,
        config=plain,
    )


def load(path: str | Path, *, step: int | None = None, config: ConfigDict | Mapping[str, Any] | None = None) -> Model:
    """The model of a training run: its averaged parameters, and the objects of the config saved with them.

    Args:
        path: the workdir of the run, its folder of checkpoints, or one checkpoint.
        step: which checkpoint; the latest unless given.
        config: a config to use in place of the saved one, as from ``saved_config`` with changes.

    Raises:
        FileNotFoundError: where there is no checkpoint.
    """
    directory, named_step = _checkpoint_directory(Path(path))
    found = restore_for_sampling(directory, step=named_step if step is None else step)
    return build_model(found.config if config is None else config, found.ema_params, step=found.step)


def saved_config(path: str | Path, *, step: int | None = None) -> ConfigDict:
    """The resolved config that was saved with a checkpoint."""
    directory, named_step = _checkpoint_directory(Path(path))
    return ConfigDict(restore_for_sampling(directory, step=named_step if step is None else step).config)


def build_sde(config: ConfigDict | Mapping[str, Any]) -> sdes.SDE:
    """The SDE alone of a config."""
    return construct("sde", SDES, _plain(config)["sde"])


def construct(section: str, table: Table, values: Any, **given: Any) -> Any:
    """The object that ``values["name"]`` chooses from ``table``, made with the other values and with ``given``."""
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(f"{section} needs a name: one of {', '.join(table)}, or package.module:Name")
    rest = {key: value for key, value in values.items() if key != "name"}
    return _call(section, lookup(section, values["name"], table), rest, **given)


def _call(section: str, function: Callable[..., Any], values: Mapping[str, Any], **given: Any) -> Any:
    arguments = {key: _argument(section, key, value) for key, value in values.items()}
    check_arguments(section, function, arguments, given=given)
    try:
        return function(**given, **arguments)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(section) else f"{section}: {message}") from error


def _argument(section: str, key: str, value: Any) -> Any:
    """A value of a config as the constructor takes it: functions and nested sections by their tables."""
    if key in FUNCTIONS and not callable(value):
        return lookup(f"{section}.{key}", value, FUNCTIONS[key])
    if key in VALUES:
        values = {"name": value} if isinstance(value, str) else value
        return construct(f"{section}.{key}", VALUES[key], values)
    return tuple(value) if isinstance(value, list) else value


def _plain(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """The config as plain dictionaries, its sections checked."""
    plain = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    for section in plain:
        if section not in (*SECTIONS, "example"):
            hint = did_you_mean(section, SECTIONS)
            raise ValueError(f"the config has an unknown section {section!r}{hint}; sections: {', '.join(SECTIONS)}")
    if missing := [section for section in SECTIONS if section not in plain]:
        raise ValueError(f"the config lacks the section {missing[0]!r}; start from the defaults of configs/default.py")
    return plain


def _checkpoint_directory(path: Path) -> tuple[Path, int | None]:
    """The folder of checkpoints, and the step if ``path`` is one of them."""
    if path.name.isdigit() and (path / "_CHECKPOINT_METADATA").exists():
        return path.parent, int(path.name)
    return (path, None) if path.name == "checkpoints" else (path / "checkpoints", None)
