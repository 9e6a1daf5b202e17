"""On a full disk or without its folder, training continues with a note or stops with one line,
and whole checkpoints stay whole.
"""

import builtins
import errno
import io
import os
import resource
import shutil
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace

import jax
import numpy as np
import pytest

from score_sde.training import Checkpoints, Hook, JsonLinesWriter, TrainingRun, device_mesh, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.usefixtures("collected"),
]

NUM_STEPS = 8


def toy_run(toy, **options):
    """Eight steps of the toy on one device."""
    mesh = device_mesh(jax.devices()[:1])
    parts = {
        "state": toy.state(),
        "step": toy.step(),
        "loader": toy.loader,
        "key": toy.key,
        "mesh": mesh,
    }
    return TrainingRun(num_steps=NUM_STEPS, **parts, **options)


@pytest.fixture
def train_in(toy):
    """Trains eight steps with a checkpoint every two; returns the final state, the
    error, and what was shown.
    """

    def run_it(folder, actions=None, writer=None, **options):
        stream = io.StringIO()
        with Checkpoints(folder) as checkpoints:

            def act(state, step):
                if step in (actions or {}):
                    with suppress(OSError):  # the run itself is to find it
                        checkpoints.wait()
                    actions[step]()

            run = toy_run(
                toy,
                checkpoints=checkpoints,
                checkpoint_every=2,
                config={"lr": 0.05},
                log_every=1,
                hooks=(Hook(every=1, run=act),),
                stream=stream,
            )
            run = replace(run, **options, **({"writer": writer} if writer else {}))
            try:
                return train(run).state, None, stream.getvalue()
            except OSError as error:
                return None, str(error), stream.getvalue()

    return run_it


@pytest.fixture(scope="module")
def expected(toy):
    return train(toy_run(toy, stream=io.StringIO())).state


def assert_same(found, wanted):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def small_files():
    """Lets no file grow beyond 100 bytes while it is on, as on a disk that is full."""
    before, handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )

    def switch(on):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]) if on else before)

    yield switch
    switch(False)
    signal.signal(signal.SIGXFSZ, handler)


def test_training_continues_while_the_disk_is_full_and_saves_once_there_is_room(
    tmp_path, train_in, expected, small_files
):
    actions = {2: lambda: small_files(True), 5: lambda: small_files(False)}
    state, error, shown = train_in(tmp_path, actions)
    assert error is None
    assert_same(state, expected)
    assert (
        "is not saved (File too large): the last checkpoint is of step 2; training continues"
        in shown
    )
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps()[-1] == NUM_STEPS
        assert_same(checkpoints.restore(state), expected)


def test_a_disk_that_stays_full_stops_the_run_and_the_next_run_resumes(
    tmp_path, train_in, expected, small_files
):
    state, error, _ = train_in(tmp_path, {2: lambda: small_files(True)})
    small_files(False)
    assert state is None and error.startswith(
        "step 8 is not saved (File too large): the last checkpoint is of step 2"
    )
    assert "\n" not in error
    state, error, shown = train_in(tmp_path)
    assert "found a checkpoint of step 2" in shown and error is None
    assert_same(state, expected)


def test_too_little_free_space_is_found_before_anything_is_written(tmp_path, train_in, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    _, error, shown = train_in(tmp_path / "run")
    assert "step 2 is not saved (a checkpoint takes 212 bytes and 10 are free in" in shown
    assert error.startswith("step 8 is not saved (a checkpoint takes") and error.endswith(
        "no checkpoint"
    )
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_was_removed_is_made_again(tmp_path, train_in, expected):
    state, error, _ = train_in(tmp_path / "run", {3: lambda: shutil.rmtree(tmp_path / "run")})
    assert error is None
    assert_same(state, expected)
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.steps()[-1] == NUM_STEPS


def test_a_file_in_the_place_of_the_folder_is_reported(tmp_path, train_in):
    def replace_it():
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("not a folder")

    _, error, shown = train_in(tmp_path / "run", {3: replace_it})
    assert (
        f"step 4 is not saved (File exists: {tmp_path / 'run'})" in shown
        and "training continues" in shown
    )
    assert error.startswith(f"step 8 is not saved (File exists: {tmp_path / 'run'})")


class Failing:
    """Stands for a system call that fails once, at its ``number``-th use within a folder."""

    def __init__(self, original, number, folder):
        self.original, self.left, self.folder, self.failed = original, number, str(folder), False

    def __call__(self, *args, **kwargs):
        if (
            args
            and isinstance(args[0], (str, os.PathLike))
            and os.fspath(args[0]).startswith(self.folder)
        ):
            self.left -= 1
            if self.left == 0:
                self.failed = True
                raise OSError(errno.EIO, "Input/output error", os.fspath(args[0]))
        return self.original(*args, **kwargs)


CALLS = {
    "open": (builtins, "open"),
    "Path.open": (io, "open"),
    "mkdir": (os, "mkdir"),
    "rename": (os, "rename"),
    "replace": (os, "replace"),
    "unlink": (os, "unlink"),
    "rmdir": (os, "rmdir"),
    "scandir": (os, "scandir"),
    "listdir": (os, "listdir"),
    "stat": (os, "stat"),
}


def fail_once(folder, train_in, expected, monkeypatch, name, number):
    """Whether the call was made so often; afterwards, however the run ended, the next
    one ends as it should.
    """
    writer = JsonLinesWriter(folder / "metrics.jsonl")
    module, attribute = CALLS[name]
    failing = Failing(getattr(module, attribute), number, folder / "checkpoints")
    with monkeypatch.context() as patch:
        patch.setattr(module, attribute, failing)
        try:
            state, error, _ = train_in(folder / "checkpoints", writer=writer)
        except OSError as failure:  # the folder could not even be opened
            state, error = None, str(failure)
    writer.close()
    if error is None:
        assert_same(state, expected)
    else:
        assert failing.failed and "\n" not in error
    assert not waiting_threads(), "the process could not end"
    state, error, shown = train_in(folder / "checkpoints")
    assert error is None, shown
    assert_same(state, expected)
    return failing.failed


def waiting_threads():
    """Those in which orbax writes, ten seconds later; a process does not end before
    they do, or give up in minutes.
    """
    deadline = time.monotonic() + 10.0
    while True:
        found = [
            thread
            for thread in threading.enumerate()
            if type(thread).__name__ == "_SignalingThread"
        ]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_an_error_at_any_call_loses_nothing(tmp_path, train_in, expected, monkeypatch, name):
    """At the first calls, and at those from powers of 1.6 on, until there are not so many."""
    numbers = sorted({round(1.6**power) for power in range(14)})
    for number in numbers:
        folder = tmp_path / str(number)
        if not fail_once(folder, train_in, expected, monkeypatch, name, number):
            break


@pytest.mark.parametrize(("name", "number"), [("mkdir", 3), ("rename", 2)])
def test_an_error_at_one_call_loses_nothing(
    tmp_path, train_in, expected, monkeypatch, name, number
):
    assert fail_once(tmp_path, train_in, expected, monkeypatch, name, number)
