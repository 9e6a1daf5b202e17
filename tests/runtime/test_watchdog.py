"""A process without progress reports where it hangs, and ends."""

import subprocess
import sys
import threading
import time

import pytest

from score_sde.runtime.watchdog import Watchdog


class Barked:
    """Takes what a watchdog says and does."""

    def __init__(self):
        self.lines, self.ended = [], threading.Event()

    def watchdog(self, timeout, **options):
        return Watchdog(timeout, note=self.lines.append, end=self.ended.set, **options)


def test_the_report_names_the_activity_and_the_file_of_stack_traces(tmp_path):
    barked = Barked()
    with barked.watchdog(0.2, dump=tmp_path / "stacks.txt") as watchdog:
        watchdog.beat("waiting for the data of step 7")
        assert barked.ended.wait(20)
    [line] = barked.lines
    assert line.startswith(
        "no progress for 0 s while waiting for the data of step 7: the stacks of all threads are "
        "in "
    )
    assert (
        "test_the_report_names_the_activity_and_the_file_of_stack_traces"
        in (tmp_path / "stacks.txt").read_text()
    )


def test_nothing_happens_while_there_is_progress(tmp_path):
    barked = Barked()
    with barked.watchdog(1.0, dump=tmp_path / "stacks.txt") as watchdog:
        for step in range(30):
            watchdog.beat(f"step {step}")
            time.sleep(0.05)
    time.sleep(1.3)
    assert not barked.lines and not barked.ended.is_set() and not list(tmp_path.iterdir())


def test_zero_watches_nothing():
    before = threading.active_count()
    with Watchdog(0.0):
        assert threading.active_count() == before


def test_stacks_that_cannot_be_written_do_not_keep_it_from_ending(tmp_path):
    barked = Barked()
    with barked.watchdog(0.1, dump=tmp_path / "missing" / "stacks.txt"):
        assert barked.ended.wait(20)
    assert "nowhere, as they cannot be written" in barked.lines[0]


@pytest.mark.slow
def test_the_process_ends_with_the_exit_code_of_a_run_that_can_be_resumed():
    program = """
import time
from score_sde.runtime.watchdog import Watchdog
with Watchdog(0.5) as watchdog:
    watchdog.beat("sleeping")
    time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 75
    assert "no progress for" in done.stderr and 'File "<string>", line 6' in done.stderr
