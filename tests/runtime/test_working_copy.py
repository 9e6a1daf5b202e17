"""Copies of folders in object storage: what is there after any failure is whole."""

import json
import shutil

import numpy as np
import pytest

from score_sde.runtime import working_copy
from score_sde.runtime.atomic_files import replacing, write_arrays
from score_sde.runtime.object_store import ObjectStore, StorageError, shown
from score_sde.runtime.working_copy import fetch, is_copy, local_path, settle, sync


def objects(bucket):
    """The objects of a bucket, by their keys in it."""
    found = ObjectStore("memory").listed(bucket)
    return {name.partition("/")[2]: entry.size for name, entry in found.items()}


def write_checkpoint(folder, content=b"weights"):
    """The files of a checkpoint, as far as a copy knows them."""
    for name, data in (("state/d/x", content), ("config/metadata", b"{}"), ("seal/metadata", b"1")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def run(bucket):
    """The copy of a run with a checkpoint, newly opened."""
    folder = local_path(f"memory://{bucket}/run")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    write_checkpoint(folder / "checkpoints" / "10")
    settle()
    working_copy.forget()
    return local_path(f"memory://{bucket}/run")


def test_a_path_of_this_machine_stays_as_it_is(tmp_path):
    assert local_path(tmp_path) == tmp_path and not is_copy(tmp_path)
    for nothing_happens in (fetch, sync, working_copy.publish, working_copy.refresh):
        nothing_happens(tmp_path)
    assert working_copy.is_stored(tmp_path) and shown(str(tmp_path)) == str(tmp_path)


def test_a_missing_folder_stays_missing(bucket):
    assert not local_path(f"memory://{bucket}/run").exists()


def test_arrays_are_brought_when_they_are_asked_for(run):
    assert (run / "config.json").read_text() == "{}"
    arrays = run / "checkpoints/10/state/d/x"
    assert arrays.stat().st_size == 7 and arrays.read_bytes() == bytes(7)
    settle()  # the file without its bytes is not written back
    fetch(run / "checkpoints" / "10")
    assert arrays.read_bytes() == b"weights"


def test_messages_name_the_url(run, bucket):
    assert shown(f"no checkpoint in {run}/checkpoints") == (
        f"no checkpoint in memory://{bucket}/run/checkpoints"
    )


def test_a_whole_file_is_written_at_once_and_others_by_sync(run, bucket):
    with replacing(run / "report.json") as temporary:
        temporary.write_text("{}")
        assert "run/report.json" not in objects(bucket)
    (run / "metrics.jsonl").write_text("{}\n")
    assert "run/report.json" in objects(bucket) and "run/metrics.jsonl" not in objects(bucket)
    sync(run)
    (run / "metrics.jsonl").write_text("{}\n{}\n")
    sync(run)
    assert objects(bucket)["run/metrics.jsonl"] == 6


def test_temporary_files_and_locks_are_not_written(run, bucket):
    before = objects(bucket)
    for name in (
        ".samples-0123abcd.npz",
        "run.lock",
        "run.lock.json",
        "checkpoints/20.orbax-checkpoint-tmp-7/state/x",
        ".exported-0123abcd/model.json",
    ):
        (run / name).parent.mkdir(exist_ok=True, parents=True)
        (run / name).write_text("x")
    settle()
    assert objects(bucket) == before


def test_what_is_removed_here_is_removed_there(run, bucket):
    shutil.rmtree(run / "checkpoints" / "10")
    settle()
    assert list(objects(bucket)) == ["run/config.json"]


def test_the_manifest_is_written_last_and_removed_first(run, bucket, failing):
    """At each operation the line may die for good: then a checkpoint is whole or ignored."""
    for dead_after in range(12):
        working_copy.forget()
        folder = local_path(f"memory://{bucket}/run")
        shutil.rmtree(folder / "checkpoints")
        write_checkpoint(folder / "checkpoints" / f"{20 + dead_after}", b"newer weights")
        with pytest.MonkeyPatch.context() as patch:
            calls = die(patch, dead_after)
            try:
                settle()
            except StorageError as error:
                assert "the line is dead" in str(error)
            else:
                assert calls() <= dead_after
        working_copy.forget()
        copy = local_path(f"memory://{bucket}/run")
        fetch(copy)
        found = sorted((copy / "checkpoints").glob("*"))
        assert found
        for checkpoint in found:
            weights = {b"weights"} if checkpoint.name == "10" else {b"newer weights"}
            assert {(checkpoint / "state/d/x").read_bytes()} == weights
            assert (checkpoint / "config/metadata").read_bytes() == b"{}"


def die(patch, after):
    """Let all operations that write fail after the first ones; returns their counter."""
    from fsspec.implementations.memory import MemoryFileSystem

    from score_sde.runtime import object_store

    patch.setattr(object_store, "PAUSES", ())
    patch.setattr(object_store, "AT_ONCE", 1)
    done = [0]
    for name in ("pipe_file", "put_file", "rm_file"):
        operation = getattr(MemoryFileSystem, name)

        def dying(self, *arguments, operation=operation, **options):
            if done[0] >= after:
                raise ConnectionError("the line is dead")
            done[0] += 1
            return operation(self, *arguments, **options)

        patch.setattr(MemoryFileSystem, name, dying)
    return lambda: done[0]


def test_parts_of_checkpoints_are_removed_by_the_run_alone(run, bucket):
    store = ObjectStore("memory")
    store.write(f"{bucket}/run/checkpoints/20/state/d/x", b"half")
    working_copy.refresh(run)
    assert not (run / "checkpoints" / "20").exists()
    assert "run/checkpoints/20/state/d/x" in objects(bucket)
    working_copy.remove_unfinished(run / "checkpoints")
    assert "run/checkpoints/20/state/d/x" not in objects(bucket)
    assert "run/checkpoints/10/seal/metadata" in objects(bucket)


def test_each_second_operation_may_fail(run, bucket, failing):
    failing(every=2)
    write_checkpoint(run / "checkpoints" / "20")
    shutil.rmtree(run / "checkpoints" / "10")
    settle()
    assert len(objects(bucket)) == 4 and "run/checkpoints/20/seal/metadata" in objects(bucket)


def test_refresh_brings_files_of_other_processes_and_keeps_changes(run, bucket):
    store = ObjectStore("memory")
    (run / "config.json").write_text('{"mine": 1}')
    store.write(f"{bucket}/run/config.json", b'{"theirs": 1}')
    store.write(f"{bucket}/run/shards/a.json", b"[]")
    working_copy.refresh(run)
    assert json.loads((run / "config.json").read_text()) == {"mine": 1}
    assert (run / "shards" / "a.json").read_text() == "[]"
    store.remove([f"{bucket}/run/shards/a.json"])
    working_copy.refresh(run)
    assert not (run / "shards" / "a.json").exists()


def test_results_elsewhere_are_recognised_by_their_mark(run, bucket):
    from score_sde.runtime.atomic_files import is_marked

    write_arrays(run / "samples.npz", x=np.zeros(3))
    working_copy.forget()
    assert is_marked(local_path(f"memory://{bucket}/run") / "samples.npz")


def test_a_disk_without_room_is_one_line(bucket, monkeypatch):
    ObjectStore("memory").write(f"{bucket}/run/config.json", b"{}")
    monkeypatch.setattr(
        working_copy.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1)
    )
    with pytest.raises(StorageError, match="the copy takes 2 bytes, and 1 are free in "):
        local_path(f"memory://{bucket}/run")


def test_the_copies_of_killed_processes_are_removed(bucket, tmp_path, monkeypatch):
    import os
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "score_sde-copies-killed"
    left.mkdir()
    (left / "weights").write_text("x")
    os.utime(left, (0, 0))
    local_path(f"memory://{bucket}/run")
    assert not left.exists()
    assert len(list(tmp_path.glob("score_sde-copies-*"))) == 1
    working_copy.forget()
    assert not list(tmp_path.glob("score_sde-copies-*"))
