"""Real processes that are killed or stopped at random moments resume bit for bit."""

import itertools
import json
import re
import signal
import time

import jax
import numpy as np
import pytest
import tiny
from launched import finished, together
from ml_collections import ConfigDict

from score_sde.experiments.builders import build
from score_sde.training import Checkpoints, init_state
from score_sde.training.speed import Speed

pytestmark = pytest.mark.slow

STEPS, EVERY = 800, 10
"""So many steps with so many checkpoints that most of the time is spent on saving."""

KILLS = 20
MOMENTS = ("at the start", "on the way", "on the way", "while saving", "while saving")


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Starts the run in a workdir, in processes that share what they have compiled."""
    folder = tmp_path_factory.mktemp("killed")
    text = tiny.TOY.replace('"num_steps": 30', f'"num_steps": {STEPS}')
    text = text.replace('"checkpoint_every": 10', f'"checkpoint_every": {EVERY}')
    config = tiny.config_file(text, folder)
    averages = "--config.training.averages=('power:0.1',)"
    env = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def start(workdir, processes=1, launcher=(), **more):
        words = (*launcher, "train", f"--workdir={workdir}", f"--config={config}", averages)
        return together("-m", "score_sde", *words, processes=processes, env={**env, **more})

    return start


@pytest.fixture(scope="module")
def uninterrupted(launch, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    finished(launch(workdir))
    return workdir


def state_in(workdir):
    """The last checkpoint: parameters, averages, the state of the optimizer, and how
    many batches were read.
    """
    experiment = build(ConfigDict(json.loads((workdir / "config.json").read_text())))
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == STEPS
        state = init_state(experiment.model.params, experiment.optimizer, num_averages=1)
        return checkpoints.restore(state, note=pytest.fail)


def rows_in(workdir):
    """The metrics of every step but for how fast it was."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [
        {name: value for name, value in row.items() if name not in Speed.METRICS} for row in rows
    ]


def assert_same_run(workdir, expected):
    pairs = zip(
        jax.tree.leaves(state_in(workdir)), jax.tree.leaves(state_in(expected)), strict=True
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
    assert rows_in(workdir) == rows_in(expected)


def steps_saved(workdir):
    return {int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()}


def is_saving(workdir):
    return any("tmp" in path.name for path in (workdir / "checkpoints").glob("*"))


def wait_until(happens, process):
    while not happens():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def wait_for(moment, workdir, process, random):
    """Wait for a random moment of this kind in the life of the process."""
    if moment == "at the start":
        time.sleep(random.uniform(0, 6))
        return
    before = steps_saved(workdir)
    wait_until(lambda: steps_saved(workdir) - before, process)
    if moment == "while saving":
        wait_until(lambda: is_saving(workdir), process)
        time.sleep(random.uniform(0, 0.05))
    else:
        time.sleep(random.uniform(0, 0.5))


def test_twenty_random_kills_change_no_bit(launch, uninterrupted, tmp_path):
    random, amid = np.random.default_rng(0), 0
    for _, moment in zip(range(KILLS), itertools.cycle(MOMENTS), strict=False):
        (process,) = launch(tmp_path)
        wait_for(moment, tmp_path, process, random)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        amid += is_saving(tmp_path)
    assert amid >= KILLS // 4
    assert max(steps_saved(tmp_path)) < STEPS
    finished(launch(tmp_path))
    assert not is_saving(tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def stop_at_random(processes, random):
    """Ask all to stop, at nearly the same time, as a launcher does."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
        time.sleep(random.uniform(0, 0.1))


@pytest.mark.parametrize(("processes", "stops"), [(1, 12), (2, 8)])
def test_sigterm_at_random_moments_changes_no_bit(
    launch, uninterrupted, tmp_path, processes, stops
):
    random, told = np.random.default_rng(processes), 0
    for _ in range(stops):
        running = launch(tmp_path, processes=processes)
        wait_until((tmp_path / "run.lock.json").exists, running[0])
        time.sleep(random.uniform(0, 3))
        stop_at_random(running, random)
        ((_, errors), *_) = finished(running, code=75)
        told += "stopped by SIGTERM at step" in errors
    assert told == stops
    assert max(steps_saved(tmp_path)) < STEPS
    finished(launch(tmp_path, processes=processes))
    if processes == 1:
        assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_while_the_step_is_compiled(launch, tmp_path, processes):
    running = launch(
        tmp_path, processes=processes, JAX_ENABLE_COMPILATION_CACHE="false", JAX_LOG_COMPILES="1"
    )
    for process in running:
        assert any("Compiling jit(steps)" in line for line in process.stderr)
    stop_at_random(running, np.random.default_rng(0))
    texts = [process.stderr.read() for process in running]
    finished(running, code=75)
    # Of several, each tells its wish after the first step, and all know it after the
    # second.
    assert f"stopped by SIGTERM at step {processes} of {STEPS}: saved in" in texts[0]
    assert steps_saved(tmp_path) == {processes}


def test_sigterm_to_the_launcher_of_two_processes(launch, tmp_path):
    (process,) = launch(tmp_path, launcher=("launch", "local", "-n", "2", "--"))
    wait_until(lambda: steps_saved(tmp_path), process)
    process.terminate()
    ((_, errors),) = finished([process], code=75)
    assert "stopped by SIGTERM at step" in errors
    assert max(steps_saved(tmp_path)) == int(re.search(r"SIGTERM at step (\d+) of", errors)[1])
