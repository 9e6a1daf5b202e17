"""Errors of readers: one line that names the file, and errors of the system pass."""

import errno

import pytest

from score_sde.runtime.damage import (
    FileError,
    FormatError,
    WrongBytesError,
    errors_in,
    need,
    need_format,
    read_options,
    reading,
    root_cause,
)


def line_of(context, error):
    with pytest.raises(ValueError) as caught, context:
        raise error
    assert isinstance(caught.value, FileError)
    return str(caught.value)


@pytest.mark.parametrize("context", [reading, errors_in])
def test_a_reason_becomes_a_line_with_the_name_of_the_file(context):
    assert line_of(context("a.pth"), WrongBytesError("it is cut off")) == (
        "a.pth is damaged: it is cut off"
    )
    assert line_of(context("a.pth"), FormatError("it is pickled")) == (
        "a.pth cannot be read: it is pickled"
    )


@pytest.mark.parametrize("check", [need, need_format])
def test_a_check_raises_its_reason_only_where_its_condition_is_false(check):
    check([0], "the list is empty")
    with pytest.raises(FormatError, match=r"^the list is empty$"):
        check([], "the list is empty")


@pytest.mark.parametrize("error", [KeyError("x"), OSError("truncated"), RecursionError("x")])
def test_any_error_of_a_decoder_becomes_one_line(error):
    kind = type(error).__name__
    assert line_of(reading("a.png", "is no image"), error).startswith(
        f"a.png is no image ({kind}: "
    )


def test_the_line_has_the_first_line_of_a_long_message():
    assert line_of(reading("a"), ValueError("first\nsecond")) == (
        "a is damaged and cannot be read (ValueError: first)"
    )


@pytest.mark.parametrize("context", [reading, errors_in])
def test_a_line_that_names_its_file_is_not_changed_by_contexts_around_it(context):
    assert line_of(context("folder"), FileError("a.png is damaged")) == "a.png is damaged"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error"), PermissionError(errno.EACCES, "x"), MemoryError()],
)
@pytest.mark.parametrize("files", [None, ()])
def test_an_error_of_the_system_is_no_damage(error, files):
    with pytest.raises(type(error)) as caught, reading("a.png", files=files):
        raise error
    assert caught.value is error


def test_a_file_that_cannot_be_opened_is_no_damage_whatever_the_library_says(tmp_path):
    """ArrayRecord raises ``RuntimeError`` for a file that it may not open."""
    path = tmp_path / "a.array_record"
    with pytest.raises(FileNotFoundError), reading(path, files=[path]):
        raise RuntimeError("something is wrong")
    path.write_bytes(b"x")
    error = RuntimeError("something is wrong")
    assert line_of(reading(path, files=[path]), error).endswith(
        "(RuntimeError: something is wrong)"
    )


def test_a_bug_of_a_reader_is_no_damage():
    with pytest.raises(NameError), reading("a.png"):
        undefined  # noqa: B018


def test_other_errors_than_those_of_the_decoder_pass():
    with pytest.raises(KeyError), reading("a", errors=ZeroDivisionError):
        raise KeyError("x")
    assert line_of(reading("a", errors=KeyError), KeyError("x")).endswith("(KeyError: 'x')")


def test_errors_of_the_contents_get_the_name_of_the_file_once():
    assert line_of(errors_in("a.npz"), ValueError("no images")) == "a.npz: no images"
    assert line_of(errors_in("a.npz"), ValueError("a.npz: no images")) == "a.npz: no images"
    assert line_of(errors_in("a", TypeError), TypeError("x")) == "a is damaged (TypeError: x)"
    with pytest.raises(TypeError), errors_in("a"):
        raise TypeError("a bug")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("\xff", "it is no JSON"),
        ("[1]", "it holds no JSON object"),
    ],
    ids=["empty", "deep", "not UTF-8", "a list"],
)
def test_options_are_a_json_object(tmp_path, text, reason):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(FileError) as caught:
        read_options(path)
    assert str(caught.value) == f"{path} is damaged: {reason}"
    path.write_text('{"a": 1}')
    assert read_options(path) == {"a": 1}


def test_the_root_of_errors_is_the_first_of_them():
    first, second = KeyError("first"), ValueError("second")
    second.__cause__ = first
    assert root_cause(second) is first and root_cause(first) is first
