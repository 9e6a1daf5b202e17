"""Accuracy of every sampler at 5 to 1000 evaluations, on mixtures whose score is known; a table and a picture.

python scripts/benchmark_samplers.py            writes docs/benchmarks/samplers.md and samplers.png

Deterministic samplers are measured by the distance of their ends to the exact ends of the probability-flow ODE from the
same latents (the median over 256, in standard deviations of the data); stochastic ones by the sliced Wasserstein
distance of 4,096 samples to the data, beside that of 4,096 other data. VP, sub-VP, VE; geometric means over 3 mixtures.
"""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import score_sde as ss
from score_sde.evaluation.mixture import Mixture
from score_sde.solvers import CauchyGrid, EDMGrid

NFES = (5, 10, 20, 50, 100, 1000)
FOLDER = Path(__file__).parent.parent / "docs" / "benchmarks"
SDES = {"VP": ss.VPSDE(), "sub-VP": ss.SubVPSDE(), "VE": ss.VESDE(sigma_max=50.0)}
MIXTURES = ((50, 2, 0.2), (51, 32, 0.1), (52, 4, 0.4))
"""Seed, dimension, and the deviation of the 6 modes."""


def deterministic(nfe: int) -> dict[str, ss.Sampler]:
    """Every deterministic sampler with ``nfe`` evaluations, the last of them to the data where it can."""
    last = {"last_ratio": 0.2 / math.sqrt(nfe)}
    return {
        "default_sampler": ss.default_sampler(nfe=nfe),
        "DDIM": ss.DDIM(num_steps=nfe, **last),
        "DPM-Solver++ 2M": ss.DPMSolverPP(num_steps=nfe, **last),
        "DPM-Solver++ 3M": ss.DPMSolverPP(num_steps=nfe, order=3, **last),
        "UniPC-3": ss.UniPC(num_steps=nfe, **last),
        "DEIS-tAB3": ss.DEIS(num_steps=nfe, grid=EDMGrid(), **last),
        "iPNDM-4": ss.IPNDM(num_steps=nfe, grid=EDMGrid(), **last),
        "DPM-Solver++ 3M, Cauchy grid": ss.DPMSolverPP(num_steps=nfe, order=3, grid=CauchyGrid(), **last),
        "DPM-Solver-2": ss.DPMSolver(num_steps=max(nfe // 2, 1)),
        "DPM-Solver-3": ss.DPMSolver(num_steps=max(nfe // 3, 1), order=3),
        "EDM Heun": ss.EDM(num_steps=max(nfe // 2, 1)),
        "Heun in t": ss.Heun(num_steps=max(nfe // 2, 1)),
    }


def stochastic(nfe: int) -> dict[str, ss.Sampler]:
    """Every stochastic sampler with ``nfe`` evaluations."""
    half, last = max(nfe // 2, 1), {"last_ratio": 0.2 / math.sqrt(nfe)}
    return {
        "Euler-Maruyama": ss.EulerMaruyama(num_steps=nfe),
        "predictor-corrector": ss.PredictorCorrector(num_steps=half),
        "DDIM, eta = 1": ss.DDIM(num_steps=nfe, eta=1.0, **last),
        "SDE-DPM-Solver++ 2M": ss.SDEDPMSolverPP(num_steps=nfe, **last),
        "SDE-DPM-Solver++ 3M": ss.SDEDPMSolverPP(num_steps=nfe, order=3, **last),
        "SDE-DPM-Solver++ 3M, Cauchy grid": ss.SDEDPMSolverPP(num_steps=nfe, order=3, grid=CauchyGrid(), **last),
        "ER-SDE-3": ss.ERSDE(num_steps=nfe, grid=EDMGrid(), **last),
        "EDM Heun, churn": ss.EDM(num_steps=half, churn=0.4 * half),
        "ShARK": ss.ShARK(num_steps=half),
        "SRA1": ss.SRA1(num_steps=half),
        "exponential ShARK": ss.ExponentialShARK(num_steps=half, grid=EDMGrid()),
    }


def mixtures() -> list[Mixture]:
    """Six modes with means of mean square one."""
    found = []
    for seed, dim, spread in MIXTURES:
        rng = np.random.default_rng(seed)
        means = rng.normal(size=(6, dim))
        found.append(Mixture.from_arrays(means / np.sqrt(np.mean(means**2)), spread, rng.dirichlet(np.full(6, 3.0))))
    return found


def deviation(mixture: Mixture) -> float:
    """The standard deviation of the data, over all coordinates."""
    return float(jnp.sqrt(jnp.trace(mixture.covariance()) / mixture.dim))


def flow_errors(sde: ss.SDE, mixture: Mixture) -> dict[int, dict[str, float]]:
    """The distance to the exact ends of the probability flow; the exact ends by 3,000 steps of order 4, in float64."""
    score = mixture.score_fn(sde)
    with jax.enable_x64(True):
        latents = sde.prior_std() * jax.random.normal(jax.random.key(0), (256, mixture.dim), jnp.float64)
        run = lambda sampler: np.asarray(  # noqa: E731
            jax.jit(jax.vmap(lambda z: ss.decode(sde, score, z, sampler=sampler, denoise=True)))(latents)
        )
        exact = run(ss.AdamsBashforth(num_steps=3000, order=4, grid=CauchyGrid(), last_ratio=0.0111, scale=0.05))
        return {
            nfe: {
                name: float(np.median(np.linalg.norm(run(sampler) - exact, axis=1)))
                / (math.sqrt(mixture.dim) * deviation(mixture))
                for name, sampler in deterministic(nfe).items()
            }
            for nfe in NFES
        }


def sliced_wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over 256 directions of the distance between the sorted projections."""
    directions = np.random.default_rng(0).normal(size=(a.shape[1], 256))
    directions /= np.linalg.norm(directions, axis=0)
    return float(np.mean(np.abs(np.sort(a @ directions, 0) - np.sort(b @ directions, 0))))


def sample_errors(sde: ss.SDE, mixture: Mixture, num: int = 4096) -> dict[int, dict[str, float]]:
    """The sliced Wasserstein distance to data, in standard deviations of the data."""
    score, keys = mixture.score_fn(sde), jax.random.split(jax.random.key(1), num)
    data, other = (np.asarray(mixture.sample(jax.random.key(seed), num)) for seed in (2, 3))
    found: dict[int, dict[str, float]] = {}
    for nfe in NFES:
        found[nfe] = {"other data": sliced_wasserstein(other, data) / deviation(mixture)}
        for name, sampler in stochastic(nfe).items():
            draw = jax.jit(jax.vmap(lambda key, s=sampler: ss.sample(key, sde, score, s, (mixture.dim,)).x))
            found[nfe][name] = sliced_wasserstein(np.asarray(draw(keys)), data) / deviation(mixture)
    return found


def means(tables: list[dict[int, dict[str, float]]]) -> dict[str, list[float]]:
    """Geometric means over mixtures: for every sampler its errors at all numbers of evaluations."""
    return {
        name: [float(np.exp(np.mean([np.log(table[nfe][name]) for table in tables]))) for nfe in NFES]
        for name in tables[0][NFES[0]]
    }


def as_markdown(title: str, table: dict[str, list[float]]) -> str:
    """A table with a row for each sampler."""
    head = [f"### {title}", "", "| sampler | " + " | ".join(map(str, NFES)) + " |", "|---" * (len(NFES) + 1) + "|"]
    return "\n".join(
        [*head, *(f"| {name} | " + " | ".join(f"{e:.2g}" for e in row) + " |" for name, row in table.items())]
    )


def draw_curves(path: Path, tables: dict[str, dict[str, list[float]]], subtitle: str) -> None:
    """Error over evaluations, a panel for each SDE."""
    figure, axes = plt.subplots(1, len(tables), figsize=(5 * len(tables), 5), sharey=True, layout="constrained")
    for axis, (title, table) in zip(np.atleast_1d(axes), tables.items(), strict=True):
        for index, (name, row) in enumerate(table.items()):
            style = ("-", "--", ":")[index // 8]
            axis.loglog(NFES, row, style, label=name, color=f"C{index % 8}", linewidth=3 if index == 0 else 1.3)
        axis.set(title=title, xlabel="evaluations of the score")
        axis.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel(subtitle)
    figure.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Measure, write and draw."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    data, parts = mixtures(), [INTRODUCTION]
    for kind, measure, label in (
        ("Deterministic samplers", flow_errors, "distance to the exact end, in deviations of the data"),
        ("Stochastic samplers", sample_errors, "sliced Wasserstein distance, in deviations of the data"),
    ):
        tables = {name: means([measure(sde, mixture) for mixture in data]) for name, sde in SDES.items()}
        picture = FOLDER / f"{kind.split()[0].lower()}.png"
        draw_curves(picture, tables, label)
        parts += [f"## {kind}", f"![{label}]({picture.name})"]
        parts += [as_markdown(f"{name}: {label}", table) for name, table in tables.items()]
        (FOLDER / "samplers.md").write_text("\n\n".join(parts) + "\n")


INTRODUCTION = """# Accuracy of the samplers

Written by `python scripts/benchmark_samplers.py`: exact scores of mixtures of six Gaussians (seeds 50, 51, 52; 2, 32
and 4 dimensions; modes of deviation 0.2, 0.1 and 0.4), geometric means over the three. Columns are evaluations of the
score; samplers that end at `t_min` are denoised with one more. The distances of other data are the least that a
stochastic sampler can be told apart from."""

if __name__ == "__main__":
    main()
