"""Accuracy of every sampler at 5 to 1000 evaluations, on data with an exact score: tables
and figures.

python scripts/benchmark.py samplers            writes docs/benchmarks/samplers.md and its figures

Deterministic samplers are measured by the distance of their ends to the exact ends of
the probability-flow ODE from the same latents; stochastic ones by their distribution
(weak error) and, where their noise is a Brownian path, by the distance to the end of
the same path with many steps (strong error).
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import score_sde as ss
from score_sde.runtime.progress import ProgressBar
from score_sde.solvers import CauchyGrid, EDMGrid

NFES = (5, 10, 20, 50, 100, 1000)
DIM, NUM_LATENTS, NUM_SAMPLES, NUM_PATHS = 8, 256, 4096, 64
FOLDER = Path(__file__).parent.parent / "docs" / "benchmarks"
SDES = {"VP": ss.VPSDE(), "sub-VP": ss.SubVPSDE(), "VE": ss.VESDE(), "EDM": ss.EDMSDE()}

Table = dict[str, list[float]]
"""The errors of every sampler at all numbers of evaluations."""


class Problems(NamedTuple):
    """A Gaussian, as a mixture of equal modes, and three mixtures of six modes, stacked."""

    means: jax.Array
    std: jax.Array
    log_weights: jax.Array

    def score(self, sde: ss.SDE) -> Callable[[Any, Any], Any]:
        """The exact score of one of the problems."""

        def score(x: Any, t: Any) -> Any:
            alpha, sigma = sde.marginal(t)
            variance = jnp.square(alpha * self.std) + jnp.square(sigma)
            away = alpha * self.means - x
            share = jax.nn.softmax(
                self.log_weights - jnp.sum(jnp.square(away), 1) / (2.0 * variance)
            )
            return share @ away / variance

        return score

    def deviation(self) -> jax.Array:
        """The standard deviation of the data, over all coordinates."""
        weights = jnp.exp(self.log_weights)
        spread = jnp.mean(weights @ jnp.square(self.means)) - jnp.mean(
            jnp.square(weights @ self.means)
        )
        return jnp.sqrt(spread + jnp.square(self.std))

    def data(self, key: Any, num: int) -> jax.Array:
        """Examples."""
        mode_key, noise_key = jax.random.split(key)
        modes = jax.random.categorical(mode_key, self.log_weights, shape=(num,))
        return self.means[modes] + self.std * jax.random.normal(noise_key, (num, DIM))


def problems() -> Problems:
    """The Gaussian first; the means of the modes of a mixture have mean square one."""
    means, weights = [np.full((6, DIM), 0.3)], [np.full(6, 1.0 / 6.0)]
    for seed in (50, 51, 52):
        rng = np.random.default_rng(seed)
        modes = rng.normal(size=(6, DIM))
        means.append(modes / np.sqrt(np.mean(modes**2)))
        weights.append(rng.dirichlet(np.full(6, 3.0)))
    std = np.array([0.5, 0.2, 0.1, 0.4])
    return Problems(jnp.asarray(np.stack(means)), jnp.asarray(std), jnp.asarray(np.log(weights)))


def deterministic(nfe: int) -> dict[str, ss.Sampler]:
    """Every deterministic sampler with ``nfe`` evaluations, the last step to the data where
    possible.
    """
    last = 0.2 / math.sqrt(nfe)
    return {
        "default_sampler": ss.default_sampler(nfe=nfe),
        "DDIM": ss.DDIM(num_steps=nfe, last_ratio=last),
        "Adams-Bashforth 3": ss.AdamsBashforth(num_steps=nfe, last_ratio=last),
        "DPM-Solver++ 2M": ss.DPMSolverPP(num_steps=nfe, last_ratio=last),
        "DPM-Solver++ 3M": ss.DPMSolverPP(num_steps=nfe, order=3, last_ratio=last),
        "UniPC-3": ss.UniPC(num_steps=nfe, last_ratio=last),
        "DEIS-tAB3": ss.DEIS(num_steps=nfe, grid=EDMGrid(), last_ratio=last),
        "iPNDM-4": ss.IPNDM(num_steps=nfe, grid=EDMGrid(), last_ratio=last),
        "DPM-Solver++ 3M, Cauchy grid": ss.DPMSolverPP(
            num_steps=nfe, order=3, grid=CauchyGrid(), last_ratio=last
        ),
        "DPM-Solver-2": ss.DPMSolver(num_steps=max(nfe // 2, 1)),
        "DPM-Solver-3": ss.DPMSolver(num_steps=max(nfe // 3, 1), order=3),
        "EDM Euler": ss.EDM(num_steps=nfe, order=1),
        "EDM Heun": ss.EDM(num_steps=max(nfe // 2, 1)),
        "Heun in t": ss.Heun(num_steps=max(nfe // 2, 1)),
    }


def stochastic(nfe: int) -> dict[str, ss.Sampler]:
    """Every stochastic sampler with ``nfe`` evaluations."""
    half, last = max(nfe // 2, 1), 0.2 / math.sqrt(nfe)
    return {
        "Euler-Maruyama": ss.EulerMaruyama(num_steps=nfe),
        "reverse diffusion": ss.PredictorCorrector(num_steps=nfe, corrector_steps=0),
        "predictor-corrector": ss.PredictorCorrector(num_steps=half),
        "annealed Langevin": ss.AnnealedLangevin(num_steps=max(nfe // 5, 1), steps_each=5),
        "DDIM, eta = 1": ss.DDIM(num_steps=nfe, eta=1.0, last_ratio=last),
        "SDE-DPM-Solver++ 2M": ss.SDEDPMSolverPP(num_steps=nfe, last_ratio=last),
        "SDE-DPM-Solver++ 3M": ss.SDEDPMSolverPP(num_steps=nfe, order=3, last_ratio=last),
        "Adams-Bashforth 3, SDE": ss.AdamsBashforth(
            num_steps=nfe, grid=CauchyGrid(), noise_scale=1.0, last_ratio=last
        ),
        "ER-SDE-3": ss.ERSDE(num_steps=nfe, grid=EDMGrid(), last_ratio=last),
        "EDM Heun, churn": ss.EDM(num_steps=half, churn=0.4 * half),
        "Restart": ss.Restart(
            num_steps=max(half // 2, 1), restarts=1, restart_steps=max(half - half // 2, 1)
        ),
        "ShARK": ss.ShARK(num_steps=half),
        "SRA1": ss.SRA1(num_steps=half),
        "exponential ShARK": ss.ExponentialShARK(num_steps=half, grid=EDMGrid()),
    }


def on_one_path(nfe: int) -> dict[str, ss.Sampler]:
    """Every sampler whose noise is a Brownian path, with ``nfe`` evaluations."""
    half = max(nfe // 2, 1)
    return {
        "Euler-Maruyama": ss.EulerMaruyama(num_steps=nfe, path="tree"),
        "ShARK": ss.ShARK(num_steps=half, path="tree"),
        "SRA1": ss.SRA1(num_steps=half, path="tree"),
        "DDIM, eta = 1": ss.DDIM(num_steps=nfe, eta=1.0, path="tree"),
        "SDE-DPM-Solver++ 2M": ss.SDEDPMSolverPP(num_steps=nfe, path="tree"),
        "SDE-DPM-Solver++ 3M": ss.SDEDPMSolverPP(num_steps=nfe, order=3, path="tree"),
        "ER-SDE-3": ss.ERSDE(num_steps=nfe, grid=EDMGrid(), path="tree"),
    }


def suited(sampler: ss.Sampler, sde: ss.SDE) -> ss.Sampler:
    """The sampler with the last noise level of the SDE."""
    if isinstance(sampler, ss.AnnealedLangevin):  # as in NCSN, a fifth of the last variance
        return dataclasses.replace(
            sampler, step_size=0.2 * float(sde.marginal(sde.t_min).sigma) ** 2
        )
    return sampler


def flow_errors(sde: ss.SDE, nfe: int) -> dict[str, np.ndarray]:
    """The distance to the exact ends of the probability-flow ODE: 3,000 steps of order 4,
    in float64.
    """
    with jax.enable_x64(True):
        given = problems()
        latents = sde.prior_std() * jax.random.normal(
            jax.random.key(0), (NUM_LATENTS, DIM), jnp.float64
        )

        def ends(sampler: ss.Sampler) -> np.ndarray:
            def end(problem: Problems, z: Any) -> Any:
                return ss.decode(sde, problem.score(sde), z, sampler=sampler, denoise=True)

            return np.asarray(
                jax.jit(jax.vmap(jax.vmap(end, (None, 0)), (0, None)))(given, latents)
            )

        exact = ends(
            ss.AdamsBashforth(
                num_steps=3000, order=4, grid=CauchyGrid(), last_ratio=0.0111, scale=0.05
            )
        )
        size = math.sqrt(DIM) * np.asarray(jax.vmap(Problems.deviation)(given))
        return {
            name: np.median(np.linalg.norm(ends(suited(sampler, sde)) - exact, axis=2), axis=1)
            / size
            for name, sampler in deterministic(nfe).items()
        }


def sliced_wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over 256 directions of the distance between the sorted projections."""
    directions = np.random.default_rng(0).normal(size=(a.shape[1], 256))
    directions /= np.linalg.norm(directions, axis=0)
    return float(np.mean(np.abs(np.sort(a @ directions, 0) - np.sort(b @ directions, 0))))


def weak_errors(sde: ss.SDE, nfe: int) -> dict[str, np.ndarray]:
    """The sliced Wasserstein distance to data; for the Gaussian, the relative error of the
    standard deviation.
    """
    given, keys = problems(), jax.random.split(jax.random.key(1), NUM_SAMPLES)
    size = np.asarray(jax.vmap(Problems.deviation)(given))
    data, other = (
        np.asarray(jax.vmap(lambda p, s=s: p.data(jax.random.key(s), NUM_SAMPLES))(given))
        for s in (2, 3)
    )

    def errors(x: np.ndarray) -> np.ndarray:
        distances = [sliced_wasserstein(*pair) for pair in zip(x, data, strict=True)] / size
        return np.append(abs(x[0].std() / size[0] - 1.0), distances[1:])

    def draws(sampler: ss.Sampler) -> np.ndarray:
        def draw(problem: Problems, key: Any) -> Any:
            return ss.sample(key, sde, problem.score(sde), sampler, (DIM,)).x

        return np.asarray(jax.jit(jax.vmap(jax.vmap(draw, (None, 0)), (0, None)))(given, keys))

    found = {name: errors(draws(suited(sampler, sde))) for name, sampler in stochastic(nfe).items()}
    return {"other data": errors(other), **found}


def strong_errors(sde: ss.SDE, nfe: int) -> dict[str, np.ndarray]:
    """The root-mean-square distance to the end of the same Brownian path with 4,000 evaluations."""
    given, keys = problems(), jax.random.split(jax.random.key(1), NUM_PATHS)
    size = np.asarray(jax.vmap(Problems.deviation)(given))

    def ends(sampler: ss.Sampler) -> np.ndarray:
        def end(problem: Problems, key: Any) -> Any:
            return ss.sample(key, sde, problem.score(sde), suited(sampler, sde), (DIM,)).x

        return np.asarray(jax.jit(jax.vmap(jax.vmap(end, (None, 0)), (0, None)))(given, keys))

    few, many = on_one_path(nfe), on_one_path(4000)
    if not REFERENCES.get(sde):
        REFERENCES[sde] = {name: ends(sampler) for name, sampler in many.items()}
    return {
        name: np.sqrt(np.mean((ends(sampler) - REFERENCES[sde][name]) ** 2, (1, 2))) / size
        for name, sampler in few.items()
    }


REFERENCES: dict[ss.SDE, dict[str, np.ndarray]] = {}
"""The reference ends, with 4,000 evaluations."""

KINDS = {
    "Deterministic samplers": (
        flow_errors,
        "distance to the exact end of the probability-flow ODE",
        "distance",
        f"Medians over {NUM_LATENTS} latents.",
    ),
    "Stochastic samplers: weak error": (
        weak_errors,
        "sliced Wasserstein distance to data",
        "relative error of the standard deviation",
        f"Of {NUM_SAMPLES} samples, beside the distance of as many other data, the noise of this "
        "measure.",
    ),
    "Stochastic samplers: strong error": (
        strong_errors,
        "distance to the end of the same Brownian path",
        "distance",
        f"Root mean squares over {NUM_PATHS} paths.",
    ),
}
"""The measurements of each class of samplers: on mixtures, in standard deviations of the
data, and on the Gaussian.
"""


def measure(
    errors: Callable[[ss.SDE, int], dict[str, np.ndarray]], title: str
) -> dict[str, tuple[Table, Table]]:
    """The tables of the mixtures (geometric means) and of the Gaussian for every SDE."""
    found: dict[str, tuple[Table, Table]] = {}
    with ProgressBar(title, len(SDES) * len(NFES), unit="runs") as progress:
        for name, sde in SDES.items():
            columns = []
            for nfe in NFES:
                columns.append(errors(sde, nfe))
                progress.update(progress.done + 1)
            mixtures = {
                key: [float(np.exp(np.mean(np.log(c[key][1:])))) for c in columns]
                for key in columns[0]
            }
            found[name] = mixtures, {key: [float(c[key][0]) for c in columns] for key in columns[0]}
    return found


def as_markdown(title: str, table: Table) -> str:
    """A table with a row for each sampler."""
    head = [
        f"### {title}",
        "",
        "| sampler | " + " | ".join(map(str, NFES)) + " |",
        "|---" * (len(NFES) + 1) + "|",
    ]
    rows = (
        f"| {name} | " + " | ".join(f"{error:.2g}" for error in row) + " |"
        for name, row in table.items()
    )
    return "\n".join([*head, *rows])


def draw_curves(path: Path, tables: dict[str, Table], label: str) -> None:
    """Error over evaluations, a panel for each SDE."""
    figure, axes = plt.subplots(
        1, len(tables), figsize=(4.2 * len(tables), 5.2), sharey=True, layout="constrained"
    )
    for axis, (title, table) in zip(axes, tables.items(), strict=True):
        for index, (name, row) in enumerate(table.items()):
            style = {
                "color": COLOURS[index % len(COLOURS)],
                "linestyle": ("-", "--", ":")[index // len(COLOURS)],
            }
            bold = {
                "color": "black",
                "linestyle": ":" if name == "other data" else "-",
                "linewidth": 2.6,
            }
            axis.loglog(NFES, row, label=name, **(bold if index == 0 else style))
        axis.set(
            title=title, xlabel="evaluations of the score", xticks=NFES, xticklabels=map(str, NFES)
        )
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"{label},\nin standard deviations of the data")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
    )
    figure.savefig(path, dpi=90)
    plt.close(figure)


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c8c8c")
"""The colour-blind safe palette of Okabe & Ito, and grey."""


def main() -> None:
    """Measure, and write tables and figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION]
    for title, (errors, *_) in KINDS.items():
        parts.append(section(title, measure(errors, title)))
        (FOLDER / "samplers.md").write_text("\n\n".join(parts) + "\n")


def section(title: str, found: dict[str, tuple[Table, Table]]) -> str:
    """The tables of a class of samplers, and their figure."""
    errors, label, gaussian_label, how = KINDS[title]
    figure = FOLDER / f"{errors.__name__}.png"
    draw_curves(figure, {name: tables[0] for name, tables in found.items()}, label)
    parts = [f"## {title}", how, f"![{label}]({figure.name})"]
    for name, (mixtures, gaussian) in found.items():
        parts.append(as_markdown(f"{name}, mixtures: {label}", mixtures))
        parts.append(as_markdown(f"{name}, Gaussian: {gaussian_label}", gaussian))
    return "\n\n".join(parts)


INTRODUCTION = f"""# Accuracy of the samplers

Written by `python scripts/benchmark.py samplers`. The scores are exact: of a Gaussian of standard deviation 0.5
and of three mixtures of six Gaussians (seeds 50, 51, 52; standard deviations 0.2, 0.1, 0.4), in {DIM} dimensions; for
the mixtures, geometric means are shown. Columns are evaluations of the score; samplers that end at `t_min` are denoised
with one more. Errors are in standard deviations of the data. Each sampler has the grid of its paper, or as named;
samplers in `t` adapt theirs to the SDE. Each sampler has its default options: none is tuned to these data."""  # noqa: E501

if __name__ == "__main__":
    main()
