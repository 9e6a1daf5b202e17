"""One run at a time writes in a folder, and the next once the first has ended in any way."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from score_sde.runtime.lock import HeldError, NoLocksError, held

HOLD = """
import sys, time
from pathlib import Path
from score_sde.runtime.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_error_of_a_second_writer_names_the_first(tmp_path):
    with held(tmp_path), pytest.raises(HeldError) as caught, held(tmp_path):
        pass
    assert str(caught.value).startswith(f"{tmp_path} is being written by process {os.getpid()} on ")
    assert "\n" not in str(caught.value)


def test_the_lock_is_released_after_the_block_and_after_an_error(tmp_path):
    with pytest.raises(KeyError), held(tmp_path):
        raise KeyError
    with held(tmp_path):
        pass


def test_a_lock_without_a_named_holder_is_held_all_the_same(tmp_path):
    with held(tmp_path):
        (tmp_path / "run.lock.json").write_text("{")
        with (
            pytest.raises(HeldError, match="is being written by another process: "),
            held(tmp_path),
        ):
            pass


def test_the_lock_of_a_killed_process_is_released(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(HeldError, match=f"process {process.pid} on "), held(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    with held(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_a_remedy(tmp_path, monkeypatch, code):
    def flock(file, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(NoLocksError) as caught, held(tmp_path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'run.lock'} cannot be locked") and "\n" not in message
    assert "another disk" in message and "--lock=False" in message
