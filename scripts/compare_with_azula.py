"""Two moons from an array, by this package and by azula: lines, names, total CPU seconds,
and the quality of the samples.

    python -m venv peers && peers/bin/pip install -e . azula torch
    peers/bin/python scripts/compare_with_azula.py [ROUNDS]

azula and torch are no dependencies of the project: give them an environment of their
own. Each round runs every program once, one after the other, in a process of its own
with one thread; the table has the medians and the paired ratios.
"""

import ast
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from score_sde.data import moons

FOLDER = Path(__file__).parent
PROGRAMS = {
    "score_sde": ["two_moons.py", "{seed}", "{file}"],
    "score_sde, compiled before": ["two_moons.py", "{seed}", "{file}"],
    "azula, 2,000 steps": ["two_moons_azula.py", "{seed}", "2000", "{points}", "{file}"],
}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """``2 E|x - y| - E|x - x'| - E|y - y'|``, without bias: about 0 for equal distributions."""

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a[:, None] - b[None], axis=-1).mean())

    n, m = len(x), len(y)
    return 2 * mean(x, y) - mean(x, x) * n / (n - 1) - mean(y, y) * m / (m - 1)


def timed(command: list[str], environment: dict[str, str]) -> float:
    """The CPU seconds of a program, import and compilation included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *command], env=environment, check=True, capture_output=True, cwd=FOLDER
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size(program: str) -> tuple[int, int]:
    """Lines of code without docstrings and blanks, and the names of libraries in them."""
    text = (FOLDER / program).read_text(encoding="utf-8")
    tree = ast.parse(text)
    docs = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and number not in docs
    ]
    ours = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return len(lines), len(names - ours - {"argv"})


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    energy: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": f"{folder}/cache",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        points, file = f"{folder}/points.npy", f"{folder}/samples.npy"
        for seed in range(-1, rounds):  # the first fills the cache, and is not counted
            # The points of `two_moons.py`, for azula's program, and others to compare with.
            train = np.asarray(moons(num_examples=9102, noise=0.14, seed=max(seed, 0)).train)
            np.save(points, train)
            others = np.asarray(moons(num_examples=4552, noise=0.14, seed=1000 + seed).train)
            held_out = (others - train.mean(axis=0)) / train.std(axis=0)
            for name, program in PROGRAMS.items():
                given = {"seed": max(seed, 0), "points": points, "file": file}
                command = [part.format(**given) for part in program]
                warm = cache if "before" in name else {}
                found = timed(command, {**os.environ, **ONE_THREAD, **warm})
                if seed >= 0:
                    seconds[name].append(found)
                    energy[name].append(energy_distance(np.load(file), held_out))
    base = np.array(seconds["azula, 2,000 steps"])
    print("| program | lines | names | CPU s | ratio to azula's 2,000 steps | energy distance |")
    print("|---|---|---|---|---|---|")
    for name, program in PROGRAMS.items():
        lines, names = size(program[0])
        ratio = np.median(np.array(seconds[name]) / base)
        found = energy[name]
        print(
            f"| {name} | {lines} | {names} | {np.median(seconds[name]):.1f} | {ratio:.2f} "
            f"| {np.median(found):.4f} ({min(found):.4f} to {max(found):.4f}) |"
        )


if __name__ == "__main__":
    main()
