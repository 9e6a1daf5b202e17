"""A small file cannot make its reader allocate much memory: it is an error of one line, at
once.
"""

import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.io import savemat

import score_sde as ss
from score_sde.configs.default import get_default_config
from score_sde.data import npy, npz
from score_sde.data.named.idx import mnist
from score_sde.data.named.imagenet import imagenet32
from score_sde.data.named.mat_file import read_mat
from score_sde.data.named.svhn import svhn
from score_sde.data.named.tfrecord import RecordFile
from score_sde.evaluation.plots.loss import read_metrics
from score_sde.evaluation.report import read as read_report
from score_sde.experiments.loading import config_from_reference
from score_sde.export.folder import CARD, WEIGHTS
from score_sde.export.model import export_model, read_exported
from score_sde.interop.flax_file import read_flax
from score_sde.interop.foreign import count_parameters
from score_sde.interop.torch_file import read_torch
from score_sde.runtime import bounded_reading
from score_sde.runtime.bounded_reading import (
    MAX_DEPTH,
    MAX_RATIO,
    allowed,
    check_tree,
    parsed_json,
)
from score_sde.runtime.fingerprints import array_checksum
from score_sde.training.checkpoints.manifest import DamagedError
from score_sde.training.checkpoints.sampling import check_promised
from score_sde.training.tracking.metrics import read_scalars
from tests.data_sets import example, field, write_records

GOLDEN = Path(__file__).parents[1] / "golden"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def tensor(size, *, count, key="0"):
    """The opcodes of a tensor with steps of one element."""
    shape = lambda values: b"(" + b"".join(map(number, values)) + b"t"  # noqa: E731
    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text(key)
        + text("cpu")
        + number(count)
        + b"tQ"
    )
    stride = (
        tuple(np.cumprod((1, *size[:0:-1]))[::-1].tolist()) if len(size) < 9 else (1,) * len(size)
    )
    view = storage + number(0) + shape(size) + shape(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + view + b"tR"


def torch_file(path, opcodes, storages=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + opcodes + b".")
        for key, data in storages:
            archive.writestr(f"archive/data/{key}", data)
    return path


def refused(read, *arguments, **options):
    """The error of a call, in one line."""
    with pytest.raises(ValueError) as error:
        read(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def doubled(depth):
    """Dictionaries each of which is twice in the next: ``2^depth`` leaves in ``12 depth`` bytes."""
    twice = lambda n: (  # noqa: E731
        b"}("
        + text("a")
        + b"h"
        + bytes([n])
        + text("b")
        + b"h"
        + bytes([n])
        + b"uq"
        + bytes([n + 1])
    )
    return b"}q\x00" + b"0".join([b"", *map(twice, range(depth))])


def test_shared_dictionaries_are_not_counted_one_by_one(tmp_path):
    """Was: 1.3 kB that took more than 10 GB in counting."""
    path = torch_file(tmp_path / "a.pth", b"}(" + text("model") + doubled(60) + b"u")
    assert path.stat().st_size < 2500
    assert "is repeated more often than it has bytes" in refused(count_parameters, path)


def test_dictionaries_that_are_shared_a_few_times_are_read(tmp_path):
    assert refused(count_parameters, torch_file(tmp_path / "a.pth", doubled(5))).endswith(
        "NCSN or NCSNv2"
    )
    assert len(read_torch(tmp_path / "a.pth")) == 2


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"]" * 500 + b"a" * 499, f"nested more than {MAX_DEPTH} levels deep"),
        (b"]" * 100_000 + b"a" * 99_999, f"nested more than {MAX_DEPTH} levels deep"),
        (b"]q\x00h\x00a", "or contains itself"),
        (
            b"}(" + b")" + b"2\x86" * 60 + b"K\x01u",
            "a key of a dictionary is neither a text nor a number",
        ),
        (
            b"}" + b")" + b"2\x86" * 60 + b"K\x01s",
            "a key of a dictionary is neither a text nor a number",
        ),
        (
            b"(" + b")" + b"2\x86" * 60 + b"K\x01d",
            "a key of a dictionary is neither a text nor a number",
        ),
        (
            b"ccollections\nOrderedDict\n(](" + b")" + b"2\x86" * 60 + b"K\x01\x86etR",
            "neither a text nor a number",
        ),
        (b"\x8f(" + b")" + b"2\x86" * 60 + b"\x90", "the file holds a set"),
        (
            b"ctorch._utils\n_rebuild_parameter\n(Nt}b",
            "sets attributes of an object that is no dictionary",
        ),
        (b"cos\nsys\ntem\n.", "asks to run os.sys, and"),
    ],
)
def test_pickles_that_would_not_end_are_refused_at_once(tmp_path, opcodes, message):
    assert message in refused(read_torch, torch_file(tmp_path / "a.pth", opcodes))


def test_a_chain_that_is_reached_from_its_ends_is_as_deep_as_it_is():
    chain = [[]]
    for _ in range(2 * MAX_DEPTH):
        chain.append([chain[-1]])
    with pytest.raises(ValueError, match="levels deep"):
        check_tree(chain[::-1], 10**6)
    check_tree(chain[: MAX_DEPTH // 2], 10**6)


def test_keys_of_several_kinds_are_counted(tmp_path):
    model = b"}(" + text("a") + tensor((10,), count=10) + b"K\x05" + tensor((10,), count=10) + b"u"
    path = torch_file(tmp_path / "a.pth", b"}(" + text("model") + model + b"u", [("0", bytes(40))])
    assert count_parameters(path) == 20


def test_a_device_of_many_names_is_no_text_of_all_of_them(tmp_path):
    assert (
        read_torch(
            torch_file(tmp_path / "a.pth", b"ctorch\ndevice\n(" + b")" + b"2\x86" * 60 + b"tR")
        )
        == ""
    )


def test_many_views_of_one_storage_are_not_copied(tmp_path):
    """Was: 4 MB that took 6 GB."""
    data, count = bytes(4 * 10**6), 10**6
    many = torch_file(
        tmp_path / "many.pth", b"](" + tensor((count,), count=count) * 1500 + b"e", [("0", data)]
    )
    assert "its tensors together are more than 4 times as large as the file" in refused(
        read_torch, many
    )
    few = torch_file(
        tmp_path / "few.pth", b"](" + tensor((1000, 1000), count=count) * 3 + b"e", [("0", data)]
    )
    assert [array.shape for array in read_torch(few)] == [(1000, 1000)] * 3


@pytest.mark.parametrize("size", [(2**31 - 1,) * 2, (1,) * 40])
def test_shapes_that_no_tensor_has_are_an_error(tmp_path, size):
    path = torch_file(tmp_path / "a.pth", tensor(size, count=10), [("0", bytes(40))])
    assert "damaged: " in refused(read_torch, path)


def test_members_that_lie_on_top_of_each_other_are_not_more_than_the_file(tmp_path):
    """Each member of a forged archive may hold all that follow: the sum of their sizes
    grows as the square.
    """
    body, entries = bytes(4 * 10**5), []
    for name in range(40):
        path = f"a/data/{name:05d}".encode()
        path += b"0" * (-(30 + len(path)) % 4)
        fields = (20, 0, 0, 0, 0, zlib.crc32(body), len(body), len(body), len(path), 0)
        entries.append((path, fields, len(body)))
        body = b"PK\x03\x04" + struct.pack("<5H3L2H", *fields) + path + body
    pickled = b"\x80\x02](" + b"".join(
        tensor((1,), count=fields[6] // 4, key=path.decode().removeprefix("a/data/")) for path,
        fields, _ in entries
    ) + b"e."  # fmt: skip
    fields = (
        20,
        0,
        0,
        0,
        0,
        zlib.crc32(pickled),
        len(pickled),
        len(pickled),
        len(b"a/data.pkl"),
        0,
    )
    start = len(body)
    body += b"PK\x03\x04" + struct.pack("<5H3L2H", *fields) + b"a/data.pkl" + pickled
    directory = b""
    for path, head, below in [*entries, (b"a/data.pkl", fields, None)]:
        offset = start if below is None else start - below - 30 - len(path)
        directory += (
            b"PK\x01\x02"
            + struct.pack("<6H3L5H2L", 20, *head[:8], len(path), 0, 0, 0, 0, 0, offset)
            + path
        )
    count = len(entries) + 1
    body += (
        directory
        + b"PK\x05\x06"
        + struct.pack("<4H2LH", 0, 0, count, count, len(directory), len(body), 0)
    )
    (tmp_path / "a.pth").write_bytes(body)
    assert "its storages together are larger than the file" in refused(
        read_torch, tmp_path / "a.pth"
    )


@pytest.mark.parametrize(
    "data", [b"\x81\xa1a" * 500 + b"\x01", b"\x81\xa1a" * 100_000, b"\x81\xa1a\xdd\xff\xff\xff\xff"]
)
def test_flax_files_of_any_depth_and_length_are_refused(tmp_path, data):
    (tmp_path / "checkpoint").write_bytes(data)
    assert "is damaged, or no flax checkpoint" in refused(read_flax, tmp_path / "checkpoint")


def test_json_that_is_nested_too_deeply_is_an_error():
    for depth in (MAX_DEPTH + 5, 900, 100_000):
        for left, right in (("[", "]"), ('{"a":', "}")):
            refused(parsed_json, left * depth + "1" + right * depth)
    assert parsed_json("[[1]]") == [[1]]


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["a/" * 5000 + "b"]])
def test_names_that_are_no_tree_are_refused(tmp_path, names):
    export_model(tmp_path / "model", {"x": np.zeros(1, np.float32)}, {}, step=1)
    tensors = {name: np.zeros(1, np.float32) for name in names}
    save_file(tensors, tmp_path / "model" / WEIGHTS)
    card = json.loads((tmp_path / "model" / CARD).read_text())
    card["fingerprints"] = {name: array_checksum(value) for name, value in tensors.items()}
    (tmp_path / "model" / CARD).write_text(json.dumps(card))
    assert f"{WEIGHTS} is damaged: " in refused(read_exported, tmp_path / "model")


def test_a_pytorch_checkpoint_is_not_loaded_into_a_million_layers():
    config = config_from_reference(json.loads((GOLDEN / "ddpmpp_subvp.json").read_text())["config"])
    config.model.num_res_blocks = 10**6
    line = refused(ss.load, GOLDEN / "ddpmpp_subvp.pth", config=config)
    assert "the blocks of model.num_res_blocks=2000000 must be at most" in line


def test_a_folder_of_diffusers_is_not_loaded_into_a_million_layers(tmp_path):
    """Was: it did not end."""
    for path in (GOLDEN / "diffusers_ddpm").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "layers_per_block": 10**6}))
    assert "layers_per_block=1000000 must be a whole number from 1 to" in refused(ss.load, tmp_path)


def test_an_exported_model_is_not_loaded_into_a_million_layers(tmp_path):
    plain = {**get_default_config().to_dict(), "example": {"shape": [8, 8, 1], "num_levels": 17}}
    plain["model"]["num_res_blocks"] = 10**6
    params = {f"x{n}": np.zeros(9, np.float32) for n in range(10)}
    export_model(tmp_path / "model", params, plain, step=1)
    line = refused(ss.load, tmp_path / "model")
    assert "the blocks of model.num_res_blocks=" in line and "must be at most" in line


def test_a_checkpoint_whose_arrays_are_not_there_is_not_filled_with_zeros(tmp_path):
    """Chunks that are missing read as zeros, of whatever shape the metadata says."""
    (tmp_path / "chunk").write_bytes(bytes(1000))
    check_promised(tmp_path, {"a": jax.ShapeDtypeStruct((1000, 1000), np.float32), "b": 3})
    with pytest.raises(
        DamagedError, match="its arrays would take 4000000000 bytes, and its files have 1000"
    ):
        check_promised(tmp_path, {"a": jax.ShapeDtypeStruct((10**6, 1000), np.float32)})


@pytest.mark.parametrize("depth", [900, 100_000])
def test_json_lines_of_any_depth_are_no_metrics(tmp_path, depth):
    path = tmp_path / "metrics.jsonl"
    deep = "[" * depth + "]" * depth
    path.write_text(
        f'{{"step": 1, "loss": 2.0}}\n{{"step": 2, "loss": {"9" * 400}}}\n'
        f'{{"step": 3, "x": {deep}}}\n{deep}\n'
    )
    assert {name: curve[0].tolist() for name, curve in read_scalars(path).items()} == {"loss": [1]}
    path.write_text(path.read_text().replace(f'"x": {deep}', '"x": 1'))
    assert read_metrics(path)["loss"].tolist() == [[1.0, 2.0]]
    assert read_report(tmp_path) == {}
    (tmp_path / "report.json").write_text(deep)
    assert read_report(tmp_path) == {}


@pytest.mark.parametrize(
    "example",
    [
        None,
        {},
        {"shape": [8, 8, 1]},
        {"shape": "8", "num_levels": 2},
        {"shape": [0], "num_levels": None},
    ],
)
def test_an_exported_model_that_does_not_say_what_an_example_is_is_refused(tmp_path, example):
    plain = {**get_default_config().to_dict(), **({} if example is None else {"example": example})}
    export_model(
        tmp_path / "model", {f"x{n}": np.zeros(99, np.float32) for n in range(10)}, plain, step=1
    )
    line = refused(ss.load, tmp_path / "model")
    assert (
        "its config lacks the section example" in line
        if example is None
        else "example needs shape" in line
    )


BOMB = 2**20 + 10**5
"""Zeros, which deflate to a thousandth."""


@pytest.fixture
def small(monkeypatch):
    """What any file may unfold to is a megabyte, so that the bombs are small."""
    monkeypatch.setattr(bounded_reading, "ALWAYS", 2**20)


def npy_bytes(shape, dtype, data=b""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + data


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, data in members.items():
            archive.writestr(f"{key}.npy", data)
    return path


@pytest.mark.usefixtures("small")
def test_what_data_sets_unfold_to_is_allowed():
    """MNIST unfolds 5 times, a set of drawn shapes (26 MB) 116 times; zeros a thousand times."""
    assert allowed(9_912_422) > 47 * 10**6
    assert allowed(26_700_000) > 3_020_000_000
    assert allowed(10) == 2**20
    assert allowed(9 * 10**6) == MAX_RATIO * 9 * 10**6 < 2e9


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("shape", [(10, 28, 28), (BOMB // 784, 28, 28)])
def test_an_idx_file_that_unfolds_to_zeros_is_refused(tmp_path, shape):
    """Was: 9 MB that took 4.3 GB."""
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) + bytes(BOMB)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    for name in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte").write_bytes(b"")
    assert f"more than {MAX_RATIO} times as many" in refused(mnist, tmp_path)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("in_memory", [None, True])
def test_a_member_of_an_archive_that_unfolds_to_zeros_is_refused(tmp_path, in_memory):
    path = zipped(tmp_path / "a.npz", x=npy_bytes((BOMB // 16, 4, 4), "|u1", bytes(BOMB)))
    assert path.stat().st_size < BOMB // 100
    assert f"more than {MAX_RATIO} times" in refused(npz, path, in_memory=in_memory)


@pytest.mark.usefixtures("small")
def test_labels_that_unfold_to_zeros_are_refused(tmp_path):
    images, labels = npy_bytes((2, 4, 4), "|u1", bytes(32)), npy_bytes((BOMB,), "|u1", bytes(BOMB))
    path = zipped(
        tmp_path / "a.npz", train=images, test=images, train_labels=labels, test_labels=labels
    )
    assert f"more than {MAX_RATIO} times" in refused(npz, path)
    image = npy_bytes((2, 3072), "|u1", bytes(6144))
    for name in ("train_data_batch_1", "val_data"):
        zipped(tmp_path / f"{name}.npz", data=image, labels=labels)
    assert f"more than {MAX_RATIO} times" in refused(imagenet32, tmp_path)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("in_memory", [None, True, False])
@pytest.mark.parametrize("shape", [(10**12, 4, 4), (-3, 4, 4), (2**62, 2**62, 2**62)])
def test_a_header_that_promises_more_than_the_file_has_is_refused(tmp_path, shape, in_memory):
    data = npy_bytes(shape, "|u1", bytes(100))
    (tmp_path / "a.npy").write_bytes(data)
    assert "values of uint8 are expected" in (
        line := refused(npy, tmp_path / "a.npy", in_memory=in_memory)
    ) or ("cannot have the shape" in line)
    refused(npz, zipped(tmp_path / "a.npz", x=data), in_memory=in_memory)


def matrix(shape, kind=9, data=b"", size=None):
    """A matrix ``X`` of MATLAB's level 5, of a class (9: uint8), whose data may be
    shorter than they say.
    """
    size = len(data) if size is None else size
    inner = struct.pack("<IIII", 6, 8, kind, 0) + struct.pack("<II", 5, 4 * len(shape))
    inner += struct.pack(f"<{len(shape)}i", *shape) + b"\0" * (-4 * len(shape) % 8)
    inner += struct.pack("<HH4s", 1, 1, b"X") + struct.pack("<II", 2, size)
    padding = -size % 8
    return struct.pack("<II", 14, len(inner) + size + padding) + inner + data + b"\0" * padding


def mat_file(path, element, *, compressed):
    body = zlib.compress(element)
    content = struct.pack("<II", 15, len(body)) + body if compressed else element
    path.write_bytes(b" " * 124 + b"\x00\x01IM" + content)
    return path


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_of_matlab_are_read_as_scipy_writes_them(tmp_path, compressed):
    rng = np.random.default_rng(0)
    arrays = {
        "X": rng.integers(256, size=(4, 3, 2, 5)).astype(np.uint8),
        "y": np.arange(5.0)[:, None],
        "z": rng.normal(size=(2, 3)),
        "other": np.array(["text"]),
        "short": np.array([[1]], np.int16),
    }
    savemat(tmp_path / "a.mat", arrays, do_compression=compressed)
    found = read_mat(tmp_path / "a.mat", ("X", "y", "z", "short", "missing"))
    assert found.keys() == {"X", "y", "z", "short"}
    for name, value in found.items():
        np.testing.assert_array_equal(value, arrays[name])
        assert value.dtype == arrays[name].dtype


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1j]]), "X is no array of real numbers"),
        (np.array([[np.zeros((2, 2))]], dtype=object), "X is no array of real numbers"),
        ({"a": 1.0}, "X is no array of real numbers"),
        (np.array(["text"]), "X is no array of real numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, compressed, value, message):
    savemat(tmp_path / "a.mat", {"X": value}, do_compression=compressed)
    assert message in refused(read_mat, tmp_path / "a.mat", ("X",))


@pytest.mark.usefixtures("small")
def test_matrices_that_unfold_to_zeros_or_are_cut_off_are_refused(tmp_path):
    for name in ("train", "test"):
        path = mat_file(
            tmp_path / f"{name}_32x32.mat",
            matrix((32, 32, 3, 1), data=bytes(BOMB)),
            compressed=True,
        )
    assert path.stat().st_size < BOMB // 100
    assert f"more than {MAX_RATIO} times" in refused(svhn, tmp_path)
    for compressed in (True, False):
        path = mat_file(
            tmp_path / "b.mat", matrix((2, 2), data=b"1234", size=10**6), compressed=compressed
        )
        assert "cut off" in refused(read_mat, path, ("X",))
    whole = mat_file(tmp_path / "c.mat", matrix((2, 2), data=b"1234"), compressed=True)
    assert read_mat(whole, ("X",))["X"].tolist() == [[49, 51], [50, 52]]
    whole.write_bytes(whole.read_bytes()[:-1] + b"?")  # its checksum
    refused(read_mat, whole, ("X",))


@pytest.mark.usefixtures("small")
def test_a_record_whose_shape_is_a_million_numbers_is_refused(tmp_path):
    long = example((1,) * 10**5, b"1")
    assert len(long) > 10**5
    path = write_records(tmp_path / "a.tfrecords", [long, field(1, b"")])
    assert "bytes of data for an image of shape (1, 1, 1, 1)" in refused(
        RecordFile.of(path).image, 0
    )
    assert "has no features shape and data" in refused(RecordFile.of(path).image, 1)
