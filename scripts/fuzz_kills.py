"""Kills a training at random instants, and proves that nothing is lost.

    python scripts/fuzz_kills.py --kills=20
    python scripts/fuzz_kills.py --kills=20 --workdir=/mnt/disk/kills --seed=3

A tiny training starts, is killed by SIGKILL at a random instant of its start or of its
work, and starts again, until it ends. Its final checkpoint (parameters, averages, state
of the optimizer) and its metrics must then equal those of an undisturbed training, bit
for bit; and so on with further trainings, until there were enough kills. Exit code 1
where anything differs, or where a training ends by itself with an error.

``--workdir`` is any path or URL that ``score-sde train --workdir`` takes. A folder is
made there for each training, and nothing in it is removed.

Each training is a fork of this process, which has imported JAX and computes nothing.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

import score_sde.cli.train  # noqa: F401 - before the forks, which then start at once
from score_sde.cli import main
from score_sde.experiments.builders import build
from score_sde.runtime.working_copy import local_path
from score_sde.training import Checkpoints, init_state
from score_sde.training.speed import Speed

EVERY = 5
"""Steps between two checkpoints: much of the time is spent on saving."""

FLAGS = (
    "--config=toy/mixture",
    "--config.data.num_examples=200",
    "--config.model.hidden_sizes=(8,)",
    "--config.training.batch_size=16",
    "--config.training.eval_every=0",
    "--config.training.sample_every=0",
    "--config.training.log_every=10",
    f"--config.training.checkpoint_every={EVERY}",
    "--config.training.averages=('power:0.1',)",
)


def forked(action: Callable[[], int | None], log: Path) -> int:
    """Start a fork of this process, whose output goes to a file: its number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = action() or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_code(number: int, seconds: float | None = None) -> int:
    """The exit code of a process, killed after some seconds unless it ends before."""
    end = float("inf") if seconds is None else time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(number, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def training(workdir: str, steps: int) -> Callable[[], int]:
    """Train in a workdir, or resume."""
    flags = (*FLAGS, f"--workdir={workdir}", f"--config.training.num_steps={steps}")
    return lambda: main(("train", *flags))


def save_state(workdir: str, steps: int, file: Path) -> None:
    """Write every array of the final checkpoint of a training to a file, and its metrics
    to one beside it.
    """
    folder = local_path(workdir)
    config = json.loads((folder / "config.json").read_text())
    experiment = build(config)
    with Checkpoints(f"{workdir}/checkpoints") as checkpoints:
        assert checkpoints.latest_step() == steps, checkpoints.steps()
        state = init_state(experiment.model.params, experiment.optimizer, num_averages=1)
        found = checkpoints.restore(state)
    leaves = jax.tree_util.tree_leaves_with_path(found)
    np.savez(file, **{jax.tree_util.keystr(path): leaf for path, leaf in leaves})
    file.with_suffix(".jsonl").write_bytes((folder / "metrics.jsonl").read_bytes())


def result(workdir: str, steps: int, scratch: Path) -> tuple[dict[str, bytes], list[dict]]:
    """The arrays of the final checkpoint, and the metrics without the speed."""
    file = scratch / "state.npz"
    log = scratch / "state.log"
    code = exit_code(forked(lambda: save_state(workdir, steps, file), log))
    assert code == 0, f"the checkpoint in {workdir} cannot be read: {log.read_text()[-2000:]}"
    with np.load(file) as arrays:
        state = {name: arrays[name].tobytes() for name in arrays.files}
    lines = file.with_suffix(".jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return state, [{k: v for k, v in row.items() if k not in Speed.METRICS} for row in rows]


def killed_training(
    workdir: str, steps: int, scratch: Path, rng: random.Random, seconds: float, kills: int
) -> int:
    """Train to the end in spite of at most ``kills`` kills: the number of kills."""
    log, done = scratch / "killed.log", 0
    while True:
        patience = rng.uniform(0, seconds) if done < kills else None
        code = exit_code(forked(training(workdir, steps), log), patience)
        if code == 0:
            return done
        assert code == -signal.SIGKILL, f"ended with code {code}: {log.read_text()[-2000:]}"
        done += 1
        print(f"kill {done} after {patience:.2f} s", flush=True)


def fuzz(workdir: str, kills: int, steps: int, seed: int, scratch: Path) -> None:
    """Kill trainings and compare each with an undisturbed one."""
    undisturbed, log, seconds = "", scratch / "undisturbed.log", 0.0
    for name in ("first", "undisturbed"):  # the first compiles the programs of all others
        undisturbed, start = str(scratch / name), time.monotonic()
        code = exit_code(forked(training(undisturbed, steps), log))
        seconds = time.monotonic() - start
        assert code == 0, log.read_text()[-2000:]
    expected, rng, done, number = result(undisturbed, steps, scratch), random.Random(seed), 0, 0
    print(f"an undisturbed training takes {seconds:.1f} s", flush=True)
    while done < kills:
        place = f"{workdir}/{number}"
        done += killed_training(place, steps, scratch, rng, seconds, kills - done)
        found = result(place, steps, scratch)
        differing = [name for name in expected[0] if found[0].get(name) != expected[0][name]]
        assert found[0].keys() == expected[0].keys() and not differing, f"{place}: {differing}"
        assert found[1] == expected[1], f"{place}: other metrics"
        number += 1
        print(f"training {number} is the undisturbed one after {done} kills in all", flush=True)


def run() -> int:
    """Read the flags, and fuzz."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workdir", help="a new path or URL (default: a temporary folder)")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100, help="steps of each training")
    parser.add_argument("--seed", type=int, default=0)
    values = parser.parse_args()
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
    with tempfile.TemporaryDirectory(prefix="score_sde_kills_") as folder:
        scratch = Path(folder)
        workdir = values.workdir or str(scratch / "killed")
        try:
            fuzz(workdir.rstrip("/"), values.kills, values.steps, values.seed, scratch)
        except AssertionError as error:
            print(f"fault: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
