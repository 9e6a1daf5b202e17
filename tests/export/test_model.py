"""Exported models: two files, each tensor with a fingerprint; damage is never loaded."""

import json
import zlib

import numpy as np
import pytest
from safetensors.numpy import load_file

from score_sde.export.folder import CARD, WEIGHTS, check_free, is_exported
from score_sde.export.model import export_model, read_exported
from score_sde.runtime.unreadable import UnreadableError

CONFIG = {"seed": 3, "model": {"name": "mlp", "hidden_sizes": [8]}}


def params():
    rng = np.random.default_rng(0)
    return {
        "in": {
            "kernel": rng.normal(size=(3, 4)).astype(np.float32),
            "bias": np.zeros(4, np.float32),
        },
        "scale": np.float32(2.5),
        "table": np.arange(5, dtype=np.int32),
    }


@pytest.fixture
def folder(tmp_path):
    export_model(tmp_path / "model", params(), CONFIG, step=7)
    return tmp_path / "model"


def test_what_is_written_is_read_back_bit_for_bit(folder):
    step, found, config = read_exported(folder)
    assert step == 7 and config == CONFIG and is_exported(folder) and not is_exported(folder.parent)
    assert found["in"].keys() == {"kernel", "bias"} and found["scale"].shape == ()
    for ours, theirs in (
        (params()["in"]["kernel"], found["in"]["kernel"]),
        (params()["table"], found["table"]),
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_the_files_need_nothing_of_this_package(folder):
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]
    assert set(load_file(folder / WEIGHTS)) == {"in/kernel", "in/bias", "scale", "table"}
    card = json.loads((folder / CARD).read_text())
    expected = zlib.crc32(np.arange(5, dtype=np.int32).tobytes(), zlib.crc32(b"int32[5]"))
    assert card["fingerprints"]["table"] == expected and 0 <= expected < 2**32


def test_nothing_is_overwritten(folder):
    before = (folder / CARD).read_bytes()
    with pytest.raises(FileExistsError, match="is there already: choose another place"):
        export_model(folder, params(), {}, step=8)
    assert (folder / CARD).read_bytes() == before
    file = folder.parent / "file"
    file.touch()
    with pytest.raises(FileExistsError):
        check_free(file)
    empty = folder.parent / "empty"
    empty.mkdir()
    export_model(empty, params(), CONFIG, step=7)
    assert is_exported(empty)


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        export_model(tmp_path / "deep" / "model", params(), {"sde": object()}, step=7)
    assert list((tmp_path / "deep").iterdir()) == []


def test_any_flipped_bit_of_a_tensor_is_noticed(folder):
    """Each byte of the file in turn: refused in one line, or a header that reads the same."""
    path = folder / WEIGHTS
    whole = path.read_bytes()
    tensors_from = 8 + int.from_bytes(whole[:8], "little")
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        path.write_bytes(data)
        try:
            found = read_exported(folder).params
        except ValueError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
        else:
            assert place < tensors_from
            np.testing.assert_array_equal(found["in"]["kernel"], params()["in"]["kernel"])


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_a_file_that_cannot_be_read_is_not_damaged(name, folder):
    (folder / name).unlink()
    (folder / name).symlink_to(name)  # a link to itself, which nobody can read
    with pytest.raises(
        UnreadableError,
        match=rf"^cannot read the model {folder}: Too many levels .*: {folder / name}; ",
    ):
        read_exported(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError):
        read_exported(folder)


def test_a_file_cut_short_is_an_error(folder):
    path = folder / WEIGHTS
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is damaged") as refusal:
            read_exported(folder)
        assert "\n" not in str(refusal.value)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_exported(folder)


@pytest.mark.parametrize(("card", "message"), [
    ("", "is damaged: it is no JSON"),
    ("[" * 100_000, "is damaged: it is no JSON"),
    ("[]", "is damaged: it holds no JSON object"),
    ('{"format": "score_sde 1", "step": "7", "config": {}, "fingerprints": {}}',
    "is no card of an exported model: it needs format, step, config, fingerprints"),
    ('{"format": "score_sde 2", "step": 7, "config": {}, "fingerprints": '
'{}}', "has the format 'score_sde 2'"),
    ('{"format": "score_sde 1", "step": 7, "config": {}, "fingerprints": '
'{}}', "in/bias is missing in model.json"),
    ('{"format": "score_sde 1", "step": 7, "config": {}, "fingerprints": {"x": '
'1}}', "in/bias is missing"),
])  # fmt: skip
def test_a_card_that_does_not_fit_is_an_error(card, message, folder):
    (folder / CARD).write_text(card)
    with pytest.raises(ValueError, match=message) as refusal:
        read_exported(folder)
    assert "\n" not in str(refusal.value)
