"""``score-sde import``: a checkpoint of another project as a model of this one."""

from collections.abc import Sequence

from score_sde.cli.command_flags import CHECKPOINT, FLAGS
from score_sde.cli.flags import given, require, usage_errors
from score_sde.evaluation import report
from score_sde.experiments.published import load_published, nearest_config
from score_sde.export.folder import check_free
from score_sde.export.model import export_model
from score_sde.interop.foreign import count_parameters
from score_sde.runtime.working_copy import local_path


def main(argv: Sequence[str]) -> int:
    """Read the checkpoint, check it against the network of the config, and write the model."""
    values = FLAGS["import"]().parse(argv)
    with usage_errors():
        checkpoint = local_path(given(values.checkpoint, "checkpoint", CHECKPOINT))
        workdir = local_path(given(values.workdir, "workdir", "runs/imported"))
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
