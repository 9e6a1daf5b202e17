"""What the verbs share that start from a trained model."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from score_sde.cli.flags import Flags, Refusal, refusals, require, take, value_of
from score_sde.cli.own_code import ALLOW_CODE, trust_of
from score_sde.cli.own_files import OVERWRITE, check_report, check_results
from score_sde.data import DataSource, Examples
from score_sde.experiments.builders import load_data
from score_sde.experiments.loading import load_trusting, saved_config
from score_sde.experiments.score_model import Model
from score_sde.export.model import is_exported
from score_sde.runtime.atomic_files import make_folder
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.trust import ALL

EXAMPLE = "runs/digits"

SPLITS = ("test", "train")

CONFIG_HELP = {
    "--config.section.key=value": "changes a value of the config of the model, as "
    "--config.sampling.num_steps=100"
}


def workdir_flags(verb: str, description: str) -> Flags:
    """Flags of a verb: ``--workdir``, ``--checkpoint``, ``--allow_code``, and overrides
    of the config saved there.
    """
    flags = Flags(verb, description, _config_of_run, CONFIG_HELP, saved=True)
    flags.string("workdir", None, f"folder of a training run, for example {EXAMPLE} (required)")
    flags.integer("checkpoint", None, "step of a checkpoint (default: the latest)")
    flags.string(
        "average",
        None,
        "which of training.averages, as power:0.05 (default: that of training.ema_decay)",
    )
    flags.string("allow_code", None, ALLOW_CODE)
    flags.boolean("overwrite", False, OVERWRITE)
    return flags


def load_model(values: Any) -> tuple[Model, Path]:
    """The model that the flags ask for, and its folder."""
    path = Path(values.workdir).expanduser()
    with refusals():
        make_folder(path)
        chosen = {"step": values.checkpoint, "config": values.config, "average": values.average}
        model = load_trusting(trust_of(values), path, **chosen)
        return model, path


def check_places(values: Any, workdir: Path, paths: Iterable[Path]) -> None:
    """Raise ``Refusal`` where results, or their rows in the report of ``workdir``,
    would replace what is not ours.
    """
    is_runs = not is_exported(workdir)
    elsewhere = "output" in values and bool(values.output)
    with refusals():
        check_report(workdir, own=is_runs, overwrite=values.overwrite)
        check_results(paths, own=is_runs and not elsewhere, overwrite=values.overwrite)


def result_folder(values: Any, workdir: Path, default: str, names: Iterable[str]) -> Path:
    """The folder of ``--output``, or ``default`` in the workdir, made and checked: results of
    these names may be written there.
    """
    folder = Path(values.output or workdir / default).expanduser()
    with refusals():
        make_folder(folder)
    check_places(values, workdir, [folder / name for name in names])
    return folder


def load_examples(model: Model, values: Any) -> DataSource:
    """The data of a model, checked to be of the kind that it was trained on; ``values``
    are those of the flags.
    """
    with refusals():
        source = load_data(model.saved_config, trust=trust_of(values))
        if source.shape != model.shape or source.num_levels != model.scaling.num_levels:
            found, wanted = (
                (source.shape, source.num_levels),
                (model.shape, model.scaling.num_levels),
            )
            raise ValueError(
                f"the data have (shape, levels) {found}, the model was trained on {wanted}"
            )
    return source


def check_split(split: str) -> None:
    """Raise ``Refusal`` unless ``--split`` names a split of the data."""
    if split not in SPLITS:
        raise Refusal(f"--split must be {' or '.join(SPLITS)}, got {split!r}")


def load_split(model: Model, values: Any) -> tuple[Examples, Any]:
    """The raw examples of the split ``--split`` of the data of a model, and their conditions."""
    source = load_examples(model, values)
    with refusals():
        conditions = model.conditions_of(source, values.split)
    return getattr(source, values.split), conditions


def existing_workdir(name: str | None) -> Path:
    """The folder of a training run, or of an exported model.

    Raises:
        Refusal: where it is not one.
    """
    path = Path(require(name, "workdir", EXAMPLE)).expanduser()
    if (path / "checkpoints").is_dir() or is_exported(path):
        return path
    if path.is_dir() and "checkpoints" in path.parts:
        workdir = Path(*path.parts[: path.parts.index("checkpoints")])
        raise Refusal(
            f"{path} is inside a workdir: give --workdir={workdir}, and --checkpoint=STEP to choose"
        )
    if not path.exists():
        siblings = [
            str(other) for other in path.parent.glob("*") if (other / "checkpoints").is_dir()
        ]
        raise Refusal(f"no such workdir: {path}{did_you_mean(str(path), siblings)}")
    raise Refusal(
        f"no checkpoints in {path}: train with `score-sde train --config=… --workdir={path}` first"
    )


def _config_of_run(argv: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    if take("config", argv)[0] is not None:
        raise Refusal(
            "the config is the one saved with the model: change it by --config.section.key=value"
        )
    step = value_of("checkpoint", argv)
    if step is not None and not step.isdigit():
        raise Refusal(f"--checkpoint must be the step of a checkpoint, got {step!r}")
    path = existing_workdir(value_of("workdir", argv))
    # All code is allowed here: flags may replace some of the names, and `Flags` checks
    # the result.
    return saved_config(path, step=None if step is None else int(step), allow=ALL), list(argv)
