"""Likelihoods of the digits by SDE and objective, one training budget for all:
docs/benchmarks/likelihoods.md.

python scripts/digits_likelihoods.py [--folder=runs/likelihoods] [--seeds=2]

Denoising score matching with the variance weighting, with the likelihood weighting, and
with the likelihood weighting and importance-sampled times, each with the VP and the
sub-VP SDE (Song, Durkan et al. 2021, table 2). The rest is `RECIPE`. Then other
dequantisations and bounds of the probability of the levels, for one of the models. An
interrupted run resumes.
"""

import argparse
import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "benchmarks" / "likelihoods.md"

SDES = {"VP": "vp", "sub-VP": "subvp"}
RECIPE = [
    "--config=configs/default.py",
    "--config.optim.lr=2e-3",
    "--config.optim.warmup=100",
    "--config.training.num_steps=1200",
    "--config.training.ema_decay=0.995",
    "--config.training.checkpoint_every=400",
    "--config.training.sample_every=0",
    "--config.eval.rtol=1e-4",
    "--config.eval.atol=1e-4",
]
"""The training of every model: a U-Net of 32 channels that predicts the noise."""

OBJECTIVES = {
    "variance weighting": [],
    "likelihood weighting": ["--config.objective.weighting=likelihood"],
    "likelihood weighting, importance sampling": [
        "--config.objective.weighting=likelihood",
        "--config.objective.time_sampling.name=importance",
    ],
}
ESTIMATES = {
    "probability flow, uniform": [],
    "probability flow, truncated normal": ["--config.eval.dequantizer=truncated_normal"],
    "probability flow, trained flow": ["--dequantizer={dequantizer}"],
    "variational bound, uniform": ["--config.eval.bound=variational"],
    "variational bound, trained flow": [
        "--config.eval.bound=variational",
        "--dequantizer={dequantizer}",
    ],
    "variational bound of the levels from t = 0.008": [
        "--config.eval.bound=variational",
        "--config.eval.dequantizer.name=none",
        "--config.eval.t_min=0.008",
    ],
}
"""Bounds of the probability of the levels, and their flags of ``score-sde likelihood``."""

RESULT = "likelihood_test.npz"
PROBES = ["--config.eval.divergence.num_probes=4"]


class Found(NamedTuple):
    """The result of one trained model: mean bits per dimension of the held-out digits, and
    evaluations of the ODE.
    """

    bits_per_dim: float
    nfe: float


def score_sde(*arguments: str) -> None:
    """Run a command of ``score-sde``."""
    subprocess.run([sys.executable, "-m", "score_sde", *arguments], cwd=ROOT, check=True)


def likelihood_of(folder: Path, sde: str, options: list[str], seed: int) -> Found:
    """Train, and compute the likelihood of every held-out digit."""
    if not (folder / RESULT).exists():
        options = [*RECIPE, f"--config.sde.name={sde}", f"--config.seed={seed}", *options]
        score_sde("train", f"--workdir={folder}", *options)
        score_sde("likelihood", f"--workdir={folder}", *PROBES)
    with np.load(folder / RESULT) as found:
        return Found(float(found["bits_per_dim"].mean()), float(found["nfe"].mean()))


def cell(found: list[Found]) -> str:
    """The mean over seeds, their standard deviation where there are several, and the
    evaluations.
    """
    bits = np.array([one.bits_per_dim for one in found])
    spread = f" ± {bits.std(ddof=1):.3f}" if len(bits) > 1 else ""
    return f"{bits.mean():.3f}{spread} ({np.mean([one.nfe for one in found]):.0f})"


def table(found: dict[tuple[str, str], list[Found]]) -> str:
    """The rows in Markdown: objectives down, SDEs across."""
    rows = ["| objective | " + " | ".join(SDES) + " |", "|---" * (len(SDES) + 1) + "|"]
    rows += [
        f"| {title} | " + " | ".join(cell(found[title, sde]) for sde in SDES) + " |"
        for title in OBJECTIVES
    ]
    return "\n".join(rows)


def estimates_of(trained: Path, folder: Path) -> str:
    """The rows of all estimates for one trained model, which is copied to a folder of its own."""
    if not (folder / "checkpoints").exists():
        shutil.copytree(trained / "checkpoints", folder / "checkpoints")
    dequantizer = folder / "dequantizer"
    score_sde("train-dequantizer", "--config=configs/dequantizer/digits.py", f"--workdir={folder}")
    rows = [
        "| estimate, dequantisation | bits/dim | noise of one estimate | evaluations |",
        "|---|---|---|---|",
    ]
    for title, flags in ESTIMATES.items():
        score_sde(
            "likelihood",
            f"--workdir={folder}",
            *PROBES,
            *(flag.format(dequantizer=dequantizer) for flag in flags),
        )
        with np.load(folder / RESULT) as found:
            bits, nfe = found["bits_per_dim"], found["nfe"]
            noise = np.mean(found["std_error"] * np.abs(bits / found["log_prob"]))
        error = bits.std(ddof=1) / np.sqrt(len(bits))
        rows.append(
            f"| {title} | {bits.mean():.3f} ± {error:.3f} | {noise:.3f} | {nfe.mean():.0f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Train all models, seed by seed, compute the estimates, and write both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "runs" / "likelihoods", help="where the runs are kept"
    )
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds, from 0 (default: 2)")
    arguments = parser.parse_args()
    found: dict[tuple[str, str], list[Found]] = {
        (title, sde): [] for title in OBJECTIVES for sde in SDES
    }
    for seed in range(arguments.seeds):
        for (number, (title, options)), (sde, config) in itertools.product(
            enumerate(OBJECTIVES.items()), SDES.items()
        ):
            folder = arguments.folder / f"{config}_{number}_{seed}"
            found[title, sde].append(likelihood_of(folder, config, options, seed))
        print(table(found))
    seeds = ", ".join(map(str, range(arguments.seeds)))
    estimates = estimates_of(arguments.folder / "vp_0_0", arguments.folder / "estimates")
    TABLE.write_text(
        f"{INTRODUCTION.format(seeds=seeds)}{table(found)}\n{ESTIMATES_INTRODUCTION}{estimates}\n"
    )


INTRODUCTION = """# Likelihoods of the digits

Written by `python scripts/digits_likelihoods.py`. Bits per dimension of the 297 held-out digits (8 x 8, 17 levels) by
the probability-flow ODE from t = 1e-5, uniform dequantisation, 4 Rademacher probes, tolerance 1e-4; in brackets the
evaluations of the ODE. Each U-Net of 32 channels predicts the noise and is trained for 1,200 steps of 128 digits with the
seeds {seeds}; ± is the standard deviation over the seeds. The standard error over the digits, which all models share,
is about 0.014.

"""  # noqa: E501

ESTIMATES_INTRODUCTION = """
Other estimates of the same digits by one of the models (VP, variance weighting, seed 0). Each bounds the probability of
the levels, so the least is the tightest; ± is the standard error over the digits, and the noise of one estimate comes
from its probes or times for one digit. The trained flow is `configs/dequantizer/digits.py`, trained on the training
digits alone. At t = 0.008 the noise is a quarter of a bin: at smaller t, one level of many is decoded from a point far
narrower than its bin, and the bound of the levels is loose (6.62 from t = 1e-5).

"""  # noqa: E501

if __name__ == "__main__":
    main()
