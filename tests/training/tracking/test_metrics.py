"""Metrics as JSON lines and as TensorBoard events."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.training import JsonLinesWriter, MultiWriter, TensorBoardWriter, read_scalars


def write_some(path, steps, scale=1.0):
    writer = JsonLinesWriter(path)
    for step in steps:
        writer.write_scalars(step, {"loss": scale * step})
    writer.close()


def test_one_object_per_line_at_once_on_the_disk(tmp_path):
    writer = JsonLinesWriter(tmp_path / "run" / "metrics.jsonl")
    value = jnp.float32(0.1)
    writer.write_scalars(3, {"loss": value, "lr": 2})
    writer.write_images(3, {"picture": np.zeros((2, 2, 1))})
    lines = writer.path.read_text().splitlines()
    writer.close()
    writer.close()
    assert [json.loads(line) for line in lines] == [{"step": 3, "loss": float(value), "lr": 2.0}]


def test_numbers_that_are_not_finite_are_valid_json(tmp_path):
    writer = JsonLinesWriter(tmp_path / "metrics.jsonl")
    writer.write_scalars(1, {"a": np.nan, "b": np.inf})
    writer.close()
    assert json.loads(writer.path.read_text()) == {"step": 1, "a": None, "b": None}
    steps, values = read_scalars(writer.path)["a"]
    assert list(steps) == [1] and np.isnan(values[0])


def test_lines_are_appended_to_an_existing_file(tmp_path):
    write_some(tmp_path / "m.jsonl", [1, 2])
    write_some(tmp_path / "m.jsonl", [3])
    assert list(read_scalars(tmp_path / "m.jsonl")["loss"][0]) == [1, 2, 3]


def test_rewinding_drops_later_lines_and_a_torn_one(tmp_path):
    path = tmp_path / "m.jsonl"
    write_some(path, [1, 2, 3, 4])
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    writer = JsonLinesWriter(path)
    writer.rewind(2)
    writer.write_scalars(3, {"loss": 30.0})
    writer.close()
    steps, values = read_scalars(path)["loss"]
    np.testing.assert_array_equal(steps, [1, 2, 3])
    np.testing.assert_array_equal(values, [1.0, 2.0, 30.0])
    assert [file.name for file in tmp_path.iterdir()] == ["m.jsonl"]


def test_curves_of_different_lengths(tmp_path):
    writer = JsonLinesWriter(tmp_path / "m.jsonl")
    writer.write_scalars(1, {"loss": 1.0})
    writer.write_scalars(2, {"loss": 0.5})
    writer.write_scalars(2, {"eval_loss": 0.7})
    writer.close()
    curves = read_scalars(writer.path)
    assert {name: (list(steps), list(values)) for name, (steps, values) in curves.items()} == {
        "loss": ([1, 2], [1.0, 0.5]),
        "eval_loss": ([2], [0.7]),
    }
    with pytest.raises(FileNotFoundError):
        read_scalars(tmp_path / "none.jsonl")


def events(directory):
    """What the event files of a folder hold, oldest file first: (step, tag or "start")."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 12 + length + 4
            found += [(event.step, value.tag) for value in event.summary.value]
            if event.HasField("session_log"):
                found.append((event.step, "start"))
    return found


def test_tensorboard_gets_scalars_and_images_and_hides_later_steps_on_rewinding(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    writer.write_scalars(5, {"loss": jnp.float32(0.5)})
    writer.write_images(
        5, {"samples": np.zeros((4, 4, 3), np.uint8), "gray": jnp.full((4, 4, 1), 0.5)}
    )
    writer.close()
    assert events(tmp_path) == [(5, "loss"), (5, "samples"), (5, "gray")]
    writer.rewind(3)
    writer.write_scalars(4, {"loss": 0.25})
    writer.close()
    assert sorted(events(tmp_path)) == [
        (4, "loss"),
        (4, "start"),
        (5, "gray"),
        (5, "loss"),
        (5, "samples"),
    ]


def test_several_writers_get_the_same(tmp_path):
    first, second = JsonLinesWriter(tmp_path / "a.jsonl"), JsonLinesWriter(tmp_path / "b.jsonl")
    writer = MultiWriter([first, second])
    writer.write_scalars(1, {"loss": 1.0})
    writer.write_scalars(2, {"loss": 2.0})
    writer.write_images(2, {})
    writer.rewind(1)
    writer.flush()
    writer.close()
    assert first.path.read_text() == second.path.read_text() == '{"step": 1, "loss": 1.0}\n'
