"""``score-sde export``: a trained model as files that need nothing of this package to be read."""

from collections.abc import Sequence
from pathlib import Path

from score_sde.cli import report
from score_sde.cli.flags import refusals, require
from score_sde.cli.workdir import load_model, workdir_flags
from score_sde.interop.exported import CARD, WEIGHTS, check_free, export_model


def main(argv: Sequence[str]) -> int:
    """Write the averaged parameters and the resolved config."""
    flags = workdir_flags("export", "Write a trained model as safetensors and JSON, to be loaded without its run.")
    flags.string("output", None, "new folder for the model (required)")
    values = flags.parse(argv)
    output = Path(require(values.output, "output", "exported/digits")).expanduser()
    model, workdir = load_model(values)
    with refusals():
        check_free(output)
        export_model(output, model.params, model.config, step=model.step)
    rows = {"weights": str(output / WEIGHTS), "config and fingerprints": str(output / CARD)}
    report.show(f"{workdir}, step {model.step}", rows)
    return 0
