"""Likelihoods of the digits by SDE and objective, one training budget for all: docs/benchmarks/likelihoods.md.

python scripts/digits_likelihoods.py [--folder=runs/likelihoods]

Denoising score matching with the variance weighting, with the likelihood weighting, and with the likelihood weighting
and importance-sampled times, each with the VP and the sub-VP SDE (Song, Durkan et al. 2021, table 2). The rest is
the recipe of ``configs/digits``. Run again after an interruption, it goes on where it was.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "benchmarks" / "likelihoods.md"

SDES = {"VP": "vp", "sub-VP": "subvp"}
OBJECTIVES = {
    "variance weighting": [],
    "likelihood weighting": ["--config.objective.weighting=likelihood"],
    "likelihood weighting, importance sampling": [
        "--config.objective.weighting=likelihood",
        "--config.objective.time_sampling.name=importance",
    ],
}
PROBES = ["--config.eval.divergence.num_probes=4"]


class Found(NamedTuple):
    """Bits per dimension of the held-out digits: their mean, its standard error over digits, and evaluations."""

    mean: float
    error: float
    nfe: float


def score_sde(*arguments: str) -> None:
    """A verb of the command line, with its output shown."""
    subprocess.run([sys.executable, "-m", "score_sde", *arguments], cwd=ROOT, check=True)


def likelihood_of(folder: Path, sde: str, options: list[str]) -> Found:
    """Train, and compute the likelihood of every held-out digit."""
    score_sde("train", f"--config=configs/digits/{sde}.py", f"--workdir={folder}", *options)
    score_sde("likelihood", f"--workdir={folder}", *PROBES)
    with np.load(folder / "likelihood_test.npz") as found:
        bits, nfe = found["bits_per_dim"], found["nfe"]
    return Found(float(bits.mean()), float(bits.std(ddof=1) / np.sqrt(len(bits))), float(nfe.mean()))


def main() -> None:
    """Train all, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "likelihoods", help="where the runs are kept")
    folder = parser.parse_args().folder
    rows = ["| objective | " + " | ".join(SDES) + " |", "|---" * (len(SDES) + 1) + "|"]
    for number, (title, options) in enumerate(OBJECTIVES.items()):
        found = [likelihood_of(folder / f"{sde}_{number}", sde, options) for sde in SDES.values()]
        rows.append(f"| {title} | " + " | ".join(f"{f.mean:.3f} ± {f.error:.3f} ({f.nfe:.0f})" for f in found) + " |")
        TABLE.write_text(INTRODUCTION + "\n".join(rows) + "\n")
    print("\n".join(rows))


INTRODUCTION = """# Likelihoods of the digits

Written by `python scripts/digits_likelihoods.py`. Bits per dimension of the 297 held-out digits (8 x 8, 17 levels) by
the probability-flow ODE from t = 1e-5, uniform dequantisation, 4 Rademacher probes, tolerance 1e-4; ± is the standard
error over digits, in brackets the evaluations of the ODE. Each model is trained for 1,200 steps of 128 digits with seed
0, by the recipes of `configs/digits`.

"""

if __name__ == "__main__":
    main()
