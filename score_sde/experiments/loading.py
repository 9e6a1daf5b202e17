"""Loading of trained models from files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax

from score_sde import checks
from score_sde.configs.default import get_default_config
from score_sde.experiments.base import TrainedModel
from score_sde.experiments.builders import (
    Config,
    ConfigDict,
    Normalized,
    SomeModel,
    as_mapping,
    check_kind,
    model_of,
    normalized,
)
from score_sde.experiments.code_names import check_code
from score_sde.experiments.construction import construct
from score_sde.experiments.network_size import check_network_size
from score_sde.experiments.score_model import Model
from score_sde.experiments.sections import WITHOUT_SAMPLES, as_begun, with_former_options
from score_sde.experiments.workdir import is_run, json_in
from score_sde.export.folder import is_exported
from score_sde.export.model import read_card, read_exported
from score_sde.interop.diffusers_folder import Diffusers, is_diffusers, read_diffusers
from score_sde.interop.diffusers_network import params_from_diffusers
from score_sde.interop.foreign import open_foreign, params_of
from score_sde.interop.ncsn_config import is_ncsn, sections_of_ncsn
from score_sde.interop.reference_config import sections_of_reference
from score_sde.models import ScoreNetwork
from score_sde.runtime.trust import EVERYTHING, Allow, Trust, is_code
from score_sde.runtime.working_copy import local_path
from score_sde.training import (
    SamplingCheckpoint,
    config_of_checkpoint,
    newest_config,
    restore_for_sampling,
)
from score_sde.typing import Params


def load(
    path: str | Path,
    kind: type[SomeModel] = Model,
    *,
    step: int | None = None,
    config: Config | None = None,
    average: str | None = None,
    allow: Allow = (),
) -> SomeModel:
    """Load a trained model: its averaged parameters, and the objects of its config.

    ::

        model = ss.load("runs/digits")
        model = ss.load("runs/digits", step=1000, average="power:0.05")

    >>> import score_sde as ss
    >>> ss.load("no_such_run")
    Traceback (most recent call last):
    FileNotFoundError: no checkpoint in ...no_such_run/checkpoints...

    Args:
        path: the workdir of a run, its folder of checkpoints, or one checkpoint, also in
            object storage (``"s3://bucket/run"``); the folder of an exported model, or
            of a diffusers ``UNet2DModel`` (DDPM or NCSN++), alone or in a pipeline; or,
            with ``config``, a checkpoint of Score-SDE (PyTorch ``.pth`` or JAX, its
            noise-conditional classifier included), ScoreFlow, NCSN or NCSNv2. No code in
            these files is run.
        kind: the expected class: ``Model``, ``NoisyClassifier`` or
            ``LearnedDequantizer``; ``TrainedModel`` for any of them.
        step: the step of the checkpoint; by default the latest.
        config: a config to use instead of the saved one, for example of `saved_config`
            with changes, or of `config_from_reference`. It may name any code.
        average: one of ``training.averages``, such as ``"power:0.05"``, or ``"none"``
            for the parameters themselves; by default the average of
            ``training.ema_decay``.
        allow: the code that the saved config may name, as ``["mypkg"]``. ``"mypkg"`` or
            ``"mypkg.*"`` allows all that the package and its modules define,
            ``"mypkg.module:Name"`` one function or class, ``"*"`` all code. By default
            the saved config can only name entries of the tables of this package.
            Importing a module runs it, with the rights of the user.

    Raises:
        FileNotFoundError: where there is no checkpoint.
        ValueError: where the checkpoint is damaged, the model is of another kind, the
            parameters do not fit the network of the config, the run has no such
            average, or the saved config names code that is not allowed. No such code is
            imported.
    """
    trust = EVERYTHING if config is not None else Trust.of(allow)
    return load_trusting(trust, path, kind, step=step, config=config, average=average)


def load_trusting(
    trust: Trust,
    path: str | Path,
    kind: type[SomeModel] = Model,
    *,
    step: int | None = None,
    config: Config | None = None,
    average: str | None = None,
) -> SomeModel:
    """`load`, where ``trust`` applies to the saved config and to a given one."""
    path = local_path(path)
    _check_average(path, average)
    if is_diffusers(path):
        found = _read_diffusers(path, config, trust)
    elif path.is_file():
        if config is None:
            raise ValueError(f"{path} needs a config: load(path, config=...)")
        found = _read_foreign(path, normalized(with_former_options(as_mapping(config))), trust)
    else:
        saved = _saved(path, step, average)
        chosen = _chosen_config(path, saved, config, trust)
        found = _Found(chosen, saved.ema_params, saved.step)
    check_kind(found.config.kind, kind, of="model")
    return cast("SomeModel", model_of(found.config, found.params, step=found.step, trust=trust))


class _Found(NamedTuple):
    """The content of a file or folder: a config and the parameters of its network."""

    config: Normalized
    params: Params
    step: int


class TrainedParams(NamedTuple):
    """The parameters of a trained model.

    Attributes:
        params: the parameters.
        step: the step of its checkpoint; None where it has only one.
        config: its config; None where it has none, or one of another project.
    """

    params: Params
    step: int | None
    config: Mapping[str, Any] | None


def trained_params(
    path: Path, like: TrainedModel, *, average: str | None = None, step: int | None = None
) -> TrainedParams:
    """The parameters of any file or folder that `load` reads, for the network of another
    model. No code that they name is imported.

    Raises:
        FileNotFoundError: where there is no model.
        ValueError: where it is damaged, is a checkpoint of another project that does not
            fit the network, or has no such average.
    """
    _check_average(path, average)
    if is_diffusers(path):
        return TrainedParams(
            _read_diffusers(path, like.saved_config, EVERYTHING).params, None, None
        )
    if path.is_file():
        found = _read_foreign(path, normalized(like.saved_config), EVERYTHING)
        return TrainedParams(found.params, None, None)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    saved = _saved(path, step, average)
    return TrainedParams(saved.ema_params, saved.step, saved.config)


def _check_average(path: Path, average: str | None) -> None:
    checks.require(
        average is None or not (is_exported(path) or is_diffusers(path) or path.is_file()),
        f"{path} has only one average of the parameters and no {average!r}: the checkpoints of a "
        "run have several",
    )


def config_to_resume(workdir: Path) -> ConfigDict:
    """The config with which the run in ``workdir`` was last started: of its
    ``config.json``, else of its newest checkpoint. It may name any code.

    Raises:
        FileNotFoundError: where there is no run.
        ValueError: where all its checkpoints are damaged.
    """
    config = json_in(workdir / "config.json") if is_run(workdir) else None
    if not isinstance(config, Mapping) or not config.keys() >= set(WITHOUT_SAMPLES):
        config = newest_config(workdir / "checkpoints")
    if not isinstance(config, Mapping):
        raise FileNotFoundError(f"no run to resume in {workdir}: give the config of a new one")
    return ConfigDict(_with_tuples(with_former_options(config)))


def saved_config(path: str | Path, *, step: int | None = None, allow: Allow = ()) -> ConfigDict:
    """The resolved config of a checkpoint, an exported model or a diffusers folder.

    The parameters of a checkpoint or an exported model are not read. The caller may
    build the config without further checks, so it may only name code that ``allow``
    permits, as in `load`. Nothing is imported here: ``allow="*"`` reads any config.

    >>> import score_sde as ss
    >>> ss.saved_config("no_such_run")
    Traceback (most recent call last):
    FileNotFoundError: no checkpoint in ...no_such_run/checkpoints...

    Raises:
        FileNotFoundError: where there is no checkpoint.
        ValueError: where the config is damaged, or names code that is not allowed.
    """
    trust, where = Trust.of(allow), local_path(path)
    config = (
        _config_of_diffusers(read_diffusers(where))
        if is_diffusers(where)
        else _saved_config(where, step)
    )
    plain = as_mapping(config)
    check_code(plain, trust, str(path))
    return ConfigDict(_with_tuples(plain))


def config_from_reference(fields: Config) -> ConfigDict:
    """A config of this package from the fields of a config of the 2021 code (Score-SDE in
    JAX or PyTorch, or ScoreFlow) or of NCSNv2.

    >>> import score_sde as ss
    >>> fields = {"training.sde": "vpsde", "model.name": "ddpm", "data.image_size": 32}
    >>> fields |= {"sampling.predictor": "euler_maruyama", "sampling.corrector": "none"}
    >>> ss.config_from_reference(fields).sde.name
    'vp'

    Args:
        fields: ``{"model.ch_mult": [1, 2, 2, 2], "training.sde": "vesde", …}``, or the
            config itself with nested sections. Missing fields keep the defaults of this
            package.

    Raises:
        ValueError: where a required field is missing, or a field or value is unknown.
    """
    plain = as_mapping(fields)
    sections = {name: values for name, values in plain.items() if isinstance(values, Mapping)}
    flat = {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
    }
    rest = {name: value for name, value in plain.items() if name not in sections}
    config = get_default_config()
    config.seed = plain.get("seed", config.seed)
    given = {**rest, **flat}
    converted = sections_of_ncsn(given) if is_ncsn(given) else sections_of_reference(given)
    for section, values in converted.items():
        if section in config and "name" not in values and section != "data":
            config[section].update(values)
        else:
            config[section] = ConfigDict(values)
    return config


def _check_counts(path: str | Path, config: Mapping[str, Any], arrays: Iterable[Any]) -> None:
    """Raise ``ValueError`` where the options of a network do not suit the arrays of its
    file. Networks outside this package have other options, and are not checked.
    """
    model = config.get("model")
    if isinstance(model, Mapping) and is_code(model.get("name")):
        return
    try:
        check_network_size(config, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _with_tuples(value: Any) -> Any:
    """A value from JSON with tuples for its lists, so that flags can override them."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _chosen_config(
    path: str | Path, found: SamplingCheckpoint, given: Config | None, trust: Trust
) -> Normalized:
    """The given config or else the saved one, with the saved section ``example``."""
    saved = found.config
    own = saved if given is None else as_mapping(given)
    check_code(own, trust, str(path))
    if not isinstance(saved, Mapping) or "example" not in saved:
        raise ValueError(f"{path} is damaged: its config lacks the section example")
    chosen = normalized(as_begun({**own, "example": saved["example"]}, saved))
    _check_counts(path, chosen.plain, jax.tree.leaves(found.ema_params))
    return chosen


def _read_foreign(path: Path, config: Normalized, trust: Trust) -> _Found:
    plain = config.plain
    checks.require(
        "example" in plain,
        "the config needs the section example, with the shape of an image and its num_levels",
    )
    opened = open_foreign(path)
    _check_counts(path, plain, opened.arrays)
    shape = tuple(plain["example"]["shape"])
    network = construct("model", config.kind.network, plain["model"], trust=trust, shape=shape)
    name, options = plain["model"]["name"], dict(plain["model"])
    del options["name"]
    found = params_of(opened, network, name=name, options=options, shape=shape)
    return _Found(config, found.params, found.step)


def _read_diffusers(path: Path, given: Config | None, trust: Trust) -> _Found:
    found = read_diffusers(path, scheduler=given is None)
    own = _config_of_diffusers(found) if given is None else given
    # A given config without num_groups, which changes no weight, takes it from the folder.
    config = normalized(as_begun(as_mapping(own), {"model": found.options}))
    plain = config.plain
    check_code(plain, trust, str(path))
    _check_counts(path, plain, found.tensors.values())
    shape = tuple(plain["example"]["shape"])
    try:
        network = construct("model", ScoreNetwork, plain["model"], trust=trust, shape=shape)
        params = params_from_diffusers(network, found.tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return _Found(config, params, 0)


def _config_of_diffusers(found: Diffusers) -> ConfigDict:
    config = config_from_reference(found.fields)
    section: Any = config.model
    section.update(found.options)
    for name, values in found.sections.items():
        section = config[name]
        config[name] = ConfigDict(values if "name" in values else {**section, **values})
    return config


def _saved(path: Path, step: int | None, average: str | None = None) -> SamplingCheckpoint:
    """The parameters and the config of an exported model or a checkpoint."""
    if not is_exported(path):
        directory, named_step = _checkpoint_directory(path)
        saved = restore_for_sampling(
            directory, step=named_step if step is None else step, average=average
        )
        return saved._replace(config=with_former_options(saved.config))
    found = read_exported(path)
    _check_exported_step(path, step, found.step)
    return SamplingCheckpoint(
        step=found.step, ema_params=found.params, config=with_former_options(found.config)
    )


def _saved_config(path: Path, step: int | None) -> dict[str, Any]:
    """The config that `_saved` would read, without the parameters."""
    if not is_exported(path):
        directory, named_step = _checkpoint_directory(path)
        saved = config_of_checkpoint(directory, step=named_step if step is None else step)
        return with_former_options(saved)
    card = read_card(path)
    _check_exported_step(path, step, card["step"])
    return with_former_options(card["config"])


def _check_exported_step(path: Path, step: int | None, exported: int) -> None:
    if step not in (None, exported):
        raise FileNotFoundError(
            f"no checkpoint of step {step} in {path}: it is a model exported at step {exported}"
        )


def _checkpoint_directory(path: Path) -> tuple[Path, int | None]:
    """The folder of checkpoints, and the step if ``path`` is one checkpoint."""
    if path.name.isdigit() and (path / "_CHECKPOINT_METADATA").exists():
        return path.parent, int(path.name)
    return (path, None) if path.name == "checkpoints" else (path / "checkpoints", None)
