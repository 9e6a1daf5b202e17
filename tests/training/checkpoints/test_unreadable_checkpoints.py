"""A checkpoint that cannot be read is not damaged: nothing is moved, and a run can resume from
it later.
"""

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from launched import finished, together

from score_sde.runtime.unreadable import UnreadableError
from score_sde.training import Checkpoints, newest_config, restore_for_sampling
from score_sde.training.checkpoints.manifest import DamagedError

# Arrays are read in many threads: where one read fails, the others answer to a loop
# that is gone.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.usefixtures("collected"),
]

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
ON_LINUX = pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="a file that answers EIO is needed"
)
NOBODY = 65534

BOUND_METHOD = (
    "Encountered error while reading array index: (slice(0, 2, 1),). See full "
    "TensorStore details: <bound method"
)


def state_at(toy, step):
    """Large enough that orbax puts the arrays into files of their own, and not into its index."""
    params = {"big": np.arange(3000, dtype=np.float32) + step}
    return toy.state()._replace(
        step=jnp.int32(step), params=params, ema_params=params, opt_state=()
    )


@pytest.fixture(scope="module")
def saved(toy):
    """A folder, open to everybody, with checkpoints of the steps 10 and 20."""
    with tempfile.TemporaryDirectory(prefix="score_sde_") as name:
        Path(name).chmod(0o755)
        with Checkpoints(Path(name) / "saved") as checkpoints:
            for step in (10, 20):
                checkpoints.save(
                    state_at(toy, step), config={"a": 1}, metrics={"eval_loss": 1.0 / step}
                )
        yield Path(name) / "saved"


@pytest.fixture
def folder(saved):
    place = saved.with_name("copy")
    shutil.copytree(saved, place)
    for path in (place, *place.rglob("*")):
        path.chmod(0o777)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def target(toy):
    return jax.tree.map(jnp.asarray, state_at(toy, 0))


@contextmanager
def another_user():
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def listing(folder):
    """All that lies there, and whether it is another file than before."""
    return {str(path): path.lstat().st_ino for path in folder.rglob("*")}


def check_unreadable(folder, target, reason):
    """Neither a run nor sampling takes an older checkpoint, and nothing is touched."""
    before, notes = listing(folder), []
    line = (
        rf"^cannot read the checkpoint {folder}/20: [^<>]*{reason}[^<>]*; nothing is moved or "
        r"removed, run again once"
    )
    with pytest.raises(UnreadableError, match=line), Checkpoints(folder) as checkpoints:
        checkpoints.restore(target, note=notes.append)
    with pytest.raises(UnreadableError, match=line):
        restore_for_sampling(folder)
    assert listing(folder) == before and notes == []


INJECTED = {
    "EACCES": PermissionError(errno.EACCES, "Permission denied", "file"),
    "ESTALE": OSError(errno.ESTALE, "Stale file handle", "file"),
    "EIO": OSError(errno.EIO, "Input/output error", "file"),
    "EMFILE": OSError(errno.EMFILE, "Too many open files", "file"),
    "memory": MemoryError(),
    "tensorstore": ValueError(
        'RESOURCE_EXHAUSTED: Error reading local file "/d/1": Too many open files'
    ),
    "jax": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 80 bytes."),
}


@pytest.mark.parametrize("part", ["metadata", "restore"])
@pytest.mark.parametrize("name", INJECTED)
def test_an_error_of_the_system_is_not_damage(name, part, folder, target, monkeypatch):
    def fail(*args, **kwargs):
        if part == "restore":  # as orbax wraps what its readers raise
            raise Exception(BOUND_METHOD) from INJECTED[name]
        raise INJECTED[name]

    reason = {
        "memory": "not enough memory",
        "jax": "not enough memory for 80 bytes",
        "tensorstore": "Too many open",
    }
    with monkeypatch.context() as patch:
        patch.setattr(ocp.PyTreeCheckpointHandler, part, fail)
        check_unreadable(folder, target, reason.get(name) or INJECTED[name].strerror)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(target).step == 20


@ON_LINUX
@pytest.mark.parametrize(
    "name", ["seal/metadata", "config/metadata", "state/_METADATA", "ema_params/manifest.ocdbt"]
)
def test_a_file_that_can_be_opened_but_not_read_is_not_damage(name, folder, target):
    path = folder / "20" / name
    path.unlink()
    path.symlink_to("/proc/self/mem")
    before = listing(folder)
    message = r"/20: Input/output error[^<>]*; nothing is moved"
    with pytest.raises(UnreadableError, match=message), Checkpoints(folder) as checkpoints:
        checkpoints.restore(target)
    assert listing(folder) == before


@AS_ROOT
@pytest.mark.parametrize(
    "name",
    [
        "",
        "seal/metadata",
        "ema_params/ocdbt.process_0",
        "ema_params/_METADATA",
        "ema_params/d",
        "config",
    ],
)
def test_a_file_of_another_user_is_not_damage(name, folder, target):
    """The case of the report: readable by root alone, and read by another user."""
    path = folder / "20" / name
    path.chmod(0o700 if path.is_dir() else 0o600)
    with another_user():
        check_unreadable(folder, target, "Permission denied: ")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(target).step == 20


@AS_ROOT
def test_a_folder_that_cannot_be_listed_is_not_empty(folder, target):
    folder.chmod(0o700)
    with another_user():
        for read in (Checkpoints, newest_config, restore_for_sampling):
            with pytest.raises(
                UnreadableError,
                match=f"^cannot read the folder {folder}: Permission denied: {folder};",
            ):
                read(folder)
    folder.chmod(0o777)
    assert newest_config(folder) == {"a": 1}


@AS_ROOT
@pytest.mark.parametrize("name", ["metrics/metrics", "seal/metadata"])
def test_metrics_that_cannot_be_read_are_not_overwritten(name, folder):
    """Else the best checkpoint would not be known as one, and be removed in its turn."""
    (folder / "10" / name).chmod(0o600)
    before = listing(folder)
    with (
        another_user(),
        pytest.raises(UnreadableError, match=f"the checkpoint {folder}/10: Permission denied: "),
    ):
        Checkpoints(folder)
    assert listing(folder) == before
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.best_step() == 20


def test_damaged_metrics_are_kept_beside_those_of_the_manifest(folder):
    path = folder / "10" / "metrics" / "metrics"
    path.write_text("{torn")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.best_step() == 20
    assert (
        path.read_text() == '{"eval_loss": 0.1}'
        and path.with_name("metrics.damaged").read_text() == "{torn"
    )


def test_an_older_checkpoint_that_cannot_be_read_keeps_the_damaged_newest_where_it_is(
    folder, target, monkeypatch
):
    """It is not known whether the run can go on: nothing is moved before that."""
    (folder / "20" / "seal" / "metadata").unlink()
    with monkeypatch.context() as patch, Checkpoints(folder) as checkpoints:
        patch.setattr(ocp.PyTreeCheckpointHandler, "restore", lambda *args, **kwargs: 1 / 0)
        patch.setattr(ocp.PyTreeCheckpointHandler, "metadata", no_memory)
        before = listing(folder)
        with pytest.raises(UnreadableError, match=f"the checkpoint {folder}/10: not enough memory"):
            checkpoints.restore(target)
        assert listing(folder) == before
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(target, note=lambda line: None).step == 10
    assert (folder / "damaged" / "20").is_dir()


def no_memory(*args, **kwargs):
    raise MemoryError


def test_wrong_bytes_are_damage(folder, target):
    (folder / "20" / "ema_params" / "_METADATA").write_text("{")
    notes = []
    with pytest.raises(
        DamagedError, match=f"^cannot read the checkpoint {folder}/20, remove it .*: it is no JSON$"
    ):
        restore_for_sampling(folder)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(target, note=notes.append).step == 10
    assert notes == [
        f"the checkpoint {folder}/20 is damaged: it is no JSON: moved to {folder}/damaged/20"
    ]


PROGRAM = """
import errno, sys
import jax, jax.numpy as jnp
import orbax.checkpoint as ocp
from score_sde.runtime.processes import join_processes
from score_sde.runtime.unreadable import UnreadableError
from score_sde.training import Checkpoints, TrainState, device_mesh, place

join_processes()
index, folder = jax.process_index(), sys.argv[1]
params, mesh = {"big": jnp.arange(3000.0)}, device_mesh()
states = {step: place(mesh, TrainState(jnp.int32(step), params, params, ())) for step in (10, 20)}
restore = ocp.PyTreeCheckpointHandler.restore

def failing(error):
    def fail(self, directory, **options):
        if index == 1 and "/20/" in str(directory):
            raise error
        return restore(self, directory, **options)
    return fail

with Checkpoints(folder) as checkpoints:
    for state in states.values():
        checkpoints.save(state, config={})
    checkpoints.wait()
    ocp.PyTreeCheckpointHandler.restore = failing(OSError(errno.ESTALE, "Stale file handle"))
    try:
        checkpoints.restore(state)
    except UnreadableError as error:
        print(error, flush=True)
    ocp.PyTreeCheckpointHandler.restore = failing(ValueError("DATA_LOSS: bad block"))
    print(int(checkpoints.restore(state, note=print).step), checkpoints.steps(), flush=True)
"""


@pytest.mark.slow
def test_all_processes_skip_or_reject_a_checkpoint_together(tmp_path):
    texts = [text for text, _ in finished(together("-c", PROGRAM, str(tmp_path), processes=2))]
    for index, text in enumerate(texts):
        unreadable, damaged, last = (line for line in text.splitlines() if "Gloo" not in line)
        assert ("Stale file handle" if index else "another process says why") in unreadable
        assert f"the checkpoint {tmp_path}/20 is damaged: " in damaged and last == "10 [10]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "damaged"]
