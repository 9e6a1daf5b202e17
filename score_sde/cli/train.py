"""``score-sde train``: training by a config, with checkpoints, metrics and sample grids."""

from collections.abc import Sequence

from score_sde.cli.allowed_code import trust_of
from score_sde.cli.command_flags import FLAGS
from score_sde.cli.config_source import EXAMPLE
from score_sde.cli.flags import given, require, usage_errors
from score_sde.cli.training import train_in
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.builders import build
from score_sde.experiments.initial import origin_of
from score_sde.experiments.resume import continued
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.trust import EVERYTHING
from score_sde.runtime.working_copy import local_path


def main(argv: Sequence[str]) -> int:
    """Train, or resume a training run."""
    values = FLAGS["train"]().parse(argv)
    is_foreign = values.foreign is not None
    require(
        is_foreign or values.allow_code is None,
        "--allow_code is for a saved config, in --workdir, --init_from or a JSON file: your own "
        "config may name any code",
    )
    trust = trust_of(values) if is_foreign else EVERYTHING
    begins = {"init_from": values.init_from, "average": values.average}
    with StopRequest() as stop:
        with usage_errors():
            workdir = local_path(given(values.workdir, "workdir", EXAMPLE))
            origin = origin_of(workdir, **begins)
            config = continued(workdir, values.config, origin and origin.path)
            experiment = build(config, AnyExperiment, trust=trust, data_trust=trust)
        options = {"overwrite": values.overwrite, "lock": values.lock, **begins}
        return train_in(workdir, experiment, stop, **options)
