"""Parameters in one file: read back bit for bit, or an error."""

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from score_sde.export import tensor_file
from score_sde.export.parameter_names import nested
from score_sde.export.tensor_file import (
    open_tensors,
    remove_unfinished,
    write_tensors,
)

FACTS = {"step": 7, "sigma_rel": 0.05}
TENSORS = {
    "in/bias": np.zeros(2, np.float32),
    "in/kernel": np.array([[1.5, -2.0], [0.25, 3.0]], np.float32),
    "table": np.arange(3, dtype=np.int32),
}
PARAMS = {
    "table": TENSORS["table"],
    "in": {"kernel": TENSORS["in/kernel"], "bias": TENSORS["in/bias"]},
}


@pytest.fixture
def path(tmp_path):
    write_tensors(tmp_path / "a.safetensors", PARAMS, FACTS)
    return tmp_path / "a.safetensors"


def read(path):
    with open_tensors(path) as file:
        return file.facts, {name: file.read(name) for name in file.names}


def assert_whole(path):
    facts, tensors = read(path)
    assert facts == FACTS and list(tensors) == list(TENSORS)
    for name, expected in TENSORS.items():
        assert tensors[name].dtype == expected.dtype
        np.testing.assert_array_equal(tensors[name], expected)


def test_what_is_written_is_read_back_bit_for_bit(path):
    assert_whole(path)
    assert set(load_file(path)) == set(TENSORS)
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_lists_and_small_floats_are_read_back(tmp_path):
    params = {"layers": [np.ones(3, ml_dtypes.float8_e4m3fn), np.ones(3, ml_dtypes.bfloat16)]}
    write_tensors(tmp_path / "a.safetensors", params, FACTS)
    with open_tensors(tmp_path / "a.safetensors") as file:
        found = nested({name: file.read(name) for name in file.names}, file.containers)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for ours, theirs in zip(params["layers"], found["layers"], strict=True):
        assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


def test_a_new_file_has_the_permissions_of_any_new_file(path):
    (path.parent / "any").touch()
    assert path.stat().st_mode == (path.parent / "any").stat().st_mode


def test_equal_parameters_give_equal_bytes(path):
    before = path.read_bytes()
    write_tensors(
        path, {"in": PARAMS["in"], "table": PARAMS["table"]}, dict(reversed(FACTS.items()))
    )
    assert path.read_bytes() == before


def test_any_flipped_bit_is_noticed(path):
    """Each byte of the file in turn: refused in one line, or a file that reads the same."""
    whole, same = path.read_bytes(), 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        path.write_bytes(data)
        try:
            read(path)
        except ValueError as error:
            assert "is damaged" in str(error) or "which is not supported" in str(error)
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            assert_whole(path)
            same += 1
    assert same < 0.1 * len(whole)


def test_a_file_cut_short_is_an_error(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is damaged"):
            read(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path)


def test_a_file_of_another_origin_is_an_error(path):
    save_file(TENSORS, path)
    with pytest.raises(ValueError, match="is damaged: its metadata have no facts"):
        read(path)


def test_a_failure_leaves_the_file_that_was_there(path, monkeypatch):
    def fails(place, tensors, metadata):
        place.write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr(tensor_file, "write_safetensors", fails)
    with pytest.raises(OSError, match="no space"):
        write_tensors(path, {"table": TENSORS["table"]}, FACTS)
    assert_whole(path)
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_only_temporary_files_of_killed_processes_are_removed(path):
    (path.parent / ".a.safetensors-1a2b").write_bytes(b"half")
    (path.parent / "notes.txt").write_text("mine")
    remove_unfinished(path.parent)
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.safetensors", "notes.txt"]


@pytest.mark.parametrize(
    "changes", [{"facts": True}, {"facts": None}, {"fingerprints": []}, {"fingerprints": 3}]
)
def test_metadata_of_wrong_types_are_errors(changes, tmp_path):
    from score_sde.export.tensor_file import CARD, _checksum, _text

    card = {"facts": {}, "fingerprints": {"a": 0}, **changes}
    save_file(
        {"a": np.ones(2)},
        tmp_path / "a",
        metadata={CARD: _text({**card, "checksum": _checksum(card)})},
    )
    with (
        pytest.raises(ValueError, match="a is damaged: its metadata have no facts"),
        open_tensors(tmp_path / "a"),
    ):
        pass
