"""``score-sde reconstruct-ema``: post-hoc EMA from the snapshots of a run."""

from collections.abc import Sequence

from score_sde.cli.command_flags import FLAGS
from score_sde.cli.config_source import existing_workdir
from score_sde.cli.flags import given, usage_errors
from score_sde.evaluation import report
from score_sde.experiments.loading import saved_config
from score_sde.export.folder import check_free
from score_sde.export.model import export_model
from score_sde.runtime.trust import ALL
from score_sde.runtime.working_copy import local_path
from score_sde.training import reconstruct
from score_sde.training.snapshots import FOLDER


def main(argv: Sequence[str]) -> int:
    """Fit the profile, sum the snapshots, and write the model."""
    values = FLAGS["reconstruct-ema"]().parse(argv)
    workdir = existing_workdir(values.workdir)
    sigma_rel = given(values.sigma_rel, "sigma_rel", "0.12")
    with usage_errors():
        output = local_path(given(values.output, "output", "exported/digits"))
        check_free(output)
        found = reconstruct(workdir / FOLDER, sigma_rel=sigma_rel, step=values.step)
        # The config is only copied, so it may name any code.
        export_model(
            output, found.params, saved_config(workdir, allow=ALL).to_dict(), step=found.step
        )
    rows = {
        "average": f"power:{sigma_rel:g} after step {found.step}, from {found.num_snapshots} "
        "snapshots",
        "residual of its profile": f"{found.residual:.1e} (distance to the wanted one, relative, "
        "in L2)",
        "model": f"{output}: score-sde sample --workdir={output}",
    }
    report.show(f"reconstruction from {workdir / FOLDER}", rows)
    return 0
