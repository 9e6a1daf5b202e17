"""Bombs among data: a small file that would unfold to much more is refused in one line,
before there is room for it.
"""

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from score_sde.data import npy, npz
from score_sde.data.named.idx import mnist
from score_sde.data.named.imagenet import imagenet32
from score_sde.data.named.mat_file import read_mat
from score_sde.data.named.svhn import svhn
from score_sde.data.named.tfrecord import RecordFile
from score_sde.runtime import inflation
from score_sde.runtime.inflation import MAX_RATIO, allowed
from tests.data_sets import example, field, write_records

BOMB = 2**20 + 10**5
"""Zeros, which deflate to a thousandth."""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """What any file may unfold to is a megabyte, so that the bombs are small."""
    monkeypatch.setattr(inflation, "ALWAYS", 2**20)


def refused(read, *arguments, **options):
    """The line with which something is refused."""
    with pytest.raises(ValueError) as refusal:
        read(*arguments, **options)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


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


def test_what_data_sets_unfold_to_is_allowed():
    """MNIST unfolds 5 times, a set of drawn shapes (26 MB) 116 times; zeros a thousand times."""
    assert allowed(9_912_422) > 47 * 10**6
    assert allowed(26_700_000) > 3_020_000_000
    assert allowed(10) == 2**20
    assert allowed(9 * 10**6) == MAX_RATIO * 9 * 10**6 < 2e9


@pytest.mark.parametrize("shape", [(10, 28, 28), (BOMB // 784, 28, 28)])
def test_an_idx_file_that_unfolds_to_zeros_is_refused(tmp_path, shape):
    """Was: 9 MB that took 4.3 GB."""
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) + bytes(BOMB)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    for name in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte").write_bytes(b"")
    assert f"which is more than {MAX_RATIO} times as many" in refused(mnist, tmp_path)


@pytest.mark.parametrize("in_memory", [None, True])
def test_a_member_of_an_archive_that_unfolds_to_zeros_is_refused(tmp_path, in_memory):
    path = zipped(tmp_path / "a.npz", x=npy_bytes((BOMB // 16, 4, 4), "|u1", bytes(BOMB)))
    assert path.stat().st_size < BOMB // 100
    assert f"more than {MAX_RATIO} times" in refused(npz, path, in_memory=in_memory)


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


def test_a_record_whose_shape_is_a_million_numbers_is_refused(tmp_path):
    long = example((1,) * 10**5, b"1")
    assert len(long) > 10**5
    path = write_records(tmp_path / "a.tfrecords", [long, field(1, b"")])
    assert "bytes of data for an image of shape (1, 1, 1, 1)" in refused(
        RecordFile.of(path).image, 0
    )
    assert "has no features shape and data" in refused(RecordFile.of(path).image, 1)
