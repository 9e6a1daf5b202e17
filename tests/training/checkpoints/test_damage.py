"""After any damage to one file of a checkpoint, every bit is restored, or an older checkpoint
is, with a note.
"""

import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from score_sde.training import (
    Checkpoints,
    TrainingRun,
    config_of_checkpoint,
    newest_config,
    restore_for_sampling,
    train,
)
from score_sde.training.checkpoints.manifest import CheckpointError, DamagedError

# Arrays are read in many threads: where one read fails, the others answer to a loop
# that is gone.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.usefixtures("collected"),
]

CONFIG = {"sde": {"name": "vp", "beta_min": 0.1}, "training": {"num_steps": 3}}
KINDS = ("flip", "truncate", "delete", "zero", "swap")
FLIPS = 6
"""Flips of each file: with the other kinds, 10 cases for each of more than 20 files."""


def state_at(toy, step):
    """States that differ in every array."""
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(0.5 * step, leaf.dtype), toy.state()
    )._replace(step=jnp.int32(step))


@pytest.fixture(scope="module")
def saved(toy, tmp_path_factory):
    """A folder with two checkpoints, of the steps 4 and 8."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder) as checkpoints:
        for step in (4, 8):
            checkpoints.save(state_at(toy, step), config=CONFIG, metrics={"eval_loss": 1.0 / step})
    return folder


def damage(kind, path, twin, random):
    """Do it; whether the file then differs from before."""
    before = path.read_bytes()
    if kind == "delete":
        path.unlink()
        return True
    if kind == "flip" and before:
        place, bit = random.integers(len(before)), random.integers(8)
        path.write_bytes(before[:place] + bytes([before[place] ^ (1 << bit)]) + before[place + 1 :])
    elif kind == "truncate":
        path.write_bytes(before[: random.integers(len(before) + 1)])
    elif kind == "zero":
        path.write_bytes(bytes(len(before)))
    elif kind == "swap" and twin is not None:
        path.write_bytes(twin.read_bytes())
    return path.read_bytes() != before


def twin_of(path, folder):
    """The file of the other checkpoint that is most like this one: of the same name, or
    of the same place.
    """
    inside = path.relative_to(folder / "8")
    exact = folder / "4" / inside
    others = (
        sorted((folder / "4" / inside.parent).glob("*"))
        if (folder / "4" / inside.parent).is_dir()
        else []
    )
    return exact if exact.is_file() else next((other for other in others if other.is_file()), None)


def same(found, expected):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def check(folder, toy):
    """What a run and what sampling find: the newest or, told, an older one; never another value."""
    notes, states = [], {step: state_at(toy, step) for step in (4, 8)}
    try:
        sampled = restore_for_sampling(folder)
    except (DamagedError, FileNotFoundError) as error:
        assert "\n" not in str(error)
    else:
        assert (
            same(sampled.ema_params, states[sampled.step].ema_params) and sampled.config == CONFIG
        )
    with Checkpoints(folder) as checkpoints:
        newest = checkpoints.latest_step()
        found = checkpoints.restore(toy.state(), note=notes.append)
        assert same(found, states[int(found.step)])
        # A checkpoint that is no longer one by its name or its mark is as one that was
        # never there.
        assert int(found.step) == newest or notes
        assert all("\n" not in note for note in notes)
        checkpoints.save(state_at(toy, 12), config=CONFIG)
    assert restore_for_sampling(folder).step == 12


def files_of(folder):
    return sorted(path.relative_to(folder) for path in (folder / "8").rglob("*") if path.is_file())


def run_cases(saved, tmp_path, toy, cases):
    random, done = np.random.default_rng(0), 0
    for number, (name, kind) in enumerate(cases):
        folder = tmp_path / str(number)
        shutil.copytree(saved, folder)
        path = folder / name
        if damage(kind, path, twin_of(path, folder) if kind == "swap" else None, random):
            try:
                check(folder, toy)
            except BaseException as error:
                raise AssertionError(f"{kind} {name}") from error
            done += 1
        shutil.rmtree(folder)
    return done


def test_a_file_damaged_in_any_way_gives_an_older_checkpoint_or_every_bit(saved, tmp_path, toy):
    names = [name for name in files_of(saved) if name.parts[1] != "metrics"]
    random = np.random.default_rng(1)
    cases = [(names[random.integers(len(names))], kind) for kind in KINDS]
    assert run_cases(saved, tmp_path, toy, cases) >= 3


@pytest.mark.slow
def test_every_file_damaged_in_every_way_gives_an_older_checkpoint_or_every_bit(
    saved, tmp_path, toy
):
    kinds = [*["flip"] * FLIPS, "truncate", *KINDS[1:]]
    cases = [(name, kind) for name in files_of(saved) for kind in kinds]
    assert run_cases(saved, tmp_path, toy, cases) >= 200


def test_nothing_is_moved_where_all_checkpoints_are_damaged(saved, tmp_path, toy):
    """Else the next start would find none, and begin from the first step without a word."""
    folder, notes = tmp_path / "both", []
    shutil.copytree(saved, folder)
    for manifest in folder.glob("*/seal/metadata"):
        manifest.unlink()
    message = (
        rf"^no sound checkpoint in {folder}: all are damaged "
        r"\(8: its manifest is missing\); to start from step 1, "
        rf"take another workdir, or move {folder} away$"
    )
    for _ in range(2):
        with Checkpoints(folder) as checkpoints:
            with pytest.raises(DamagedError, match=message):
                checkpoints.restore(toy.state(), note=notes.append)
            assert checkpoints.steps() == [4, 8]
        with pytest.raises(DamagedError, match=message):
            newest_config(folder)
    assert notes == [] and not (folder / "damaged").exists()


def test_a_run_does_not_start_again_where_its_checkpoints_were_all_damaged(tmp_path, toy):
    (tmp_path / "damaged" / "8").mkdir(parents=True)
    message = (
        rf"^no checkpoint in {tmp_path} but damaged ones in {tmp_path}/damaged: to start "
        r"from step 1, take"
    )
    with Checkpoints(tmp_path) as checkpoints:
        run = TrainingRun(
            state=toy.state(),
            step=toy.step(),
            loader=toy.loader,
            key=toy.key,
            num_steps=1,
            checkpoints=checkpoints,
        )
        with pytest.raises(CheckpointError, match=message):
            train(run)
    with pytest.raises(CheckpointError, match=message):
        newest_config(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["8", "damaged"]


def fail(*args, **kwargs):
    raise RuntimeError("arrays are read")


@pytest.mark.parametrize("read", [config_of_checkpoint, newest_config])
def test_the_config_is_read_without_arrays(read, saved, tmp_path, monkeypatch):
    folder = shutil.copytree(saved, tmp_path / "folder")
    for part in ("metadata", "restore"):
        monkeypatch.setattr(ocp.PyTreeCheckpointHandler, part, fail)
    assert read(folder) == CONFIG
    with pytest.raises(ValueError, match="arrays are read"):
        restore_for_sampling(folder)
    for item in ("state", "ema_params"):
        shutil.rmtree(folder / "8" / item)
    assert read(folder) == CONFIG


def test_the_config_is_that_of_the_chosen_step(tmp_path, toy):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (4, 8):
            checkpoints.save(state_at(toy, step), config={"step": step})
    assert config_of_checkpoint(tmp_path) == {"step": 8}
    assert config_of_checkpoint(tmp_path, step=4) == {"step": 4}
    with pytest.raises(FileNotFoundError, match=r"^no checkpoint of step 5 .*: there are \[4, 8"):
        config_of_checkpoint(tmp_path, step=5)
    with pytest.raises(FileNotFoundError, match=r"^no checkpoint in .*/none: train a model in "):
        config_of_checkpoint(tmp_path / "none")
    path = tmp_path / "8" / "config" / "metadata"
    whole = path.read_text()
    for text, reason in (
        (whole.replace("8", "9"), "its config is not what was saved"),
        (whole[:-1], "its config is broken"),
    ):
        path.write_text(text)
        line = rf"^cannot read the checkpoint {tmp_path}/8, remove it [^\n]*: {reason}$"
        with pytest.raises(DamagedError, match=line):
            config_of_checkpoint(tmp_path)
        assert newest_config(tmp_path) == {"step": 4}


def test_a_damaged_checkpoint_never_replaces_another(saved, tmp_path, toy):
    folder, notes = tmp_path / "twice", []
    shutil.copytree(saved / "4", folder / "4")
    for _ in range(2):
        shutil.copytree(saved / "8", folder / "8")
        (folder / "8" / "seal" / "metadata").unlink()
        with Checkpoints(folder) as checkpoints:
            assert checkpoints.restore(toy.state(), note=notes.append).step == 4
    assert sorted(path.name for path in (folder / "damaged").iterdir()) == ["8", "8-1"]
    assert [note.rpartition(" ")[2] for note in notes] == [
        f"{folder}/damaged/8",
        f"{folder}/damaged/8-1",
    ]
    assert notes[0] == (
        f"the checkpoint {folder}/8 is damaged: its manifest is missing: "
        f"moved to {folder}/damaged/8"
    )


@pytest.mark.parametrize("kind", ["device", "pipe"])
@pytest.mark.parametrize("where", ["config/metadata", "seal/metadata", "ema_params/_METADATA"])
def test_a_device_or_a_pipe_in_a_checkpoint_is_not_read(saved, tmp_path, where, kind):
    """Reading it would never end; a model from elsewhere may contain a link to one."""
    folder = shutil.copytree(saved, tmp_path / "folder")
    path = folder / "8" / where
    path.unlink()
    path.symlink_to("/dev/zero") if kind == "device" else os.mkfifo(path)
    with pytest.raises(
        DamagedError, match=f"cannot read the checkpoint .*/8, .*: its {where} is no file$"
    ):
        restore_for_sampling(folder)
    assert restore_for_sampling(folder, step=4).step == 4 and newest_config(folder) == CONFIG
    other = tmp_path / "other"
    shutil.move(folder / "4" / where, other)
    (folder / "4" / where).symlink_to(other)  # a link to a file is as good as that
    assert restore_for_sampling(folder, step=4).step == 4
