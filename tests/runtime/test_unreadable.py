"""Errors that prevent reading are distinguished from wrong bytes."""

import errno
import json
import os
from pathlib import Path

import jax
import pytest

from score_sde.runtime.unreadable import (
    UnreadableError,
    check_readable,
    hindrance,
    reason_of,
    set_aside,
    telling_damage,
)

TENSORSTORE = (
    '{}: Error opening "zarr" driver: Error reading local file "/run/d/22f9": {} '
    "[tensorstore_spec='{{\"a\":1}}']"
)


class DamageError(Exception):
    """What is raised of damage."""


def raised(error, cause):
    """An error with its traceback and its cause, as a reader raises it."""
    try:
        raise error from cause
    except Exception as found:
        return found


def cannot_decode():
    raise ValueError("cannot decode")


def os_error(number):
    return OSError(number, os.strerror(number), "/run/d/22f9")


WRAPPED = (
    "Encountered error while reading array index: (slice(0, 2, 1),). See full TensorStore "
    "details: <bound method x>."
)

KEPT_FROM = {
    "EACCES": (os_error(errno.EACCES), "Permission denied: /run/d/22f9"),
    "ESTALE": (os_error(errno.ESTALE), "Stale file handle: /run/d/22f9"),
    "EIO": (os_error(errno.EIO), "Input/output error: /run/d/22f9"),
    "EMFILE": (os_error(errno.EMFILE), "Too many open files: /run/d/22f9"),
    "ENFILE": (os_error(errno.ENFILE), "Too many open files in system: /run/d/22f9"),
    "ENOMEM": (os_error(errno.ENOMEM), "Cannot allocate memory: /run/d/22f9"),
    "timeout": (TimeoutError("no answer"), "no answer"),
    "memory": (MemoryError(), "not enough memory: a smaller batch, model or data set takes less"),
    "jax": (jax.errors.JaxRuntimeError("INTERNAL: the device is gone"), "the device is gone"),
    "import": (ImportError("libz.so"), "libz.so"),
    "threads": (RuntimeError("can't start new thread"), "can't start new thread"),
    "tensorstore permission": (
        ValueError(TENSORSTORE.format("PERMISSION_DENIED", "Permission denied")),
        "Permission denied: /run/d/22f9",
    ),
    "tensorstore resources": (ValueError("RESOURCE_EXHAUSTED: too many files"), "too many files"),
    "tensorstore unavailable": (ValueError("UNAVAILABLE: no answer"), "no answer"),
    "tensorstore number": (
        ValueError(
            "DATA_LOSS: Error reading local file \"/run/d\": Remote I/O error [os_error_code='121']"
        ),
        "Remote I/O error: /run/d",
    ),
    "wrapped": (
        raised(Exception(WRAPPED), ValueError("ABORTED: Stale file handle")),
        "Stale file handle",
    ),
    "grouped": (
        ExceptionGroup("some", [KeyError("a"), os_error(errno.EIO)]),
        "Input/output error: /run/d/22f9",
    ),
}

WRONG = {
    "checksum": (
        ValueError(
            "DATA_LOSS: Error decoding manifest: CRC-32C checksum verification failed: expected=1, "
            "actual=2"
        ),
        "CRC-32C checksum verification failed: expected=1, actual=2",
    ),
    "no file": (os_error(errno.ENOENT), "No such file or directory: /run/d/22f9"),
    "no file of tensorstore": (
        ValueError("NOT_FOUND: nothing there [os_error_code='2']"),
        "nothing there",
    ),
    "key": (KeyError("shape"), "it lacks 'shape'"),
    "json": (json.JSONDecodeError("Expecting value", "{", 1), "it is no JSON"),
    "wrapped": (raised(Exception(WRAPPED), ValueError("DATA_LOSS: bad block")), "bad block"),
    "wrapped alone": (
        Exception(WRAPPED),
        "Encountered error while reading array index: (slice(0, 2, 1),)",
    ),
    "other": (ValueError("cannot reshape array"), "cannot reshape array"),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "checkpoint" / "array"
    path.parent.mkdir()
    path.write_bytes(b"bytes")
    return path


@pytest.mark.parametrize("name", KEPT_FROM)
def test_an_error_that_prevents_reading_is_not_damage(name, file):
    error, reason = KEPT_FROM[name]
    with (
        pytest.raises(UnreadableError) as found,
        telling_damage("the checkpoint", file.parent, DamageError),
    ):
        raise error
    told = "nothing is moved or removed, run again once it can be read"
    assert str(found.value) == f"cannot read the checkpoint {file.parent}: {reason}; {told}"
    assert found.value.__cause__ is error


@pytest.mark.parametrize("name", WRONG)
def test_wrong_bytes_are_damage_and_their_reason_has_no_internals(name, file):
    error, reason = WRONG[name]
    with (
        pytest.raises(DamageError) as found,
        telling_damage("the checkpoint", file.parent, DamageError),
    ):
        raise error
    assert str(found.value) == reason and "<" not in reason


def test_no_error_is_damage_where_the_bytes_cannot_be_read_afterwards(file):
    (file.parent / "deeper").mkdir()
    (file.parent / "deeper" / "loop").symlink_to("loop")
    message = r"symbolic links: .*/deeper/loop; nothing is moved"
    with (
        pytest.raises(UnreadableError, match=message),
        telling_damage("the checkpoint", file.parent, DamageError),
    ):
        cannot_decode()


def test_a_file_removed_while_it_was_read_is_not_damage(file):
    message = "it has been removed"
    with (
        pytest.raises(UnreadableError, match=message),
        telling_damage("the checkpoint", file.parent, DamageError),
    ):
        file.unlink()
        file.parent.rmdir()
        cannot_decode()


def test_an_error_that_the_caller_was_handling_does_not_count(file):
    try:
        raise os_error(errno.EIO)
    except OSError:
        with pytest.raises(DamageError), telling_damage("the checkpoint", file.parent, DamageError):
            cannot_decode()


def test_an_interrupt_passes(file):
    with (
        pytest.raises(KeyboardInterrupt),
        telling_damage("the checkpoint", file.parent, DamageError),
    ):
        raise KeyboardInterrupt


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that answers EIO is needed")
def test_a_file_that_can_be_opened_but_not_read_is_not_damage(file):
    (file.parent / "memory").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match=f"Input/output error: '{file.parent}/memory'"):
        check_readable(file.parent)


def test_a_pipe_is_not_waited_for(file):
    os.mkfifo(file.parent / "pipe")
    check_readable(file.parent)
    check_readable(file)


def test_a_file_that_is_set_aside_replaces_no_other(file):
    names = []
    for text in ("one", "two", "three"):
        file.write_text(text)
        names.append(set_aside(file).name)
    assert names == ["array.damaged", "array.damaged-1", "array.damaged-2"] and not file.exists()
    assert [(file.parent / name).read_text() for name in names] == ["one", "two", "three"]


def test_no_hindrance_and_the_reason_of_an_error_without_words():
    assert hindrance(ValueError("cannot decode")) is None
    assert reason_of(AssertionError()) == "AssertionError"
