"""Few-step accuracy beside the schedulers of diffusers, on mixtures with exact scores:
tables and a figure.

    python -m venv peers && peers/bin/pip install -e . diffusers torch torchsde scipy
    peers/bin/python scripts/compare_with_diffusers.py      writes
    docs/benchmarks/diffusers.md and diffusers.png

diffusers and torch are no dependencies of the project: give them an environment of
their own. It takes a quarter of an hour on two busy cores.

Deterministic: the distance of the ends to the exact ends of the probability-flow ODE
from the same latents, as the median over 512 samples, in standard deviations of the
data. Stochastic: the sliced Wasserstein distance to data.
"""

import multiprocessing
import os
import time
import warnings
from concurrent import futures
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers_schedulers as peers
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import integrate

import score_sde as ss
from score_sde.sdes.mixture import Mixture
from score_sde.solvers import CauchyGrid, EDMGrid
from score_sde.typing import ScoreFn

NFES = (5, 10, 20, 50)
FOLDER = Path(__file__).parent.parent / "docs" / "benchmarks"


@dataclass(frozen=True)
class Problem:
    """A mixture of Gaussians of one standard deviation, with means of mean square one; its
    latents, and their exact ends.
    """

    seed: int
    dim: int
    spread: float = 0.2
    modes: int = 6
    num: int = 512

    @cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means, weights, latents."""
        rng = np.random.RandomState(self.seed)
        means = rng.randn(self.modes, self.dim)
        means /= np.sqrt(np.mean(means**2))
        weights = rng.dirichlet(np.full(self.modes, 3.0))
        return means, weights, rng.randn(self.num, self.dim)

    @property
    def mixture(self) -> Mixture:
        """The data."""
        means, weights, _ = self.parts
        return Mixture.from_arrays(means, float(self.spread), weights)

    @property
    def deviation(self) -> float:
        """The standard deviation of the data about 0, over all coordinates."""
        means, weights, _ = self.parts
        return float(np.sqrt(np.sum(weights @ means**2) / self.dim + self.spread**2))

    def denoised(self, y: np.ndarray, ratio: float) -> np.ndarray:
        """``E[x_0 | x_0 + ratio z = y]`` in the precision of ``y``."""
        means, weights, _ = (part.astype(y.dtype) for part in self.parts)
        variance = self.spread**2 + ratio**2
        logits = np.log(weights) + (y @ means.T - 0.5 * np.sum(means**2, 1)) / variance
        share = np.exp(logits - logits.max(1, keepdims=True))
        keep = self.spread**2 / variance
        return keep * y + (1.0 - keep) * (share / share.sum(1, keepdims=True)) @ means

    def exact(self, alpha: float, *stops: float) -> list[np.ndarray]:
        """The flow from ``latent / alpha`` at ``sqrt(1 / alpha^2 - 1)`` to some ratios:
        DOP853 at 1e-9 in float64.
        """
        latent = self.parts[2]

        def slope(log_ratio: float, flat: np.ndarray) -> np.ndarray:
            y = flat.reshape(latent.shape)
            return (y - self.denoised(y, np.exp(log_ratio))).ravel()

        span = (0.5 * np.log(1.0 / alpha**2 - 1.0), np.log(min(stops)))
        levels = sorted(stops)[::-1]
        tolerances: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9, "method": "DOP853"}
        found = integrate.solve_ivp(
            slope, span, (latent / alpha).ravel(), t_eval=np.log(levels), **tolerances
        ).y.T
        return [found[levels.index(stop)].reshape(latent.shape) for stop in stops]

    def data(self, num: int, seed: int) -> np.ndarray:
        """Samples of the data."""
        means, weights, _ = self.parts
        rng = np.random.default_rng([self.seed, seed])
        return means[rng.choice(self.modes, num, p=weights)] + self.spread * rng.normal(
            size=(num, self.dim)
        )

    def error(self, ends: np.ndarray, exact: np.ndarray) -> float:
        """The median distance, in standard deviations of the data."""
        return float(
            np.median(np.linalg.norm(ends - exact, axis=1)) / np.sqrt(self.dim) / self.deviation
        )


REQUIRED = [
    Problem(seed, dim) for seed, dim in ((0, 2), (1, 64), (2, 3), (3, 16), (4, 128), (5, 2))
]
"""The six problems of the first table."""
OTHERS = [
    Problem(seed, dim, spread, modes, 256)
    for seed, (dim, spread, modes) in enumerate(
        [
            (1, 0.2, 3),
            (4, 0.05, 6),
            (8, 0.4, 10),
            (32, 0.1, 6),
            (256, 0.2, 20),
            (2, 0.05, 12),
            (16, 0.7, 4),
            (3, 0.1, 8),
        ],
        start=20,
    )
]
"""Eight other problems; no parameter of ours was chosen with them."""
BLOCK, BLOCKS = 4096, 3
NOISY = [
    Problem(*values, BLOCK * BLOCKS)
    for values in ((30, 2, 0.2, 6), (31, 8, 0.4, 10), (32, 16, 0.1, 6), (33, 4, 0.05, 6))
]
"""The problems of the stochastic table."""


def parts_of(vector: np.ndarray, problems: list[Problem]) -> list[tuple[Problem, np.ndarray]]:
    """The samples of every problem."""
    ends = np.cumsum([p.num * p.dim for p in problems])
    return [
        (p, part.reshape(p.num, p.dim))
        for p, part in zip(problems, np.split(vector, ends[:-1]), strict=True)
    ]


Errors = dict[str, np.ndarray]
"""The errors of every setting, the first axis of which is the problems."""


def denoise_all(problems: list[Problem]) -> Any:
    """``E[x_0 | y]`` of all problems as one vector."""
    return lambda y, ratio: np.concatenate(
        [p.denoised(part, ratio).ravel() for p, part in parts_of(y, problems)]
    )


def latents(problems: list[Problem]) -> np.ndarray:
    """The latents of all problems, as one vector."""
    return np.concatenate([p.parts[2].ravel() for p in problems])


def flow_errors(problems: list[Problem], nfe: int) -> tuple[Errors, Errors, Errors]:
    """The errors of theirs at the data, of theirs at sigma_min where they stop there, and
    of ours.
    """
    alpha = float(np.sqrt(peers.ALPHA_BAR[-1]))
    exact = [p.exact(alpha, 1e-4, float(peers.TABLE[0])) for p in problems]
    own_exact = [p.exact(float(ss.VPSDE().marginal(1.0).alpha), 1e-4)[0] for p in problems]
    latent, denoise = latents(problems), denoise_all(problems)
    found: tuple[Errors, Errors] = ({}, {})
    for name, setting in peers.deterministic_settings().items():
        ends, at_min = peers.run(setting, nfe, latent, denoise)
        for end in (0, 1)[: 1 + at_min]:
            pairs = zip(parts_of(ends, problems), exact, strict=True)
            found[end][name] = np.array([p.error(part, x[end]) for (p, part), x in pairs])
    ours = {"float32": ends_of_ours(problems, own_exact, nfe)}
    with jax.enable_x64(True):
        ours["float64"] = ends_of_ours(problems, own_exact, nfe)
    return *found, ours


def joint_score(sde: ss.SDE, problems: list[Problem]) -> ScoreFn:
    """The score of one sample of every problem, concatenated: samplers act on each
    coordinate alone.
    """
    scores, cuts = (
        [p.mixture.score_fn(sde) for p in problems],
        np.cumsum([p.dim for p in problems])[:-1],
    )
    return lambda x, t: jnp.concatenate(
        [score(part, t) for score, part in zip(scores, jnp.split(x, cuts), strict=True)]
    )


def apart(x: Any, problems: list[Problem]) -> list[np.ndarray]:
    """The samples of every problem, from concatenated ones."""
    return np.split(np.asarray(x), np.cumsum([p.dim for p in problems])[:-1], axis=1)


def ends_of_ours(problems: list[Problem], exact: list[np.ndarray], nfe: int) -> np.ndarray:
    """The errors of `default_sampler`, from the same latents at the first noise level of
    our VP.
    """
    sde, sampler = ss.VPSDE(), ss.default_sampler(nfe=nfe)
    score, latent = (
        joint_score(sde, problems),
        jnp.asarray(np.concatenate([p.parts[2] for p in problems], 1)),
    )
    ends = jax.jit(jax.vmap(lambda z: ss.decode(sde, score, z, sampler=sampler)))(latent)
    return np.array(
        [p.error(end, x) for p, end, x in zip(problems, apart(ends, problems), exact, strict=True)]
    )


def stochastic_of_ours(nfe: int) -> dict[str, ss.Sampler]:
    """Our stochastic samplers with ``nfe`` evaluations on suitable grids, the last step to
    the data.
    """
    last, half = {"last_ratio": 1.0 / nfe, "grid": CauchyGrid()}, (nfe - 1) // 2
    return {
        DEFAULT: ss.default_sampler(nfe=nfe, noise_scale=1.0),
        "default_sampler, noise_scale = 0.5": ss.default_sampler(nfe=nfe, noise_scale=0.5),
        "default_sampler, deterministic": ss.default_sampler(nfe=nfe),
        "SDE-DPM-Solver++ 1": ss.SDEDPMSolverPP(num_steps=nfe, order=1, **last),
        "SDE-DPM-Solver++ 2M": ss.SDEDPMSolverPP(num_steps=nfe, order=2, **last),
        "SDE-DPM-Solver++ 3M": ss.SDEDPMSolverPP(num_steps=nfe, order=3, **last),
        "ER-SDE-3": ss.ERSDE(num_steps=nfe, **last),
        "DDIM, eta = 1": ss.DDIM(num_steps=nfe, eta=1.0, **last),
        "EDM Heun, churn": ss.EDM(num_steps=half, churn=0.4 * half),
        "exponential ShARK": ss.ExponentialShARK(num_steps=half, grid=EDMGrid()),
    }


class Sliced:
    """Sliced Wasserstein distance to a problem's data over 128 directions, in standard
    deviations of the data.
    """

    def __init__(self, problem: Problem) -> None:
        directions = np.random.default_rng(0).normal(size=(128, problem.dim))
        self.directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(
            np.float32
        )
        # Quantiles of eight times as many data approximate the distribution.
        self.quantiles = self.sorted(problem.data(8 * BLOCK, 0)).reshape(128, BLOCK, 8).mean(2)
        self.deviation = problem.deviation

    def sorted(self, x: np.ndarray) -> np.ndarray:
        """The projections, sorted."""
        return np.sort(self.directions @ x.T.astype(np.float32), 1)

    def distances(self, x: np.ndarray) -> list[float]:
        """The distance of every block of samples."""
        blocks = np.split(x, BLOCKS)
        return [
            float(np.mean(np.abs(self.sorted(block) - self.quantiles)) / self.deviation)
            for block in blocks
        ]


def noisy_errors(problems: list[Problem], nfe: int) -> tuple[Errors, Errors, Errors]:
    """The distances of theirs, of ours, and of other data, ``[problems, blocks]``."""
    sliced = [Sliced(p) for p in problems]
    latent, denoise = latents(problems).astype(np.float32), denoise_all(problems)
    theirs, ours = {}, {}
    for name, setting in peers.stochastic_settings().items():
        parts = parts_of(peers.run(setting, nfe, latent, denoise)[0], problems)
        theirs[name] = np.array(
            [s.distances(part) for s, (_, part) in zip(sliced, parts, strict=True)]
        )
    sde, keys = ss.VPSDE(), jax.random.split(jax.random.key(0), BLOCK * BLOCKS)
    score, shape = joint_score(sde, problems), (sum(p.dim for p in problems),)
    for name, sampler in stochastic_of_ours(nfe).items():
        draw = jax.vmap(lambda key, sampler=sampler: ss.sample(key, sde, score, sampler, shape).x)
        parts = apart(jax.jit(draw)(keys), problems)
        ours[name] = np.array([s.distances(part) for s, part in zip(sliced, parts, strict=True)])
    other = np.array(
        [s.distances(p.data(BLOCK * BLOCKS, 1)) for p, s in zip(problems, sliced, strict=True)]
    )
    return theirs, ours, {"other data": other}


def measure(kind: str, nfe: int) -> tuple[Errors, Errors, Errors]:
    """One job, in a process of its own."""
    warnings.filterwarnings("ignore")
    peers.torch.set_num_threads(1)
    problems = {SIX: REQUIRED, EIGHT: OTHERS, SDE: NOISY}[kind]
    return (noisy_errors if kind == SDE else flow_errors)(problems, nfe)


def mean(errors: np.ndarray) -> float:
    """The geometric mean; NaN where a setting fails on a problem."""
    return float(np.exp(np.mean(np.log(errors))))


def best(errors: Errors) -> str:
    """The setting with the least mean."""
    return min(errors, key=lambda name: np.nan_to_num(mean(errors[name]), nan=np.inf))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def all_settings(columns: list[Errors]) -> list[list[str]]:
    """A row for every setting, the best first."""
    rows = [(name, [mean(errors[name]) for errors in columns]) for name in columns[0]]
    rows.sort(key=lambda row: np.nan_to_num(mean(np.array(row[1])), nan=np.inf))
    return [[name, *("fails" if np.isnan(e) else f"{e:.2g}" for e in row)] for name, row in rows]


def flow_summary(flow: list[tuple[Errors, Errors, Errors]]) -> str:
    """The best of theirs beside ours."""
    rows = []
    for nfe, (to_data, to_min, ours) in zip(NFES, flow, strict=True):
        own, cells = mean(ours["float32"]), []
        for errors in (to_data, to_min):
            least = best(errors)
            cells += [f"{mean(errors[least]):.2g} ({least})", f"{own / mean(errors[least]):.2f}"]
        wins = np.sum(ours["float32"] < np.nanmin([*to_data.values(), *to_min.values()], axis=0))
        ours_cells = [f"**{own:.2g}**", f"{mean(ours['float64']):.2g}"]
        rows.append([str(nfe), *ours_cells, *cells, f"{wins} of {len(ours['float32'])}"])
    head = [
        "NFE",
        "ours",
        "in float64",
        "best of theirs",
        "ratio",
        "best of theirs at sigma_min",
        "ratio",
    ]
    return table([*head, "ours is best"], rows)


def noisy_summary(noisy: list[tuple[Errors, Errors, Errors]]) -> str:
    """The best of theirs beside ours, with standard errors from the blocks."""
    rows = []
    for nfe, (theirs, ours, other) in zip(NFES, noisy, strict=True):
        cells, means = [], []
        for blocks in (ours[DEFAULT], theirs[best(theirs)], other["other data"]):
            over = [mean(column) for column in blocks.T]
            means.append(mean(blocks))
            cells.append(f"{means[-1]:.4f} ± {np.std(over, ddof=1) / np.sqrt(BLOCKS):.4f}")
        rows.append(
            [
                str(nfe),
                f"**{cells[0]}**",
                f"{cells[1]} ({best(theirs)})",
                f"{means[0] / means[1]:.2f}",
                cells[2],
            ]
        )
    return table(["NFE", "ours", "best of theirs", "ratio", "other data"], rows)


def draw(path: Path, panels: dict[str, tuple[list[Errors], list[float]]], floor: float) -> None:
    """Ours, the best of theirs, and all of theirs in grey."""
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 4.8), layout="constrained")
    for axis, (title, (theirs, ours)) in zip(axes, panels.items(), strict=True):
        for index, name in enumerate(theirs[0]):
            more = {"label": "settings of diffusers"} if index == 0 else {}
            axis.loglog(
                NFES, [mean(errors[name]) for errors in theirs], color="0.8", linewidth=0.8, **more
            )
        least = [mean(errors[best(errors)]) for errors in theirs]
        axis.loglog(
            NFES, least, "s--", color="#D55E00", label="the best of them at each NFE", linewidth=2
        )
        axis.loglog(NFES, ours, "o-", color="#0072B2", label="default_sampler", linewidth=2.5)
        axis.set(title=title, xlabel="evaluations of the score", ylim=(0.5 * min(ours), 3.0))
        axis.set_xticks(NFES, [str(nfe) for nfe in NFES])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("distance to the exact ends [std of data]")
    axes[-1].set_ylabel("sliced Wasserstein distance [std of data]")
    axes[-1].axhline(floor, color="0.3", linestyle=":", label="other data")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Measure, and write tables and the figure."""
    start, found = time.time(), {}
    jobs = [(kind, nfe) for nfe in sorted(NFES, reverse=True) for kind in (SDE, SIX, EIGHT)]
    with futures.ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(measure, *job): job for job in jobs}
        for job in futures.as_completed(running):
            found[running[job]] = theirs, *_ = job.result()
            kind, nfe = running[job]
            least = f"{best(theirs)} {mean(theirs[best(theirs)]):.5f}"
            print(
                f"{time.time() - start:4.0f} s: {kind}, {nfe} NFE: the best of theirs is {least}",
                flush=True,
            )
    six, eight, noisy = ([found[kind, nfe] for nfe in NFES] for kind in (SIX, EIGHT, SDE))
    FOLDER.mkdir(parents=True, exist_ok=True)
    panels = {
        f"ODE, {k}": ([e[0] for e in f], [mean(e[2]["float32"]) for e in f])
        for k, f in ((SIX, six), (EIGHT, eight))
    }
    panels[SDE] = ([errors[0] for errors in noisy], [mean(errors[1][DEFAULT]) for errors in noisy])
    draw(FOLDER / "diffusers.png", panels, mean(noisy[0][2]["other data"]))
    parts = [INTRODUCTION.format(versions=f"{peers.VERSIONS}, jax {jax.__version__}")]
    parts += [
        f"### {kind.capitalize()}\n\n{flow_summary(flow)}"
        for kind, flow in ((SIX, six), (EIGHT, eight))
    ]
    parts += [HINDSIGHT, NOISE, noisy_summary(noisy), EVERY]
    head = [f"{which}, {nfe}" for which in ("six", "eight") for nfe in NFES]
    for which, label in enumerate(("to the data", "at sigma_min, for those that stop there")):
        rows = all_settings([errors[which] for errors in six + eight])
        parts.append(table([f"setting of theirs, {label}", *head], rows))
    for which, label in ((1, "ours"), (0, "theirs")):
        parts.append(
            table(
                [f"{label}, with noise", *map(str, NFES)], all_settings([e[which] for e in noisy])
            )
        )
    (FOLDER / "diffusers.md").write_text("\n\n".join(parts) + "\n")


SIX, EIGHT, SDE = "six problems of seeds 0 to 5", "eight other problems", "SDE, four problems"
DEFAULT = "default_sampler, noise_scale = 1"

INTRODUCTION = """# Accuracy beside the schedulers of diffusers

Written by `python scripts/compare_with_diffusers.py` with {versions}. Data are mixtures of Gaussians, whose scores are
exact, under VP with beta from 0.1 to 20; NFE counts evaluations of the score.

![error over the number of evaluations](diffusers.png)

## Deterministic samplers

The distance of the ends to the exact ends of the probability-flow ODE from the same latents: the median over 512 or
256 samples, in standard deviations of the data; the geometric mean over the problems. Each side starts at the noise
level where its own process begins, and is compared with the exact ends from there. The six problems have 6 modes of
standard deviation 0.2 in 2, 64, 3, 16, 128 and 2 dimensions. The eight have other seeds, 1 to 256 dimensions, 3 to 20 modes
and standard deviations from 0.05 to 0.7. The parameters of ours were chosen on 14 mixtures of seeds 100 to 113. Ours is
`ss.decode(sde, score_fn, latent, sampler=ss.default_sampler(nfe=N))` in float32."""  # noqa: E501

HINDSIGHT = """The best of theirs is chosen at each NFE, with hindsight; ours is one rule. Many of their settings
stop at the least noise level of their table, `sigma_min = 0.01`, and never reach the data. Measured against the exact
point at that level they skip the last interval; ours is always measured at the data. "Ours is best" counts the
problems on which ours is better than every setting of theirs by either measure. Their exponential noise levels are
better than those of Karras with few steps: DEIS3 at 10 NFE has 0.008 with the former and 0.047 with the latter."""  # noqa: E501

NOISE = """## Stochastic samplers

Sliced Wasserstein distance (128 directions) between 4,096 samples and the data, whose quantiles are those of 32,768
points; the geometric mean over four mixtures (seeds 30 to 33; 2, 8, 16, 4 dimensions; standard deviations 0.2, 0.4, 0.1, 0.05)
and three blocks of samples, and its standard error over the blocks, which share the 32,768 points. "Other data" is
the distance of 4,096 fresh points, the noise of this measure. Ours is `ss.sample(…, ss.default_sampler(nfe=N,
noise_scale=1.0), …)`; its parameters were chosen on four mixtures of seeds 200 to 203."""  # noqa: E501

EVERY = """## Every setting

Karras, exponential, beta and lu are their options for the noise levels; uniform is the default spacing; trailing and
the others are values of `timestep_spacing`. A setting fails where it returns NaN: orders 3 down to sigma_min end with a
step of length zero. Two-stage schedulers (Heun, KDPM2, DPM++SDE) take an odd number of evaluations: NFE - 1 where
that is even. Skipped: schedulers of other processes (flow matching, consistency, discrete data; `IPNDMScheduler` and
`CosineDPMSolverMultistepScheduler` have noise levels of their own), inverse and parallel copies, and `UniPC` with
`bh1` and DPM-Solver with predicted noise down to the data themselves, where they divide by zero."""  # noqa: E501

if __name__ == "__main__":
    main()
