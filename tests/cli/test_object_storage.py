"""Commands on object storage: S3 served on this machine, in memory of the process, and gs://."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
from launched import finished, started

from score_sde.cli.local_processes import free_port
from score_sde.cli.main import main
from score_sde.runtime import working_copy
from score_sde.runtime.object_store import ObjectStore

TOY = (
    "--config=toy/mixture",
    "--config.data.num_examples=200",
    "--config.training.batch_size=16",
    "--config.training.eval_every=0",
    "--config.training.sample_every=0",
    "--config.training.checkpoint_every=5",
)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir=ftp://host/run"], "ftp://host/run: ftp:// is not supported: use gs://, s3://"),
        (["--workdir=s3://"], "s3:// names no bucket"),
        (["--workdir=memory://none/run"], "no such workdir: memory://none/run"),
    ],
)
def test_a_wrong_url_is_one_line_and_makes_no_folder(
    flags, message, capsys, tmp_path, monkeypatch, bucket
):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_a_missing_extra_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setattr(working_copy, "_copies", {})
    assert main(["sample", "--workdir=s3://bucket/run"]) == 2
    assert "s3:// needs the extra cloud: pip install 'score-sde[cloud]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_train_sample_and_export_in_object_storage(bucket, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = f"memory://{bucket}/run"
    steps = "--config.training.num_steps="
    assert main(["train", *TOY, f"--workdir={run}", f"{steps}5"]) == 0
    working_copy.forget()
    assert main(["train", *TOY, f"--workdir={run}", f"{steps}10"]) == 0
    shown = capsys.readouterr()
    assert "found a checkpoint of step 5, resuming until step 10" in shown.err
    assert f"10 steps, {run}/checkpoints" in shown.out
    working_copy.forget()
    assert main(["sample", f"--workdir={run}", "--num_samples=8"]) == 0
    assert f"{run}/samples/samples.npz" in capsys.readouterr().out
    assert main(["export", f"--workdir={run}", f"--output=memory://{bucket}/model"]) == 0
    names = {name.partition("/")[2] for name in ObjectStore("memory").listed(bucket)}
    wanted = {"config.json", "metrics.jsonl", "report.json", "samples/samples.npz"}
    wanted |= {f"checkpoints/{step}/seal/metadata" for step in (5, 10)}
    assert {f"run/{name}" for name in wanted} | {"model/model.json"} <= names
    assert not [name for name in names if "tmp" in name or "run.lock" in name]
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]  # such as "memory:"
    report = ObjectStore("memory").read(f"{bucket}/run/report.json").decode()
    assert run in report and "score_sde-copies" not in report


@pytest.mark.slow
def test_a_dead_line_saves_nothing_half_and_the_rerun_resumes(bucket, capsys, failing):
    run = f"memory://{bucket}/run"
    steps = "--config.training.num_steps="
    assert main(["train", *TOY, f"--workdir={run}", f"{steps}5"]) == 0
    before = ObjectStore("memory").listed(bucket)
    working_copy.forget()
    with pytest.MonkeyPatch.context() as patch:
        break_uploads(patch, "/checkpoints/10/")
        assert main(["train", *TOY, f"--workdir={run}", f"{steps}10"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "step 10 is not saved (cannot write memory://" in error
    assert error.endswith("the last checkpoint is of step 5")
    assert f"{bucket}/run/checkpoints/10/seal/metadata" not in ObjectStore("memory").listed(bucket)
    assert before.items() <= {**ObjectStore("memory").listed(bucket), **before}.items()
    working_copy.forget()
    failing(every=3)  # a bad line, but no dead one
    assert main(["train", *TOY, f"--workdir={run}", f"{steps}10"]) == 0
    assert "found a checkpoint of step 5" in capsys.readouterr().err
    assert f"{bucket}/run/checkpoints/10/seal/metadata" in ObjectStore("memory").listed(bucket)


def break_uploads(patch, part):
    """Let all uploads of objects whose keys hold ``part`` fail."""
    from fsspec.implementations.memory import MemoryFileSystem

    from score_sde.runtime import object_store

    patch.setattr(object_store, "PAUSES", ())
    put_file = MemoryFileSystem.put_file

    def broken(self, path, key, **options):
        if part in key and "/d/" in key:
            raise ConnectionError("the line is dead")
        return put_file(self, path, key, **options)

    patch.setattr(MemoryFileSystem, "put_file", broken)


@pytest.mark.parametrize("prefix", ["npz", "folder", "arrayrecord"])
def test_data_in_object_storage(prefix, bucket, tmp_path):
    from PIL import Image

    from score_sde.data import load_source
    from score_sde.data.array_record import write_array_record

    name = f"memory://{bucket}/data"
    if prefix == "npz":
        np.savez(tmp_path / "data", x=np.zeros((20, 3), np.float32))
        ObjectStore("memory").upload(tmp_path / "data.npz", f"{bucket}/data.npz")
        name = f"{name}.npz"
    elif prefix == "folder":
        Image.new("L", (4, 4)).save(tmp_path / "a.png")
        for number in range(20):
            ObjectStore("memory").upload(tmp_path / "a.png", f"{bucket}/data/{number}.png")
    else:
        pytest.importorskip("array_record", reason="the extra arrayrecord is not installed")
        write_array_record(load_source("mixture", num_examples=20), name)
    assert len(load_source(f"{prefix}:{name}").train) == 18


pytest_s3 = pytest.mark.skipif(
    not (find_spec("moto") and find_spec("flask") and find_spec("s3fs")),
    reason="moto, flask or s3fs is not installed",
)


@pytest.fixture(scope="module")
def s3():
    """S3 on this machine: the environment of commands that use it."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", f"-p{port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        make_bucket(time.monotonic() + 60)
        try:
            yield environment
        finally:
            server.kill()
            server.wait()


def make_bucket(deadline):
    import s3fs

    while True:
        try:
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
            return
        except Exception:
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest_s3
@pytest.mark.slow
def test_a_killed_run_in_s3_resumes_and_all_commands_work_there(s3, tmp_path):
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    ObjectStore("s3").upload(data, "bucket/data.npz")
    flags = [flag for flag in TOY if "num_examples" not in flag]
    flags += ["--config.data.source=npz:s3://bucket/data.npz"]
    environment = {**s3, "SCORE_SDE_CACHE": str(tmp_path / "cache")}
    run = "s3://bucket/run"

    def train(num_steps):
        words = (*flags, f"--config.training.num_steps={num_steps}")
        return started("train", run, *words, env=environment)

    finished(train(20))
    for kill in range(3):
        (process,) = train(3000)
        while f"bucket/run/checkpoints/{25 + 30 * kill}/" not in " ".join(
            ObjectStore("s3").listed("bucket/run/checkpoints")
        ):
            time.sleep(0.1)
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    stored = ObjectStore("s3").listed("bucket/run/checkpoints")
    whole = [name for name in stored if name.endswith("seal/metadata")]
    newest = max(int(name.split("/")[3]) for name in whole)
    ((_, error),) = finished(train(newest + 10))
    assert f"found a checkpoint of step {newest}, resuming until step {newest + 10}" in error
    finished(started("sample", run, "--num_samples=16", env=environment))
    finished(started("likelihood", run, "--num_examples=4", env=environment))
    finished(started("plot", run, env=environment))
    finished(started("export", run, "--output=s3://bucket/model", env=environment))
    finished(started("sample", "s3://bucket/model", "--output=s3://bucket/out", env=environment))
    names = " ".join(ObjectStore("s3").listed("bucket"))
    for name in ("run/samples/samples.npz", "run/likelihood_test.npz", "run/loss.png"):
        assert f"bucket/{name}" in names
    for name in ("model/model.safetensors", "out/samples.npz"):
        assert f"bucket/{name}" in names


@pytest_s3
@pytest.mark.slow
def test_processes_without_a_shared_disk_train_and_sample_in_s3(s3, tmp_path):
    words = (*TOY, "--config.training.num_steps=10")
    run = "s3://bucket/two"
    finished(started("train", run, *words, processes=2, env=s3))
    words = (*TOY, "--config.training.num_steps=15", "--config.training.fsdp=2")
    (_, error), _ = finished(started("train", run, *words, processes=2, env=s3))
    assert "found a checkpoint of step 10" in error
    finished(started("sample", run, "--num_samples=64", "--batch=8", processes=2, env=s3))
    finished(started("train", run, *TOY, "--config.training.num_steps=20", env=s3))
    names = " ".join(ObjectStore("s3").listed("bucket/two"))
    assert "two/checkpoints/20/seal/metadata" in names and "two/samples/samples.npz" in names


@pytest_s3
@pytest.mark.slow
def test_a_missing_bucket_is_one_line(s3, tmp_path):
    (process,) = started("train", "s3://no-such-bucket/run", *TOY, env=s3)
    ((_, error),) = finished([process], code=2)
    assert error.strip().splitlines()[-1] == (
        "score-sde train: cannot write s3://no-such-bucket/run/run.lock.json: there is no bucket "
        "s3://no-such-bucket"
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("gcsfs") and find_spec("gcp_storage_emulator")),
    reason="gcsfs or gcp-storage-emulator is not installed",
)
def test_a_run_in_google_cloud_storage(tmp_path):
    port = free_port()
    code = (
        "from gcp_storage_emulator.server import create_server as c;"
        f"c('localhost', {port}, in_memory=True, default_bucket='bucket').run()"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    environment = {"STORAGE_EMULATOR_HOST": f"http://localhost:{port}"}
    try:
        time.sleep(3)
        words = (*TOY, "--config.training.num_steps=10")
        finished(started("train", "gs://bucket/run", *words, env=environment))
        finished(started("sample", "gs://bucket/run", "--num_samples=8", env=environment))
    finally:
        server.kill()
        server.wait()
