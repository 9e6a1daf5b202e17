"""The common parts of the commands that start from a trained model."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

from score_sde.cli.allowed_code import trust_of
from score_sde.cli.flags import require, usage_errors
from score_sde.cli.own_files import check_report, check_results
from score_sde.cli.shared_flags import output_folder
from score_sde.data import DataSource, Examples
from score_sde.experiments.builders import load_data
from score_sde.experiments.loading import load_trusting
from score_sde.experiments.score_model import Model
from score_sde.export.folder import is_exported
from score_sde.runtime.atomic_files import make_folder
from score_sde.runtime.shared_folder import check_shared
from score_sde.runtime.working_copy import local_path


def load_model(values: Any) -> tuple[Model, Path]:
    """The model of the flags, and its folder."""
    with usage_errors():
        path = local_path(values.workdir)
        check_shared(path)
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
    with usage_errors():
        folder = output_folder(values.output, workdir, default)
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
    if jax.process_index() == 0:
        for note in source.notes:
            print(f"data {note}", file=sys.stderr, flush=True)
    with usage_errors():
        conditions = model.conditions_of(source, values.split)
    return getattr(source, values.split), conditions
