"""The common parts of the commands that start from a trained model."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from score_sde.cli.flags import Flags, UsageError, given, require, take, usage_errors, value_of
from score_sde.cli.own_code import trust_of
from score_sde.cli.own_files import check_report, check_results
from score_sde.cli.shared_flags import (
    EXAMPLE,
    add_allow_code,
    add_checkpoint,
    add_overwrite,
    add_workdir,
    output_folder,
)
from score_sde.data import DataSource, Examples
from score_sde.experiments.builders import load_data
from score_sde.experiments.loading import load_trusting, saved_config
from score_sde.experiments.score_model import Model
from score_sde.export.model import is_exported
from score_sde.runtime.atomic_files import make_folder
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.trust import ALL

CONFIG_HELP = {
    "--config.section.key=value": "override a value of the saved config, for example "
    "--config.sampling.num_steps=100"
}


def workdir_flags(command: str, description: str) -> Flags:
    """The flags of a command: the model in ``--workdir``, and overrides of its config."""
    flags = Flags(command, description, _config_of_run, CONFIG_HELP, saved=True)
    add_workdir(flags, "a training run or an exported model")
    add_checkpoint(flags)
    flags.string(
        "average",
        None,
        "one of training.averages, such as power:0.05 (default: the average of training.ema_decay)",
    )
    add_allow_code(flags)
    add_overwrite(flags)
    return flags


def load_model(values: Any) -> tuple[Model, Path]:
    """The model of the flags, and its folder."""
    path = Path(values.workdir).expanduser()
    with usage_errors():
        make_folder(path)
        chosen = {"step": values.checkpoint, "config": values.config, "average": values.average}
        model = load_trusting(trust_of(values), path, **chosen)
        return model, path


def check_places(values: Any, workdir: Path, paths: Iterable[Path]) -> None:
    """Raise ``UsageError`` where results, or their rows in the report of ``workdir``,
    would overwrite files of other programs.
    """
    is_runs = not is_exported(workdir)
    elsewhere = "output" in values and bool(values.output)
    with usage_errors():
        check_report(workdir, own=is_runs, overwrite=values.overwrite)
        check_results(paths, own=is_runs and not elsewhere, overwrite=values.overwrite)


def result_folder(values: Any, workdir: Path, default: str, names: Iterable[str]) -> Path:
    """The folder of ``--output``, or ``default`` in the workdir: made, and checked to be
    free for files of these names.
    """
    folder = output_folder(values.output, workdir, default)
    with usage_errors():
        make_folder(folder)
    check_places(values, workdir, [folder / name for name in names])
    return folder


def load_examples(model: Model, values: Any) -> DataSource:
    """The data of a model, with the shape and the levels of its training data;
    ``values`` are the values of the flags.
    """
    with usage_errors():
        source = load_data(model.saved_config, trust=trust_of(values))
    found, wanted = (
        (source.shape, source.num_levels),
        (model.shape, model.scaling.num_levels),
    )
    require(
        found == wanted,
        f"the data have (shape, levels) {found}, the model was trained on {wanted}",
    )
    return source


def load_split(model: Model, values: Any) -> tuple[Examples, Any]:
    """The raw examples of the split ``--split``, and their conditions."""
    source = load_examples(model, values)
    with usage_errors():
        conditions = model.conditions_of(source, values.split)
    return getattr(source, values.split), conditions


def existing_workdir(name: str | None) -> Path:
    """The folder of a training run or of an exported model.

    Raises:
        UsageError: for any other folder.
    """
    path = Path(given(name, "workdir", EXAMPLE)).expanduser()
    if (path / "checkpoints").is_dir() or is_exported(path):
        return path
    if path.is_dir() and "checkpoints" in path.parts:
        workdir = Path(*path.parts[: path.parts.index("checkpoints")])
        raise UsageError(
            f"{path} is inside a workdir: use --workdir={workdir}, with --checkpoint=STEP for an "
            "earlier step"
        )
    if not path.exists():
        siblings = [
            str(other) for other in path.parent.glob("*") if (other / "checkpoints").is_dir()
        ]
        raise UsageError(f"no such workdir: {path}{did_you_mean(str(path), siblings)}")
    raise UsageError(
        f"no checkpoints in {path}: train with `score-sde train --config=… --workdir={path}` first"
    )


def _config_of_run(argv: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    require(
        take("config", argv)[0] is None,
        "the config is saved with the model: override it by --config.section.key=value",
    )
    step = value_of("checkpoint", argv)
    require(step is None or step.isdigit(), f"--checkpoint={step} must be the step of a checkpoint")
    path = existing_workdir(value_of("workdir", argv))
    # All code is allowed here: flags may replace some of the names, and `Flags` checks
    # the result before anything is imported.
    return saved_config(path, step=None if step is None else int(step), allow=ALL), list(argv)
