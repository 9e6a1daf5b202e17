"""The trackers with their real libraries, where those are installed, and without a network."""

import json
import os
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.training import MlflowWriter, TrackioWriter, WandbWriter, make_writers, read_scalars
from score_sde.training.tracking.trackers import RunIds, flattened

CONFIG = {"seed": 3, "model": {"name": "mlp", "hidden_sizes": [8, 8]}, "optim": {"lr": 2e-4}}

real = pytest.mark.filterwarnings("ignore")  # theirs


def write(writer, steps, *, at=0):
    """A run from checkpoint ``at`` on: the metrics of a step, a held-out loss, a picture."""
    writer.rewind(at)
    for step in steps:
        writer.write_scalars(step, {"loss": jnp.float32(step), "lr": 0.5})
        writer.write_scalars(step, {"eval_loss": np.nan, "loss_at_log_snr_+0.69": 1.0})
    writer.write_images(
        steps[-1], {"samples": np.full((4, 4, 1), 0.5), "colours": np.zeros((4, 4, 3), np.uint8)}
    )
    writer.flush()
    writer.close()


def test_ids_are_kept_side_by_side_and_a_damaged_file_counts_as_empty(tmp_path):
    ids = RunIds(tmp_path / "trackers.json")
    assert ids.find("wandb") is None
    assert ids.keep("wandb", "abc") == "abc" and ids.keep("mlflow", "def") == "def"
    assert ids.find("wandb") == "abc" and json.loads(ids.path.read_text()) == {
        "wandb": "abc",
        "mlflow": "def",
    }
    ids.path.write_text('{"wandb": "ab')
    assert ids.find("wandb") is None
    assert [file.name for file in tmp_path.iterdir()] == ["trackers.json"]
    assert ids.keep("wandb", "ghi") == "ghi" and json.loads(ids.path.read_text()) == {
        "wandb": "ghi"
    }
    assert (tmp_path / "trackers.json.damaged").read_text() == '{"wandb": "ab'


def test_ids_of_trackers_that_open_at_once_are_all_kept(tmp_path):
    ids = [RunIds(tmp_path / "trackers.json") for _ in range(20)]
    threads = [threading.Thread(target=each.keep, args=(str(i), "x")) for i, each in enumerate(ids)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((tmp_path / "trackers.json").read_text())) == 20


def test_the_config_by_dotted_names():
    flat = flattened(CONFIG)
    assert flat == {"seed": 3, "model.name": "mlp", "model.hidden_sizes": [8, 8], "optim.lr": 2e-4}


@real
def test_wandb_offline_resumes_the_same_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write(WandbWriter(tmp_path, CONFIG), [1, 2])
    time.sleep(1.1)  # its folders are named after the second
    write(WandbWriter(tmp_path, CONFIG), [3], at=2)
    run_id = json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    runs = sorted((tmp_path / "wandb").glob(f"offline-run-*-{run_id}*"))
    assert len(runs) == 2
    records = [record for run in runs for record in finished_wandb_records(run)]
    last = {
        item.key or item.nested_key[0]: item.value_json
        for record in records
        for item in record.history.item
    }
    assert (
        json.loads(last["loss"]) == 3.0 and {"lr", "eval_loss", "samples", "colours"} <= last.keys()
    )
    steps = [
        json.loads(item.value_json)
        for record in records
        for item in record.history.item
        if item.key == "_step"
    ]
    nested = [
        item for record in records for item in record.history.item if item.nested_key == ["_step"]
    ]
    assert steps + [json.loads(item.value_json) for item in nested] == [1, 2, 3]
    assert {item.key for record in records for item in record.run.config.update} >= CONFIG.keys()
    assert (
        len(list((tmp_path / "wandb").glob("offline-run-*/files/media/images/samples_*.png"))) == 2
    )


def finished_wandb_records(run):
    """Those of a run that has ended; its end is written by another process."""
    for _ in range(100):
        records = list(wandb_records(run))
        if records and records[-1].HasField("exit"):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{run} has no end")


def wandb_records(run):
    """What a file of the library holds: records of LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = run.glob("*.wandb")
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block is empty
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


@real
@pytest.mark.slow
def test_mlflow_resumes_the_same_run_and_has_no_step_twice(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write(MlflowWriter(tmp_path, CONFIG), [1, 2, 3])
    changed = {**CONFIG, "optim": {"lr": 1e-4}}
    write(MlflowWriter(tmp_path, changed), [3, 4], at=2)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path.resolve()}/mlflow/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "score_sde"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((tmp_path / "trackers.json").read_text())["mlflow"]
    assert run.info.status == "FINISHED" and run.data.params["model.name"] == "mlp"
    assert run.data.params["optim.lr"] == "0.0002"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 4.0),
    ]
    assert all(
        np.isnan(point.value) for point in client.get_metric_history(run.info.run_id, "eval_loss")
    )
    assert "loss_at_log_snr__0.69" in run.data.metrics  # MLflow allows no plus
    (saved,) = (tmp_path / "mlflow").rglob("config.json")
    assert json.loads(saved.read_text()) == changed
    assert len(list((tmp_path / "mlflow").rglob("samples*.png"))) == 2


@pytest.fixture(scope="module")
def trackio_folder(tmp_path_factory):
    if "trackio" not in sys.modules:  # it looks there once
        os.environ["TRACKIO_DIR"] = str(tmp_path_factory.mktemp("trackio"))
    yield
    os.environ.pop("TRACKIO_DIR", None)


@real
def test_trackio_resumes_the_same_run_and_has_no_step_twice(tmp_path, trackio_folder, capsys):
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    write(TrackioWriter(tmp_path, CONFIG), [1, 2, 3])
    write(TrackioWriter(tmp_path, CONFIG), [3, 4], at=2)
    name = json.loads((tmp_path / "trackers.json").read_text())["trackio"]
    logs = SQLiteStorage.get_logs("score_sde", name)
    assert [(log["step"], log["loss"]) for log in logs if "loss" in log] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 4.0),
    ]
    assert [log["step"] for log in logs if "samples" in log] == [3, 4]
    assert SQLiteStorage.get_run_config("score_sde", name)["model"]["name"] == "mlp"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "tensorbord",
            "unknown training.trackers 'tensorbord', did you mean 'tensorboard'?; known: "
            "tensorboard,",
        ),
        (
            "no_such_module:Name",
            "training.trackers 'no_such_module:Name': no module 'no_such_module'",
        ),
    ],
)
def test_an_unknown_tracker_is_an_error_before_anything_is_made(tmp_path, name, words):
    with pytest.raises(ValueError) as raised:
        make_writers(["tensorboard", name], tmp_path, {})
    assert str(raised.value).startswith(words) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_missing_library_is_an_error_that_names_its_extra(tmp_path, monkeypatch, name):
    monkeypatch.setattr("score_sde.training.tracking.writers.find_spec", lambda library: None)
    with pytest.raises(ValueError) as raised:
        make_writers([name], tmp_path, {})
    assert (
        str(raised.value)
        == f"training.trackers: {name} needs the extra {name}: pip install 'score-sde[{name}]'"
    )


def test_json_lines_are_always_written_and_nothing_before_the_first_call(tmp_path):
    writer = make_writers(["tensorboard", "tensorboard"], tmp_path / "run", CONFIG)
    assert not list(tmp_path.iterdir())
    write(writer, [1, 2])
    steps, values = read_scalars(tmp_path / "run" / "metrics.jsonl")["loss"]
    assert list(steps) == [1, 2] and list(values) == [1.0, 2.0]
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
    write(make_writers([], tmp_path / "other", CONFIG), [1])
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["metrics.jsonl"]


def test_a_writer_can_be_named_by_its_dotted_name(tmp_path, monkeypatch):
    (tmp_path / "own_tracker.py").write_text(
        "from score_sde.training import JsonLinesWriter\n"
        "def make(workdir, config):\n"
        "    return JsonLinesWriter(workdir / f'own_{config[\"seed\"]}.jsonl')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    write(make_writers(["own_tracker:make"], tmp_path, CONFIG), [1, 2])
    assert (tmp_path / "own_3.jsonl").read_text() == (tmp_path / "metrics.jsonl").read_text()


@real
@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_trackers_in_the_background_end_with_the_run(
    tmp_path, monkeypatch, capsys, trackio_folder, name
):
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    told = []
    write(make_writers([name], tmp_path, CONFIG, tell=told.append), [1, 2])
    assert not told and json.loads((tmp_path / "trackers.json").read_text())[name]
    assert not [thread for thread in threading.enumerate() if thread.name == name]


@real
def test_a_server_that_does_not_answer_is_reported(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = []
    write(make_writers(["mlflow"], tmp_path, CONFIG, tell=told.append), [1, 2])
    assert told[0].startswith("mlflow: cannot write (") and told[0].endswith(
        "trying again every 300 s"
    )
    assert told[1:] == ["mlflow: 5 writes are lost"]
    assert len(read_scalars(tmp_path / "metrics.jsonl")["loss"][0]) == 2
