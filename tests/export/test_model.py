"""Exported models: two files, each tensor with a fingerprint; damage is never loaded."""

import json
import zlib

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from score_sde.export.folder import CARD, README, WEIGHTS, check_free, is_exported
from score_sde.export.model import export_model, read_exported
from score_sde.runtime.safetensors_file import TYPES
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
    assert {path.name for path in folder.iterdir()} == {CARD, WEIGHTS, README}
    assert set(load_file(folder / WEIGHTS)) == {"in/kernel", "in/bias", "scale", "table"}
    card = json.loads((folder / CARD).read_text())
    expected = zlib.crc32(np.arange(5, dtype=np.int32).tobytes(), zlib.crc32(b"int32[5]"))
    assert card["fingerprints"]["table"] == expected and 0 <= expected < 2**32


@pytest.mark.parametrize("dtype", sorted(set(TYPES.values()), key=str))
def test_every_type_of_a_file_is_read_back_bit_for_bit(dtype, tmp_path):
    values = np.frombuffer(bytes(range(1, 1 + 8 * dtype.itemsize)), dtype).reshape(2, 4)
    values = values.astype(bool) if dtype.kind == "b" else values
    export_model(tmp_path / "model", {"w": values, "x": values[0, :1].reshape(())}, CONFIG, step=7)
    found = read_exported(tmp_path / "model").params
    assert found["w"].dtype == dtype and found["w"].shape == (2, 4) and found["x"].shape == ()
    assert found["w"].tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", ["complex128", "U3", "datetime64[s]", ml_dtypes.int4])
def test_a_type_that_the_file_lacks_is_an_error_that_names_the_parameter(dtype, tmp_path):
    with pytest.raises(
        ValueError, match=r"^a/w is of the type .*, which a file of safetensors can"
    ):
        export_model(tmp_path / "model", {"a": {"w": np.zeros(2, dtype)}}, CONFIG, step=7)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["F4", "X32"])
def test_a_type_of_a_newer_file_is_not_damage(kind, folder):
    path = folder / WEIGHTS
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(b'"I32"', f'"{kind}"'.encode())
    header = header.replace(b'"shape":[5]', b'"shape":[40]') if kind == "F4" else header
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    with pytest.raises(
        ValueError, match=rf"{WEIGHTS} cannot be read: .* has the type {kind}, which is not supp"
    ):
        read_exported(folder)


def test_a_new_file_has_the_permissions_of_any_new_file(folder):
    (folder.parent / "any").touch()
    expected = (folder.parent / "any").stat().st_mode
    assert {path.stat().st_mode for path in folder.iterdir()} == {expected}


@pytest.mark.parametrize(("edit", "message"), [
    ([], "the containers of its tensors are not given by name"),
    ({"in": "set"}, "'in' is a container of an unknown kind, 'set'"),
    ({"in": ["list"]}, "'in' is a container of an unknown kind"),
    ({"in": "list"}, "the tensors below 'in' do not make a list"),
    ({"in": "numbered"}, "the tensors below 'in' do not make a numbered"),
    ({"scale": "tuple"}, "the tensors below 'scale' do not make a tuple"),
    ({"scale/0": "none"}, "'scale/0' lies below another tensor"),
    ({"/".join("a" * 100): "none"}, "more than 64 parts"),
])  # fmt: skip
def test_containers_that_do_not_fit_the_tensors_are_damage(edit, message, folder):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "containers": edit}))
    with pytest.raises(ValueError, match=message) as refusal:
        read_exported(folder)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)


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
