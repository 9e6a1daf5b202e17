"""``score-sde import``: a checkpoint of another project as a model of this one."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from score_sde.cli.config_file import read_config
from score_sde.cli.flags import (
    Flags,
    config_help,
    given,
    require,
    take,
    usage_errors,
    value_of,
)
from score_sde.cli.reference_config import read_reference_config
from score_sde.evaluation import report
from score_sde.experiments.loading import saved_config
from score_sde.experiments.published import load_published, nearest_config
from score_sde.export.model import check_free, export_model
from score_sde.interop.diffusers_folder import is_diffusers
from score_sde.interop.foreign import count_parameters

EXAMPLE = "checkpoint_24.pth"

CONFIG_HELP = {
    **config_help("default: --reference_config, or the config of a diffusers folder"),
    "--reference_config": "config file of the published code instead of --config: .py, which is "
    "run, or .json (default: none)",
}


def main(argv: Sequence[str]) -> int:
    """Read the checkpoint, check it against the network of the config, and write the model."""
    description = (
        "Convert a checkpoint of Score-SDE (PyTorch or JAX), ScoreFlow, NCSN or NCSNv2, or a "
        "diffusers folder\n"
        "(UNet2DModel), to a model for all commands. It takes the averaged parameters, and runs no "
        "code of the checkpoint."
    )
    flags = Flags("import", description, _config, CONFIG_HELP)
    flags.string("checkpoint", None, f"file or folder, for example {EXAMPLE} (required)")
    flags.string("workdir", None, "new folder for the model (required)")
    values = flags.parse(argv)
    checkpoint = Path(given(values.checkpoint, "checkpoint", EXAMPLE)).expanduser()
    workdir = Path(given(values.workdir, "workdir", "runs/imported")).expanduser()
    require(checkpoint.exists(), f"no such checkpoint: {checkpoint}")
    with usage_errors():
        check_free(workdir)
        if "config" not in values:
            nearest = nearest_config(count_parameters(checkpoint))
            raise ValueError(f"--config is missing{nearest}")
        model = load_published(checkpoint, values.config)
        export_model(workdir, model.params, model.saved_config, step=model.step)
    rows = {"imported": f"{checkpoint}, step {model.step}"}
    report.record(workdir, rows)
    report.show(f"model in {workdir}: score-sde sample --workdir={workdir}", rows)
    return 0


def _config(argv: Sequence[str]) -> tuple[ConfigDict | None, list[str]]:
    """The config of ``--config``, ``--reference_config``, or a diffusers folder."""
    name, rest = take("config", argv)
    reference, rest = take("reference_config", rest)
    require(
        name is None or reference is None,
        "--config and --reference_config exclude each other: give one of them",
    )
    if reference is not None:
        return read_reference_config(reference), rest
    if name is not None:
        return read_config(name), rest
    checkpoint = value_of("checkpoint", argv)
    if checkpoint is None or not is_diffusers(folder := Path(checkpoint).expanduser()):
        return None, rest
    return saved_config(folder), rest
