"""Readers of checkpoint files: damage is an error, and nothing in a file is run."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from damaged_files import num_refused

from score_sde.interop.flax_file import read_flax
from score_sde.interop.torch_file import read_torch

GOLDEN = Path(__file__).parents[1] / "golden"
READERS = {
    "ncsnpp_ve.pth": read_torch,
    "ncsn_ve.pth": read_torch,
    "flax_ddpmpp_vp.msgpack": read_flax,
}


def old_format(payload):
    """A file of the format before torch 1.6 with one float storage ``0``, and
    ``payload`` as its pickle.
    """
    header = [
        pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    ]
    keys = pickle.dumps(["0"], 2)
    return b"".join(
        [
            *header,
            payload,
            keys,
            (6).to_bytes(8, "little"),
            np.arange(6, dtype=np.float32).tobytes(),
        ]
    )


def tensor(*, offset=0, size=(2, 3), stride=(3, 1), count=6):
    """The pickle of a tensor, written opcode by opcode: torch itself is not needed."""
    text = lambda value: b"X" + len(value).to_bytes(4, "little") + value.encode()  # noqa: E731
    number = lambda value: b"J" + int(value).to_bytes(4, "little", signed=True)  # noqa: E731
    shape = lambda values: b"(" + b"".join(map(number, values)) + b"t"  # noqa: E731
    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + number(count)
        + b"NtQ"
    )
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + number(offset)
        + shape(size)
        + shape(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR."
    )


def test_the_old_format_is_read(tmp_path):
    path = tmp_path / "old.pth"
    path.write_bytes(old_format(tensor()))
    np.testing.assert_array_equal(read_torch(path), np.arange(6, dtype=np.float32).reshape(2, 3))
    path.write_bytes(old_format(tensor(offset=1, size=(2, 2), stride=(1, 3))))
    np.testing.assert_array_equal(read_torch(path), [[1, 4], [2, 5]])


@pytest.mark.parametrize(
    "view",
    [
        {"offset": 1},
        {"offset": -1},
        {"size": (3, 3)},
        {"stride": (4, 1)},
        {"stride": (-1, 1)},
        {"size": (100_000, 100_000), "stride": (0, 0)},
        {"count": 1_000_000},
        {"count": -1},
    ],
)
def test_a_tensor_outside_of_its_storage_is_an_error(view, tmp_path):
    path = tmp_path / "outside.pth"
    path.write_bytes(old_format(tensor(**view)))
    with pytest.raises(ValueError, match="damaged"):
        read_torch(path)


class Command:
    """What a malicious checkpoint holds."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def malicious(target):
    by_reduce = {
        protocol: pickle.dumps({"model": Command(target)}, protocol) for protocol in range(6)
    }
    named = f"touch {target}".encode()
    return {
        **{f"reduce_{protocol}": data for protocol, data in by_reduce.items()},
        "instance": b"(S'" + named + b"'\nios\nsystem\n.",
        "object": b"(cos\nsystem\nS'" + named + b"'\no.",
        "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
        + bytes([len(named)])
        + named
        + b"\x85R.",
        "builtin": b"cbuiltins\nexec\n(S'open("
        + repr(str(target)).replace("'", '"').encode()
        + b").write()'\ntR.",
        "extension": b"\x80\x02\x82\x01(tR.",
        "getattr": b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\nS'__class__'\ntR.",
    }


@pytest.mark.parametrize("how", sorted(malicious("x")))
@pytest.mark.parametrize("container", ["old", "zip"])
def test_a_checkpoint_that_would_run_a_command_is_an_error(how, container, tmp_path):
    target, path = tmp_path / "was_run", tmp_path / "malicious.pth"
    payload = malicious(target)[how]
    if container == "old":
        path.write_bytes(old_format(payload))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
    with pytest.raises(ValueError, match="asks to run") as refusal:
        read_torch(path)
    assert "\n" not in str(refusal.value)
    assert not target.exists()


def test_a_number_that_would_fill_the_memory_does_not(tmp_path):
    path = tmp_path / "memo.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02]r\xff\xff\xff\xff.")
    assert read_torch(path) == []


def test_a_compressed_archive_is_an_error(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(OrderedDict()) + bytes(1_000_000))
    with pytest.raises(ValueError, match="not compressed"):
        read_torch(path)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_are_errors_of_one_line(name, tmp_path):
    """The header is damaged most often."""
    path = tmp_path / name
    path.write_bytes(whole := (GOLDEN / name).read_bytes())
    reaches = (64, 4_000, len(whole))
    assert num_refused(path, lambda: READERS[name](path), count=70, reaches=reaches) > 20


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"PK\x03\x04", b"\x80", pickle.dumps([1, 2]), b"\x93\x01\x02\x03"]
)
def test_files_of_other_kinds_are_errors(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    for read in (read_torch, read_flax):
        with pytest.raises(ValueError, match="checkpoint"):
            read(path)


def test_a_zip_archive_of_something_else_is_an_error(tmp_path):
    path, buffer = tmp_path / "other.zip", io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hello")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="without a PyTorch checkpoint"):
        read_torch(path)


@pytest.mark.parametrize("read", [read_torch, read_flax])
def test_missing_files_and_folders_are_errors_of_the_system(read, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
