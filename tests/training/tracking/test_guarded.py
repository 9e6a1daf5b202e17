"""A failing or slow writer never stops a training."""

import errno
import json
import resource
import signal
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.training import (
    BackgroundWriter,
    GuardedWriter,
    JsonLinesWriter,
    MetricWriter,
    TensorBoardWriter,
    read_scalars,
)

FULL = OSError(errno.ENOSPC, "No space left on device")
CALLS = ("open", "rewind", "write_scalars", "write_images", "flush", "close")


class Frail(MetricWriter):
    """Records its calls, and raises in those that are to fail."""

    def __init__(self, failing=(), error=FULL):
        self.failing, self.error, self.done = set(failing), error, []

    def make(self):
        return self._do("open") or self

    def rewind(self, step):
        self._do("rewind", step)

    def write_scalars(self, step, scalars):
        self._do("write_scalars", step, dict(scalars))

    def write_images(self, step, images):
        self._do("write_images", step)

    def flush(self):
        self._do("flush")

    def close(self):
        self._do("close")

    def steps(self):
        return [
            step
            for name, step, *_ in (call for call in self.done if len(call) > 1)
            if name == "write_scalars"
        ]

    def _do(self, *call):
        if call[0] in self.failing:
            raise self.error
        self.done.append(call)


def guarded(frail, **options):
    told = []
    return GuardedWriter("frail", frail.make, tell=told.append, **options), told


def run_through(writer):
    writer.rewind(0)
    for step in (1, 2, 3):
        writer.write_scalars(step, {"loss": jnp.float32(step)})
    writer.write_images(3, {"picture": np.zeros((2, 2, 1))})
    writer.flush()
    writer.close()
    writer.close()


@pytest.mark.parametrize("failing", CALLS)
@pytest.mark.parametrize(
    "error", [FULL, ConnectionError("no route"), KeyError("x"), RuntimeError("a\nb")]
)
def test_an_error_of_any_call_is_reported_and_not_raised(failing, error):
    writer, told = guarded(Frail({failing}, error))
    run_through(writer)
    assert "frail: cannot write (" in told[0] and all("\n" not in line for line in told)
    assert sum("cannot write" in line for line in told) == 1


def test_the_report_of_a_full_disk():
    writer, told = guarded(Frail({"write_scalars"}))
    for step in range(1, 6):
        writer.write_scalars(step, {"loss": 0.0})
    assert told == [
        "frail: cannot write (No space left on device); training continues without it, "
        "trying again at every write"
    ]
    writer.close()
    assert told[1:] == ["frail: 5 writes are lost"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_interrupts_and_exits_are_raised(stop):
    writer, _ = guarded(Frail({"write_scalars"}, stop()))
    with pytest.raises(stop):
        writer.write_scalars(1, {})


def test_scalars_are_kept_and_written_in_order_once_the_writer_works():
    frail = Frail({"open"})
    writer, told = guarded(frail)
    writer.rewind(7)
    writer.write_scalars(8, {"loss": 1.0})
    frail.failing = {"rewind"}
    writer.write_scalars(9, {"loss": 2.0})
    frail.failing = {"write_scalars"}
    writer.write_scalars(10, {"loss": 3.0})
    frail.failing = set()
    writer.flush()
    assert frail.done == [
        ("open",),
        ("rewind", 7),
        *(("write_scalars", step, {"loss": float(step - 7)}) for step in (8, 9, 10)),
        ("flush",),
    ]
    assert told[1:] == ["frail: works again"]
    writer.close()
    assert len(told) == 2


def test_no_more_than_keep_calls_are_kept():
    frail = Frail({"open"})
    writer, told = guarded(frail, keep=3)
    for step in range(10):
        writer.write_scalars(step, {})
    frail.failing = set()
    writer.close()
    assert frail.steps() == [7, 8, 9] and told[-1] == "frail: 7 writes are lost"


def test_a_failed_writer_is_tried_again_after_retry_every():
    now = [0.0]
    frail = Frail({"write_scalars"})
    writer, told = guarded(frail, retry_every=60.0, clock=lambda: now[0])
    writer.write_scalars(1, {})
    assert told[0].endswith("trying again every 60 s")
    frail.failing = set()
    now[0] = 59.0
    writer.write_scalars(2, {})
    assert not frail.steps()
    now[0] = 60.0
    writer.write_scalars(3, {})
    assert frail.steps() == [1, 2, 3]


def test_a_writer_that_fails_now_and_then_is_reported_once_in_ten_minutes():
    now = [0.0]
    frail = Frail({"write_images"})
    writer, told = guarded(frail, clock=lambda: now[0])
    for step in range(40):
        now[0] += 60.0
        writer.write_scalars(step, {})
        writer.write_images(step, {})
    assert sum("cannot write" in line for line in told) == 4
    assert frail.steps() == list(range(40))


def test_closing_opens_no_writer():
    frail = Frail()
    guarded(frail)[0].close()
    assert not frail.done


def test_all_calls_run_in_one_thread_in_order():
    frail = Frail()
    writer = BackgroundWriter(guarded(frail)[0])
    run_through(writer)
    assert [call[0] for call in frail.done] == [
        *(
            "open",
            "rewind",
            "write_scalars",
            "write_scalars",
            "write_scalars",
            "write_images",
            "flush",
            "close",
        )
    ]


def test_a_network_that_does_not_answer_does_not_slow_down_a_training():
    answer = threading.Event()

    class Hanging(Frail):
        def write_scalars(self, step, scalars):
            answer.wait(60)
            super().write_scalars(step, scalars)

    hanging = Hanging()
    inner, told = guarded(hanging)
    writer = BackgroundWriter(inner, limit=5, patience=0.1)
    for step in range(20):
        writer.write_scalars(step, {"loss": np.float32(0.0)})
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "frail"]
    writer.close()
    assert told[0] == "frail: no answer, given up after 0.1 s"
    assert told[1].startswith("frail: too slow, ") and 14 <= int(told[1].split()[3]) <= 15
    answer.set()
    inner_calls = 20 - int(told[1].split()[3])
    for _ in range(1000):
        if len(hanging.steps()) == inner_calls:
            break
        thread.join(0.01)
    assert hanging.steps() == list(range(inner_calls))


def test_an_image_is_copied_when_it_is_given():
    seen, go = [], threading.Event()

    class Looking(Frail):
        def write_images(self, step, images):
            go.wait(60)
            seen.append(float(images["picture"][0, 0, 0]))

    writer = BackgroundWriter(guarded(Looking())[0])
    picture = np.zeros((2, 2, 1))
    writer.write_images(1, {"picture": picture})
    picture[:] = 1.0
    go.set()
    writer.close()
    assert seen == [0.0]


@pytest.fixture
def disk():
    """A function that makes every file end at a size, as if the disk were full there;
    ``None`` makes room again.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)


FILLED = 1 << 20
"""So large a file that what else the process writes meanwhile stays below the limit."""


def filled(path):
    """A file with a line of step 0, of that size."""
    empty = json.dumps({"step": 0, "": 0.0}) + "\n"
    path.write_text(json.dumps({"step": 0, "x" * (FILLED - len(empty)): 0.0}) + "\n")
    assert path.stat().st_size == FILLED


@pytest.mark.parametrize("room", [0, 1, 10, 25])
def test_a_full_disk_spoils_no_line_and_loses_none(tmp_path, disk, room):
    path = tmp_path / "metrics.jsonl"
    filled(path)
    told = []
    writer = GuardedWriter("metrics.jsonl", lambda: JsonLinesWriter(path), tell=told.append)
    disk(FILLED + room)
    writer.write_scalars(1, {"loss": 1.0})  # a line of 25 characters
    writer.write_scalars(2, {"loss": 2.0})
    assert path.stat().st_size == FILLED + (25 if room == 25 else 0)
    disk(None)
    writer.write_scalars(3, {"loss": 3.0})
    writer.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]
    assert "File too large" in told[0] and told[1:] == ["metrics.jsonl: works again"]


def test_a_rewind_that_failed_on_a_full_disk_is_repeated(tmp_path, disk):
    path = tmp_path / "metrics.jsonl"
    filled(path)
    with path.open("a") as file:
        file.write('{"step": 5, "loss": 5.0}\n')
    before = path.read_bytes()
    told = []
    writer = GuardedWriter("metrics.jsonl", lambda: JsonLinesWriter(path), tell=told.append)
    disk(FILLED - 1)
    writer.rewind(3)
    writer.write_scalars(4, {"loss": 4.0})
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [
        "metrics.jsonl"
    ]
    disk(None)
    writer.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 4]
    assert len(told) == 2


def test_a_torn_line_that_cannot_be_removed_stays_on_its_own_line(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    writer = JsonLinesWriter(path)
    writer.write_scalars(3, {"loss": 3.0})
    writer.write_scalars(4, {"loss": 4.0})
    writer.close()
    assert list(read_scalars(path)["loss"][0]) == [1, 3, 4]


def test_tensorboard_continues_in_another_file_once_there_is_room(tmp_path, disk):
    told = []
    writer = GuardedWriter("tensorboard", lambda: TensorBoardWriter(tmp_path), tell=told.append)
    writer.rewind(0)
    picture = np.random.default_rng(0).integers(0, 256, (800, 800, 3)).astype(np.uint8)
    disk(FILLED)
    writer.write_images(1, {"samples": picture})
    for step in range(1, 40):  # more than the queue of tensorboardX's own thread takes
        writer.write_scalars(step, {"loss": 0.0})
    disk(None)
    writer.close()
    assert len(told) == 3 and "tensorboard: cannot write (File too large)" in told[0]
    assert told[1:] == ["tensorboard: works again", "tensorboard: 1 write is lost"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_made_does_not_stop_a_training(tmp_path):
    (tmp_path / "file").write_text("")
    told = []
    writer = GuardedWriter(
        "tensorboard", lambda: TensorBoardWriter(tmp_path / "file" / "tb"), tell=told.append
    )
    run_through(writer)
    assert told[0].startswith("tensorboard: cannot write (Not a directory)")


def test_tensorboard_leaves_no_empty_files_on_a_full_disk(tmp_path, disk):
    told = []
    writer = GuardedWriter(
        "tensorboard", lambda: TensorBoardWriter(tmp_path / "tb"), tell=told.append
    )
    disk(0)
    for step in range(5):
        writer.write_scalars(step, {"loss": 0.0})
    found = list((tmp_path / "tb").iterdir())
    disk(None)
    writer.close()
    assert not found and told[1:] == ["tensorboard: works again"]
