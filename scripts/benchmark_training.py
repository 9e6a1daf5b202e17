"""The overhead of a run of `score-sde train` beyond its steps, and its scaling with the
number of processes.

Called by ``python scripts/benchmark.py training``.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

import score_sde as ss
from score_sde.cli.local_processes import free_port
from score_sde.configs.digits import vp
from score_sde.configs.vp import cifar10_ddpmpp_continuous
from score_sde.experiments.train import training_run
from score_sde.runtime.launchers import GIVEN
from score_sde.training import (
    Checkpoints,
    Hook,
    TrainState,
    compile_step,
    device_mesh,
    place,
    shard_batch,
    train,
)

WINDOWS = 8
"""The number of measurements of a run between two checkpoints."""

BATCH_OF_A_PROCESS, SCALING_STEPS, SCALING_ROUNDS = 64, 100, 3


def main() -> None:
    """The loop on this machine's devices.

    On two CPU cores, also the steps on one and the loop on the other, as it shares no
    cores with the steps of an accelerator; and one process against two, each on a core
    of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, (title, config) in enumerate(configs(Path(folder))):
            show_loop(title, config, Path(folder) / f"run_{number}")
        if jax.default_backend() == "cpu" and len(_cores()) > 1:
            subprocess.run([sys.executable, __file__], check=True)
            show_scaling(Path(folder))


def digits() -> ConfigDict:
    """The recipe of ``configs/digits/vp.py`` with a U-Net of 32 channels in batches of 128,
    for which the published ratios were measured.
    """
    config = vp.get_config()
    config.model.channels, config.training.batch_size = 32, 128
    config.training.checkpoint_every = 400
    return config


def beside_the_steps() -> None:
    """The loop on another core than the steps; JAX must not have been used before in this
    process.
    """
    first, second, *_ = _cores()
    os.sched_setaffinity(0, {first})
    jax.devices()  # starts the compute threads, on the first core
    os.sched_setaffinity(0, {second})
    with tempfile.TemporaryDirectory() as folder:
        show_loop(
            "digits U-Net, data in memory, the loop on a core of its own",
            digits(),
            Path(folder) / "run",
        )


def configs(folder: Path) -> list[tuple[str, ConfigDict]]:
    """Digits on CPUs; the published DDPM++ on noise of the size of CIFAR-10 on
    accelerators, in both precisions.
    """
    if jax.default_backend() == "cpu":
        from_files = digits()
        from_files.data.update(
            ConfigDict({"source": f"folder:{_digits_as_png(folder / 'png')}", "in_memory": False})
        )
        return [
            ("digits U-Net, data in memory", digits()),
            ("digits U-Net, from PNG files", from_files),
        ]
    noise = folder / "noise.npy"
    np.save(noise, np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), np.uint8))
    found = []
    for dtype in ("float32", "bfloat16"):
        config = cifar10_ddpmpp_continuous.get_config()
        config.model.dtype, config.data.source = dtype, f"npy:{noise}"
        found.append((f"DDPM++ on 32 x 32 images, {dtype}", config))
    return found


def _digits_as_png(folder: Path) -> Path:
    folder.mkdir()
    source = ss.build(digits()).source
    for number, image in enumerate(np.asarray(source.train[np.arange(len(source.train))])):
        Image.fromarray((15 * image[..., 0]).astype(np.uint8)).save(folder / f"{number:04d}.png")
    return folder


@dataclass(eq=False)
class Windows:
    """A hook that times the steps of a run since its last call, and as many bare steps.

    Attributes:
        bare: One step, with a state of its own and a batch on the devices.
        steps: The number of steps.
    """

    bare: Callable[[], Any]
    steps: int
    of_run: list[float] = field(default_factory=list)
    of_bare: list[float] = field(default_factory=list)
    _since: float | None = None

    def __call__(self, state: TrainState, step: int) -> None:
        """Take the time of the run, then of the bare steps."""
        jax.block_until_ready(state)
        start = time.perf_counter()
        if self._since is not None:
            self.of_run.append((start - self._since) / self.steps)
        for _ in range(self.steps - 1):
            self.bare()
        jax.block_until_ready(self.bare())
        self._since = time.perf_counter()
        if self.of_run:
            self.of_bare.append((self._since - start) / self.steps)


def show_loop(title: str, config: ConfigDict, workdir: Path) -> None:
    """Train past a checkpoint, and print the time of a step against a bare step, and the
    causes of waiting.

    The steps, and the functions of the first checkpoint, are compiled before.
    """
    training = config.training
    window = training.checkpoint_every // WINDOWS
    training.num_steps = training.checkpoint_every + 2 * window
    training.eval_every = training.sample_every = 0
    experiment, mesh = ss.build(config), device_mesh()
    run = training_run(experiment, workdir, mesh, {})
    state = place(mesh, run.state)
    step, batch = compile_step(run.step, mesh, state), shard_batch(mesh, run.loader.batch(0))

    with Checkpoints(workdir / "before") as before:
        before.save(state, config=run.config)

    def bare() -> Any:
        nonlocal state
        state, metrics = step(state, batch, run.key)
        return metrics

    windows = Windows(bare=bare, steps=window)
    with closing(run.writer), run.checkpoints or nullcontext():
        train(replace(run, hooks=(Hook(every=window, run=windows),)))
    mine = statistics.median(windows.of_run)
    ratio = statistics.median(
        run / bare for run, bare in zip(windows.of_run, windows.of_bare, strict=True)
    )
    seconds = waited(workdir, training.log_every)
    data = 100 * seconds["data_wait"] / (sum(windows.of_run) * window)
    checkpoint = 100 * seconds["checkpoint_wait"] / (mine * training.checkpoint_every)
    print(
        f"training: {title}, batch {training.batch_size}: {training.batch_size / mine:.0f} "
        "images/s, "
        f"{ratio:.3f} x a bare jitted step; {data:.2f} % of the time waiting for data, "
        f"{checkpoint:.2f} % for the checkpoint of every {training.checkpoint_every} steps"
    )


def waited(workdir: Path, every: int) -> dict[str, float]:
    """Seconds that a run has waited, by cause, from its metrics."""
    rows = [row for row in _rows(workdir) if "steps_per_sec" in row]
    names = "data_wait", "checkpoint_wait"
    return {name: sum(row[name] * every / row["steps_per_sec"] for row in rows) for name in names}


def show_scaling(folder: Path) -> None:
    """One process against two with the same batch each, every process on a core of its
    own; medians of several runs.
    """
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(SCALING_ROUNDS):
        for processes, found in rates.items():
            found.append(images_per_second(folder / f"scaling_{processes}_{number}", processes))
    one, two = (statistics.median(found) for found in rates.values())
    print(
        f"training: digits U-Net, batch {BATCH_OF_A_PROCESS} a process: {one:.0f} images/s by one "
        "process on one core, "
        f"{two:.0f} by two on two: {two / one / 2:.2f} of twice as many"
    )


def images_per_second(workdir: Path, processes: int) -> float:
    """The median over runs of a command in ``processes`` processes."""
    address = f"127.0.0.1:{free_port()}"
    training = {
        "batch_size": BATCH_OF_A_PROCESS * processes,
        "num_steps": SCALING_STEPS,
        "log_every": 10,
    }
    training |= {"eval_every": 0, "sample_every": 0}
    flags = [f"--config.training.{name}={value}" for name, value in training.items()]
    command = [
        sys.executable,
        "-m",
        "score_sde",
        "train",
        "--config=digits/vp",
        "--config.model.channels=32",
        f"--workdir={workdir}",
        *flags,
    ]
    running = []
    for index, core in zip(range(processes), _cores(), strict=False):
        given = dict(zip(GIVEN, (address, str(processes), str(index)), strict=True))
        environment = {**os.environ, **(given if processes > 1 else {})}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        os.sched_setaffinity(process.pid, {core})
        running.append(process)
    for process in running:
        errors = process.communicate()[1]
        if process.returncode:
            sys.exit(errors)
    return statistics.median(
        row["images_per_sec"] for row in _rows(workdir) if "images_per_sec" in row
    )


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _rows(workdir: Path) -> list[dict[str, float]]:
    return [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


if __name__ == "__main__":
    beside_the_steps()
