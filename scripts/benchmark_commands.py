"""The start-up of the commands: imports, restores, traces, compilations and the rest, as
multiples of `import jax` in the same run, without and with a filled compilation cache.

python scripts/benchmark_commands.py                           prints the table
python scripts/benchmark_commands.py --write                   writes it to docs/benchmarks/speed.md
python scripts/benchmark_commands.py --checkouts=../before,.   interleaves two checkouts
python scripts/benchmark_commands.py --commands=sample,encode --rounds=5

A checkout runs with its own ``.venv/bin/python``, or with the Python of this script if it
has none.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE, TITLE = ROOT / "docs" / "benchmarks" / "speed.md", "## Start-up of commands"
CHILD = Path(__file__).resolve().parent / "measured_command.py"
STAGES = ("imports", "restores", "traces", "compilations", "run")

RUN = "--workdir={run}"
COMMANDS = {
    "--help": ["--help"],
    "train": [
        "train",
        "--config={root}/configs/digits/vp.py",
        "--workdir={new}",
        "--config.training.num_steps=20",
        "--config.training.sample_every=0",
    ],
    "sample": ["sample", RUN, "--num_samples=64", "--sampler=default", "--config.sampling.nfe=10"],
    "likelihood": ["likelihood", RUN, "--num_examples=16", "--seed={seed}"],
    "encode": ["encode", RUN, "--num_examples=16"],
    "interpolate": ["interpolate", RUN, "--num_pairs=2"],
    "plot": ["plot", RUN],
    "export": ["export", RUN, "--output={new}"],
}
"""The arguments of each command: ``{run}`` is a trained run, ``{new}`` a new path, and
``{seed}`` a new seed, for which no likelihoods are there to be reused.
"""


class Checkout(NamedTuple):
    """A version of the package, with its files of this benchmark in ``folder``."""

    root: Path
    python: str
    folder: Path

    @property
    def run(self) -> Path:
        """The workdir of its trained run."""
        return self.folder / "run"


class Measurement(NamedTuple):
    """One run of a command: seconds of the clock and of all processors, and the report of
    ``measured_command.py``.
    """

    wall: float
    cpu: float
    report: dict[str, Any]


def main(argv: Sequence[str]) -> None:
    """Measure, and print or write the table."""
    options = options_of(argv)
    with tempfile.TemporaryDirectory(prefix="start_up_") as folder:
        checkouts = [
            Checkout(root, python_of(root), Path(folder, str(number)))
            for number, root in enumerate(options.checkouts)
        ]
        for checkout in checkouts:
            checkout.folder.mkdir()
            measured(checkout, train_arguments(checkout), "the run")
        found = dict(results(checkouts, options))
    text = table(found, options)
    print(text, *bounds(found, len(checkouts)), sep="\n")
    if options.write:
        write(text)


def options_of(argv: Sequence[str]) -> argparse.Namespace:
    """The values of the flags."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    paths = lambda text: [Path(part).resolve() for part in text.split(",")]  # noqa: E731
    parser.add_argument("--checkouts", type=paths, default=[ROOT], help="PATH,PATH")
    parser.add_argument("--commands", type=lambda text: text.split(","), default=[*COMMANDS])
    parser.add_argument("--rounds", type=int, default=2, help="runs with a filled cache")
    parser.add_argument("--write", action="store_true", help=f"write to {PAGE.name}")
    return parser.parse_args(argv)


def python_of(root: Path) -> str:
    """The interpreter of a checkout."""
    own = root / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def train_arguments(checkout: Checkout) -> list[str]:
    """The arguments that train the run which the other commands take."""
    return filled(COMMANDS["train"], checkout, new=checkout.run)


def filled(arguments: list[str], checkout: Checkout, new: Path) -> list[str]:
    """The arguments with their values."""
    values: dict[str, Any] = {"root": checkout.root, "run": checkout.run, "new": new}
    values |= {"seed": time.monotonic_ns() % 2**31}
    return [argument.format(**values) for argument in arguments]


def results(
    checkouts: list[Checkout], options: argparse.Namespace
) -> Iterator[tuple[tuple[str, str, int], list[Measurement]]]:
    """The measurements of each command, cache and checkout by its number. Every round runs
    all checkouts in turn; the first fills the cache of each command.
    """
    kept: dict[tuple[str, str, int], list[Measurement]] = {}
    for round_number in range(1 + options.rounds):
        cache = "warm" if round_number else "cold"
        for command in ["import jax", *options.commands]:
            for number, checkout in enumerate(checkouts):
                kind = "warm" if command in ("import jax", "--help") else cache
                found = measured(checkout, arguments_of(command, checkout), command)
                kept.setdefault((command, kind, number), []).append(found)
    yield from kept.items()


def arguments_of(command: str, checkout: Checkout) -> list[str]:
    """The arguments of a command, with a new path for its results; none of `import jax`."""
    if command == "import jax":
        return []
    new = checkout.folder / f"new_{time.monotonic_ns()}"
    return filled(COMMANDS[command], checkout, new=new)


def measured(checkout: Checkout, arguments: list[str], cache: str) -> Measurement:
    """Run a command, or `import jax` for no arguments, in a process of its own, with the
    compilation cache of this name.
    """
    report = checkout.folder / "report.json"
    child = [str(CHILD), str(report), *arguments] if arguments else ["-c", "import jax"]
    rest = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    programs = {"JAX_COMPILATION_CACHE_DIR": str(checkout.folder / "programs" / cache)}
    start = time.perf_counter()
    process = subprocess.Popen(
        [checkout.python, *child],
        cwd=checkout.root,
        env={**rest, **programs, "MPLBACKEND": "agg"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{checkout.root}: score-sde {' '.join(arguments)} failed:\n{errors}")
    found = json.loads(report.read_text(encoding="utf-8")) if arguments else {}
    return Measurement(wall, usage.ru_utime + usage.ru_stime, found)


def table(found: dict[tuple[str, str, int], list[Measurement]], options: Any) -> str:
    """The table as Markdown."""
    several = len(options.checkouts) > 1
    names = ["before", "after"] if len(options.checkouts) == 2 else map(str, options.checkouts)
    versions = [f" {name} |" if several else "" for name in names]
    head = f"| command | cache |{' version |' if several else ''} imports | restores | traces "
    head += "| compilations (of these from the cache) | run | total | CPU |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for command in options.commands:
        for cache in ("cold", "warm"):
            for number, version in enumerate(versions):
                runs = found.get((command, cache, number))
                if runs:
                    unit = found["import jax", "warm", number]
                    lines.append(f"| `{command}` | {cache} |{version} {cells(runs, unit)} |")
    return "\n".join([*lines, ""])


def cells(runs: list[Measurement], unit: list[Measurement]) -> str:
    """The cells of a row: medians, as multiples of the ``unit``."""
    wall, cpu = (statistics.median(getattr(run, name) for run in unit) for name in ("wall", "cpu"))
    middle = lambda values: statistics.median(values)  # noqa: E731
    stages = {name: middle(run.report[name] for run in runs) / wall for name in STAGES}
    last = runs[-1].report
    numbers = {
        "traces": f"{last['num_traces']}: ",
        "compilations": f"{len(last['programs'])} ({last['hits']}): ",
    }
    texts = [f"{numbers.get(name, '')}{stages[name]:.2f}" for name in STAGES]
    total, used = middle(run.wall for run in runs) / wall, middle(run.cpu for run in runs) / cpu
    return " | ".join([*texts, f"{total:.1f}", f"{used:.1f}"])


def bounds(found: dict[tuple[str, str, int], list[Measurement]], versions: int) -> Iterator[str]:
    """For each version, the seconds of ``sample`` with a filled cache beside its bound."""
    for number in range(versions):
        if ("sample", "warm", number) not in found:
            continue
        sample, unit = found["sample", "warm", number], found["import jax", "warm", number]
        for name, words in (("cpu", "CPU seconds"), ("wall", "seconds")):
            took, jax = (
                statistics.median(getattr(run, name) for run in runs) for runs in (sample, unit)
            )
            yield (
                f"version {number}: sample {took:.2f} {words}, import jax {jax:.2f}, "
                f"4 x import jax + 1 s = {4 * jax + 1:.2f}"
            )


def write(text: str) -> None:
    """Replace the table in the section of the page."""
    page = PAGE.read_text(encoding="utf-8")
    pattern = rf"({re.escape(TITLE)}\n.*?\n\n)\| command .*?(?=\n## |\Z)"
    page, count = re.subn(pattern, lambda m: m[1] + text + "\n", page, flags=re.DOTALL)
    assert count == 1, f"{PAGE} has no table below {TITLE!r}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
