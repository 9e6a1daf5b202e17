"""Snapshots of a run: whole files or none, and the same after a resume."""

import errno
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.export.tensor_file import write_tensors
from score_sde.runtime.unreadable import UnreadableError
from score_sde.training import (
    EMA,
    Checkpoints,
    HalfLifeEMA,
    PowerEMA,
    TrainingRun,
    find_snapshots,
    init_state,
    make_train_step,
    snapshot_hook,
    train,
)
from score_sde.training.snapshots import open_snapshot

RULES = (HalfLifeEMA(half_life=3.0), PowerEMA(sigma_rel=0.05), PowerEMA(sigma_rel=0.1))


def run(toy, folder, *, num_steps, every=3):
    """Train in a folder up to a step, with snapshots; the state at the end."""
    optimizer = toy.optimizer()
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return train(
            TrainingRun(
                state=init_state(toy.params(), optimizer, num_averages=len(RULES)),
                step=make_train_step(toy.loss_fn, optimizer, EMA(decay=0.9), averages=RULES),
                loader=toy.loader,
                key=toy.key,
                num_steps=num_steps,
                checkpoints=checkpoints,
                checkpoint_every=100,
                hooks=(snapshot_hook(folder / "snapshots", RULES, every=every),),
            )
        ).state


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """The folder and the last state of a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(toy, folder, num_steps=12)


def test_there_is_a_snapshot_of_each_power_average_at_each_interval(whole):
    folder, state = whole
    found = find_snapshots(folder / "snapshots")
    assert [(snapshot.sigma_rel, snapshot.step) for snapshot in found] == [
        (sigma_rel, step) for sigma_rel in (0.05, 0.1) for step in (3, 6, 9, 12)
    ]
    assert found[0].path.name == "power_0.05_00000003.safetensors"
    for snapshot, average in ((found[3], state.averages[1]), (found[7], state.averages[2])):
        with open_snapshot(snapshot.path) as file:
            np.testing.assert_array_equal(file.read("layer/w"), average["layer"]["w"])


def test_a_resumed_run_writes_the_same_bytes(toy, whole, tmp_path):
    run(toy, tmp_path, num_steps=7)
    later = tmp_path / "snapshots" / "power_0.05_00000900.safetensors"
    later.write_bytes(b"of a run that went another way")
    (tmp_path / "snapshots" / ".power_0.1_00000009.safetensors-ab12").write_bytes(b"half")
    run(toy, tmp_path, num_steps=12)
    assert contents(tmp_path / "snapshots") == contents(whole[0] / "snapshots")


def test_a_rolled_back_run_removes_snapshots_of_later_steps(toy, tmp_path):
    hook = snapshot_hook(tmp_path, RULES, every=1)
    state = init_state(toy.params(), toy.optimizer(), num_averages=len(RULES))
    for step in (1, 2, 3, 2):
        hook.run(state, step)
    assert sorted({snapshot.step for snapshot in find_snapshots(tmp_path)}) == [1, 2]


def test_split_parameters_are_gathered(toy, tmp_path):
    gathered = []

    def gather(params):
        gathered.append(params)
        return {"w": np.full(2, len(gathered), np.float32)}

    state = init_state(toy.params(), toy.optimizer(), num_averages=len(RULES))
    snapshot_hook(tmp_path, RULES, every=1, gather=gather).run(state, 1)
    assert gathered == [state.averages[1], state.averages[2]]
    with open_snapshot(find_snapshots(tmp_path)[1].path) as file:
        np.testing.assert_array_equal(file.read("w"), [2.0, 2.0])


@pytest.mark.slow
def test_a_process_killed_while_writing_leaves_only_whole_snapshots(tmp_path):
    """Killed when the second file is written, but has not its name yet."""
    program = f"""
import os, pathlib, jax.numpy as jnp
from score_sde.training import PowerEMA, TrainState, snapshot_hook
hook = snapshot_hook({str(tmp_path)!r}, [PowerEMA(sigma_rel=0.1)], every=1)
hook.run(TrainState(jnp.int32(1), {{}}, {{}}, (), averages=({{"w": jnp.ones(1000)}},)), 1)
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), 9)
hook.run(TrainState(jnp.int32(2), {{}}, {{}}, (), averages=({{"w": jnp.zeros(1000)}},)), 2)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    assert [snapshot.step for snapshot in find_snapshots(tmp_path)] == [1]


def test_snapshots_need_a_power_average(tmp_path):
    with pytest.raises(ValueError, match=r"^averages must hold a PowerEMA"):
        snapshot_hook(tmp_path, (EMA(),), every=3)
    with pytest.raises(
        FileNotFoundError, match=r"^no snapshots in .*: train with training\.averages, such as"
    ):
        find_snapshots(tmp_path / "none")


def test_a_snapshot_that_cannot_be_read_is_neither_missing_nor_damaged(tmp_path):
    """Of every file that it cannot open, safetensors says that it is not there."""
    path = tmp_path / "power_0.05_00000010.safetensors"
    path.symlink_to(path.name)  # a link to itself, which nobody can read
    with pytest.raises(
        UnreadableError,
        match=rf"^cannot read the parameters {path}: Too many levels .*; nothing is moved",
    ):
        find_snapshots(tmp_path)
    with pytest.raises(FileNotFoundError), open_snapshot(tmp_path / "none.safetensors"):
        pass


def test_a_folder_that_cannot_be_listed_is_not_one_without_snapshots(tmp_path, monkeypatch):
    def stale(path):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(type(tmp_path), "iterdir", stale)
    with pytest.raises(
        UnreadableError,
        match=f"^cannot read the folder {tmp_path}: Stale file handle: {tmp_path}; ",
    ):
        find_snapshots(tmp_path)


def test_a_damaged_snapshot_is_reported_in_one_line(toy, tmp_path):
    state = init_state({"w": jnp.ones(3)}, toy.optimizer(), num_averages=len(RULES))
    snapshot_hook(tmp_path, RULES, every=1).run(state, 1)
    path = find_snapshots(tmp_path)[0].path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"^{path} is damaged .*; remove it to do without$"):
        find_snapshots(tmp_path)


@pytest.mark.parametrize(
    "facts",
    [
        *({"step": step, "sigma_rel": 0.1} for step in (None, "3", [3], -1, 2**70, 1.5)),
        *(
            {"step": 3, "sigma_rel": width}
            for width in (None, "0.1", {}, -0.1, float("nan"), float("inf"))
        ),
        {"step": 3},
        {},
    ],
)
def test_a_snapshot_without_a_valid_step_and_width_is_damaged(facts, tmp_path):
    """Two with their checksums right: sorting and comparing what they say would raise anything."""
    for number, each in enumerate(({"step": 3, "sigma_rel": 0.1}, facts)):
        write_tensors(
            tmp_path / f"power_0.1_{number:08}.safetensors", {"w": np.ones(3, np.float32)}, each
        )
    path = tmp_path / "power_0.1_00000001.safetensors"
    with pytest.raises(
        ValueError,
        match=f"^{path} is damaged: it does not say of which step and width it is; remove",
    ):
        find_snapshots(tmp_path)
