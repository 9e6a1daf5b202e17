"""Standard output and error that cannot be written fall silent."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from score_sde.runtime.progress import ProgressBar
from score_sde.runtime.streams import LastingStream, lasting, lasting_output, tell


def full_disk():
    return Path("/dev/full").open("w")


def closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def closed_file():
    with Path(os.devnull).open("w") as file:
        return file


def abandon(stream):
    """Close a stream, whose buffer may not be writable."""
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()


BROKEN = [full_disk, closed_pipe, closed_file, lambda: None]


@pytest.fixture(params=BROKEN, ids=["full disk", "closed pipe", "closed file", "no stream"])
def broken(request):
    stream = request.param()
    yield stream
    abandon(stream)


def test_a_broken_stream_falls_silent(broken):
    stream = LastingStream(broken)
    for _ in range(3):
        assert stream.write("lost\n") == 5
        stream.flush()
    assert not stream.isatty()
    assert (stream.broken is None) == (broken is None)


def test_progress_and_lines_on_a_broken_stream(broken, monkeypatch):
    monkeypatch.setattr(sys, "stderr", broken)
    with ProgressBar("train", 10) as bar:
        for step in range(10):
            bar.update(step + 1)
        bar.note("a note")
    tell("a line")
    assert bar.done == 10


def test_a_terminal_that_is_gone(monkeypatch):
    """As after a lost connection: it is still a terminal, and every write fails."""

    class Gone(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setenv("TERM", "xterm-256color")
    with ProgressBar("train", 3, stream=Gone()) as bar:
        bar.update(1)
        bar.note("a note")
    assert bar.done == 1


def test_a_stream_that_works_is_passed_on(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with lasting_output():
        assert lasting(sys.stderr) is sys.stderr
        tell("one")
        sys.stderr.write("two\n")
    assert stream.getvalue() == "one\ntwo\n" and sys.stderr is stream


def test_a_character_that_the_stream_does_not_have_is_an_error_as_before():
    with pytest.raises(UnicodeEncodeError):
        LastingStream(io.TextIOWrapper(io.BytesIO(), "ascii")).write("½")


MAIN = "import sys; from score_sde.cli import main; sys.exit(main())"


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "2>&-", "2>/dev/full", ">&- 2>&-"])
def test_help_without_output(redirection):
    """The real streams of a process; on the full disk for its result a line says so."""
    words = [sys.executable, "-c", MAIN, "train", "--help"]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *words], capture_output=True, text=True
    )
    assert done.returncode == 0
    lost = "standard output cannot be written: No space left on device\n"
    assert done.stderr == (lost if redirection == ">/dev/full" else "")


def test_help_for_a_reader_that_stops():
    command = f'"{sys.executable}" -c "{MAIN}" --help | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


DESCRIPTORS = """
import os, sys
from score_sde.runtime.streams import lasting_output
with lasting_output():
    number = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    print("to standard error", file=sys.stderr, flush=True)
    os.write(2, b"from a library")
    os.write(number, b"mine")
"""


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path):
    """Else what libraries print would be written into checkpoints."""
    command = f'"{sys.executable}" -c \'{DESCRIPTORS}\' "$1" 2>&-'
    done = subprocess.run(
        ["bash", "-c", command, "bash", str(tmp_path / "file")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert (tmp_path / "file").read_bytes() == b"mine"
