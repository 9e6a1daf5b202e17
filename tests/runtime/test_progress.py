"""The progress of long work, on terminals and in log files."""

import io
import re

import numpy as np

from score_sde.runtime.progress import ProgressBar


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines(total, seconds_per_step, **options):
    stream, clock = io.StringIO(), Clock()
    with ProgressBar("train", total, stream=stream, clock=clock, **options) as progress:
        for step in range(options.get("start", 0) + 1, total + 1):
            clock.now += seconds_per_step
            progress.update(step, loss=1 / step)
    return stream.getvalue().splitlines()


def test_a_quick_run_writes_a_line_at_each_tenth():
    found = lines(1000, 0.001)
    done = [int(re.match(r"train: (\d+)/1000 steps", line)[1]) for line in found]
    assert done == [1, *range(100, 1001, 100)]


def test_a_slow_run_writes_a_line_every_so_often():
    found = lines(1000, 0.5, interval=20.0)
    done = np.array([int(re.match(r"train: (\d+)/", line)[1]) for line in found])
    assert set(range(100, 1001, 100)) <= set(done)
    assert np.diff(done).max() == 40
    assert len(done) <= 1000 * 0.5 / 20 + 11


def test_speed_time_left_and_numbers():
    assert lines(100, 0.5)[1] == "train: 10/100 steps  2 steps/s  ETA 0:45  loss 0.1"
    assert lines(100, 0.5)[-1] == "train: 100/100 steps  2 steps/s  ETA 0:00  loss 0.01"


def test_the_first_step_does_not_count_for_the_speed():
    clock = Clock()
    progress = ProgressBar("train", 10, stream=io.StringIO(), clock=clock)
    clock.now = 30.0
    progress.update(1)
    assert np.isnan(progress.rate)
    clock.now = 31.0
    progress.update(5)
    assert progress.rate == 4.0


def test_a_resumed_run_counts_from_where_it_was():
    found = lines(100, 1.0, start=90)
    assert found[0].startswith("train: 91/100")
    assert "ETA 0:08" in lines(100, 1.0, start=90, interval=0.5)[1]


def test_large_numbers_are_written_out():
    assert "1235 steps/s" in lines(10_000, 1 / 1234.6)[-1]


def test_other_units_words_and_hours():
    stream, clock = io.StringIO(), Clock()
    with ProgressBar("likelihood", 9999, unit="images", stream=stream, clock=clock) as progress:
        progress.update(1, bits="unknown")
        clock.now = 11.0
        progress.update(2, bits=3.14159)
        progress.note("half way")
    first, second, note = stream.getvalue().splitlines()
    assert first == "likelihood: 1/9999 images  bits unknown"
    assert second == "likelihood: 2/9999 images  0.09091 images/s  ETA 30:32:47  bits 3.142"
    assert note == "half way"


def test_a_terminal_gets_a_live_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with ProgressBar("train", 10, stream=stream) as progress:
        for step in range(1, 11):
            progress.update(step, loss=0.25)
        progress.note("saved in [runs/x]")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "10/10" in shown and "loss 0.25" in shown and "steps/s" in shown and "ETA 0:00" in shown
    assert "saved in [runs/x]" in shown


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with ProgressBar("train", 10, stream=stream) as progress:
        progress.update(10)
    assert stream.getvalue() == "train: 10/10 steps\n"
