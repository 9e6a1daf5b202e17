"""A run of 20 steps that records what it reads and what comes of it, by any number of processes.

``python recorded.py NAME FOLDER NUM_STEPS`` is one of the processes.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import tiny
from ml_collections import ConfigDict

from score_sde.evaluation.generation import index_keys
from score_sde.experiments.builders import build
from score_sde.experiments.train import training_run
from score_sde.runtime.processes import join_processes
from score_sde.training import device_mesh, train
from score_sde.training.mesh import gathered
from score_sde.training.speed import Speed

CONFIGS = {"toy": tiny.TOY, "digits": tiny.DIGITS}
TRAINING = {
    "num_steps": 20,
    "batch_size": 16,
    "log_every": 1,
    "eval_every": 10,
    "checkpoint_every": 10,
}


class Recorded(NamedTuple):
    """What came of a run: the batches, the metrics, the arrays of the state, and samples."""

    batches: np.ndarray
    metrics: dict[str, list[float]]
    state: list[np.ndarray]
    samples: np.ndarray


class Recorder:
    """A loader that keeps what it has given."""

    def __init__(self, loader):
        self.loader, self.batch_size, self.kept = loader, loader.batch_size, []

    def batch(self, step, part=slice(None)):
        batch = self.loader.batch(step, part)
        self.kept.append(np.asarray(batch.x))
        return batch

    def close(self):
        self.loader.close()


def record(name, folder, *, num_devices=None, fsdp=1, **training):
    """Run it on the devices of all processes, or on the first so many of this one."""
    config = tiny.config_of(CONFIGS[name])
    config.training.update(
        ConfigDict({**TRAINING, "sample_every": 0, "averages": ("power:0.1",), **training})
    )
    experiment, mesh = build(config), device_mesh(jax.devices()[:num_devices], fsdp=fsdp)
    run = training_run(experiment, folder, mesh, {})
    recorder = Recorder(run.loader)
    with run.checkpoints:
        state = gathered(mesh, train(replace(run, loader=recorder)).state)
    run.writer.close()
    model = experiment.model
    keys = index_keys(jax.random.key(0), np.arange(8))
    samples = jax.vmap(lambda key: model.draw(state.ema_params, key))(keys)
    arrays = {f"state_{number:04d}": leaf for number, leaf in enumerate(jax.tree.leaves(state))}
    np.savez(
        folder / f"end_{jax.process_index()}.npz",
        batches=np.stack(recorder.kept),
        samples=samples.x,
        **arrays,
    )


def read(folder):
    """What the processes have recorded, their parts of the batches joined."""
    ends = [np.load(path) for path in sorted(folder.glob("end_*.npz"))]
    metrics = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        for key, value in json.loads(line).items():
            if key not in Speed.METRICS:
                metrics.setdefault(key, []).append(value)
    return Recorded(
        batches=np.concatenate([end["batches"] for end in ends], axis=1),
        metrics=metrics,
        state=[ends[0][key] for key in ends[0].files if key.startswith("state_")],
        samples=ends[0]["samples"],
    )


if __name__ == "__main__":
    join_processes()
    record(sys.argv[1], Path(sys.argv[2]), num_steps=int(sys.argv[3]))
