"""A lock in object storage: one writer at a time, and the next once it has died."""

import json
import os
import time

import pytest

from score_sde.runtime import object_lock
from score_sde.runtime.lock import HeldError, held
from score_sde.runtime.object_store import ObjectStore
from score_sde.runtime.working_copy import local_path, sync


@pytest.fixture
def folder(bucket, monkeypatch):
    monkeypatch.setattr(object_lock, "BEAT", 0.05)
    return local_path(f"memory://{bucket}/run")


@pytest.fixture
def lock(folder, bucket):
    """The key of the lock."""
    return f"{bucket}/run/run.lock.json"


def test_the_error_of_a_second_writer_names_the_first(folder):
    with (
        held(folder),
        pytest.raises(HeldError, match=f"is being written by process {os.getpid()} on "),
        held(folder),
    ):
        pass


def test_the_lock_is_released_after_the_block_and_after_an_error(folder, lock):
    with pytest.raises(KeyError), held(folder):
        raise KeyError
    with held(folder):
        assert ObjectStore("memory").listed(lock)
    assert not ObjectStore("memory").listed(lock)


def test_the_lock_of_a_silent_process_elsewhere_is_taken_over(folder, lock):
    ObjectStore("memory").write(lock, json.dumps({"process": 1, "host": "other"}).encode())
    began = time.monotonic()
    with held(folder):
        assert time.monotonic() - began >= object_lock.BEAT * object_lock.PATIENCE
        assert json.loads(ObjectStore("memory").read(lock))["process"] == os.getpid()


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once(
    folder, lock, monkeypatch
):
    monkeypatch.setattr(object_lock, "BEAT", 60.0)
    facts = {"process": 2**22 + 1, "host": "here", "machine": object_lock._machine()}
    ObjectStore("memory").write(lock, json.dumps(facts).encode())
    with held(folder):
        pass


def test_a_damaged_lock_is_a_silent_one(folder, lock):
    ObjectStore("memory").write(lock, b"{")
    with held(folder):
        pass


def test_a_writer_whose_lock_was_taken_over_writes_nothing_more(folder, lock, bucket):
    folder.mkdir(parents=True)
    with held(folder):
        ObjectStore("memory").write(lock, json.dumps({"token": "other"}).encode())
        (folder / "config.json").write_text("{}")
        with pytest.raises(object_lock.LostError, match="another process has taken over memory://"):
            sync(folder)
    assert list(ObjectStore("memory").listed(bucket)) == [lock]  # the other one's
