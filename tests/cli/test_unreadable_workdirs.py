"""Files that cannot be read and platforms that cannot be started: one line, an exit
code, and nothing is touched.
"""

import errno
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny
from launched import ROOT
from usage_errors import INTERNALS

from score_sde.cli import local_processes, main
from score_sde.cli.flags import UsageError, usage_errors
from score_sde.cli.main import COMMANDS
from score_sde.evaluation import report, shards
from score_sde.evaluation.shards import Shards
from score_sde.evaluation.shared_work import remaining
from score_sde.experiments.loading import load
from score_sde.runtime.resources import NoDeviceError
from score_sde.runtime.unreadable import UnreadableError
from score_sde.training.checkpoints.files import quiet_orbax

# Arrays are read in many threads: where one read fails, the others answer to a loop
# that is gone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

main_module = sys.modules["score_sde.cli.main"]  # the package has a function of this name

STALE = OSError(errno.ESTALE, "Stale file handle", "/a/file")


@pytest.fixture
def workdir(tmp_path):
    return tiny.copy_of(tiny.toy_run(), tmp_path)


def listing(folder):
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


def unreadable(capsys, *argv):
    """The one line of a command that ends with 74."""
    capsys.readouterr()
    assert main(argv) == 74
    text, errors = capsys.readouterr()
    line = errors.splitlines()[-1]
    assert not text and line.startswith(f"score-sde {argv[0]}: cannot read "), errors
    assert not any(word in errors for word in INTERNALS), errors
    return line


def fail(*args, **kwargs):
    raise STALE


def train(workdir):
    return "train", f"--config={tiny.config_file(tiny.TOY, workdir.parent)}", f"--workdir={workdir}"


def test_a_run_whose_checkpoint_cannot_be_read_touches_nothing_and_resumes_later(
    workdir, capsys, monkeypatch
):
    longer, before = (
        (*train(workdir), "--config.training.num_steps=31"),
        listing(workdir / "checkpoints"),
    )
    with monkeypatch.context() as patch, tiny.quick_compilation():
        patch.setattr(ocp.PyTreeCheckpointHandler, "restore", fail)
        for _ in range(2):  # whoever tries again finds all as it was
            line = unreadable(capsys, *longer)
            assert (
                f"the checkpoint {workdir}/checkpoints/30: Stale file handle: /a/file; nothing is "
                "moved" in line
            )
    assert listing(workdir / "checkpoints") == before
    assert "found a checkpoint of step 30, resuming until step 31" in tiny.run(*longer)


def test_a_config_that_cannot_be_read_is_not_that_of_an_older_checkpoint(workdir, capsys):
    path = workdir / "checkpoints" / "30" / "config" / "metadata"
    path.unlink()
    path.symlink_to("metadata")  # a link to itself, which nobody can read
    before = listing(workdir)
    for argv in (train(workdir), ("sample", f"--workdir={workdir}")):
        assert "checkpoints/30: Too many levels of symbolic links: " in unreadable(capsys, *argv)
    assert listing(workdir) == before


def test_a_run_whose_checkpoints_are_all_damaged_is_a_usage_error_every_time(workdir, usage_error):
    for seal in workdir.glob("checkpoints/*/seal/metadata"):
        seal.unlink()
    before = listing(workdir)
    for _ in range(2):
        line = usage_error(*train(workdir))
        assert (
            f"no sound checkpoint in {workdir}/checkpoints: all are damaged (30: its manifest is "
            "missing); to start" in line
        )
    assert listing(workdir) == before


def test_a_run_does_not_begin_anew_beside_its_damaged_checkpoints(workdir, usage_error):
    checkpoints = workdir / "checkpoints"
    (checkpoints / "damaged").mkdir()
    for step in ("20", "30"):
        (checkpoints / step).rename(checkpoints / "damaged" / step)
    before = listing(workdir)
    assert (
        f"no checkpoint in {checkpoints} but damaged ones in {checkpoints}/damaged: to start from "
        in usage_error(*train(workdir))
    )
    assert listing(workdir) == before


RUNNERS = {"sample": "samples", "likelihood": "likelihoods"}


@pytest.fixture
def parts(tmp_path):
    """Two finished shards of 8 and 4 rows."""
    found = Shards(tmp_path, "0123456789abcdef")
    for start, stop in ((0, 8), (8, 12)):
        found.write(start, {"samples": np.arange(start, stop)})
    return found


@pytest.mark.parametrize("command", RUNNERS)
def test_finished_parts_that_cannot_be_read_stay(command, parts, workdir, capsys, monkeypatch):
    path, before = parts.folder / "00000000-00000008.npz", listing(parts.folder)
    with monkeypatch.context() as patch, tiny.quick_compilation():
        patch.setattr(f"score_sde.evaluation.{RUNNERS[command]}.shards_of", lambda *args: parts)
        patch.setattr(shards.np, "load", fail)
        line = unreadable(capsys, command, f"--workdir={workdir}")
    assert f"the shard {path}: Stale file handle: /a/file; nothing is moved" in line
    assert listing(parts.folder) == before
    left = remaining(parts, 12)
    assert not left.missing and not left.damaged


@pytest.mark.parametrize("command", RUNNERS)
@pytest.mark.parametrize(("number", "code"), [(errno.EACCES, 2), (errno.EIO, 74)])
def test_damaged_parts_that_cannot_be_renamed_stay(
    command, number, code, parts, workdir, capsys, monkeypatch
):
    """As where the folder is another user's, or the disk fails: nothing is computed."""
    path = parts.folder / "00000008-00000012.npz"
    path.write_bytes(b"")

    def fail_to_rename(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(shards, "set_aside", fail_to_rename)
    monkeypatch.setattr(f"score_sde.evaluation.{RUNNERS[command]}.shards_of", lambda *args: parts)
    with tiny.quick_compilation():
        assert main([command, f"--workdir={workdir}"]) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"score-sde {command}: {os.strerror(number)}: {path}"
    assert path.exists() and len(list(parts.folder.iterdir())) == 2


WITH_DEVICES = [command for command in COMMANDS if command != "launch"]

PLATFORM = """
import gc, sys
from score_sde.cli import main
from score_sde.cli.main import COMMANDS
for command in COMMANDS:
    config = ["--config=toy/moons"] if command in ("train", "train-dequantizer") else []
    if command != "launch":
        argv = [command, "--workdir=" + sys.argv[1], *config, "--wrong_flag=1"]
        print(command, main(argv), flush=True)
try:
    main(["sample", "--help"])
except SystemExit as end:
    print("help", end.code)
assert gc.isenabled() and gc.get_freeze_count(), "JAX was imported by the commands"
"""


def test_every_command_names_a_platform_that_is_not_there(workdir):
    """Before anything is read or written, and before a wrong flag: help needs no device."""
    before = listing(workdir)
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": ROOT, "JAX_PLATFORMS": "nosuch"}
    command = [sys.executable, "-c", PLATFORM, str(workdir)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    codes = [
        line for line in done.stdout.splitlines() if line.split(" ")[0] in (*WITH_DEVICES, "help")
    ]
    assert codes == [*(f"{command} 2" for command in WITH_DEVICES), "help 0"]
    lines = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"score-sde {command}" for command in WITH_DEVICES
    ], done.stderr
    assert all(
        ": no nosuch device: Backend 'nosuch' is not in the list of known backends" in line
        for line in lines
    )
    assert listing(workdir) == before


def test_a_library_call_says_so_too(monkeypatch):
    def no_device():
        raise AssertionError

    monkeypatch.setattr(jax, "local_devices", no_device)
    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "metadata", lambda *args: no_device())
    with pytest.raises(NoDeviceError, match=r"^no \w+ device: "):
        load(tiny.toy_run())


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ESTALE, UnreadableError), (errno.EIO, UnreadableError), (errno.EACCES, UsageError)],
)
def test_a_disk_that_does_not_answer_is_no_wrong_input(number, kind):
    with pytest.raises(kind, match=f"^{os.strerror(number)}: a$"), usage_errors():
        raise OSError(number, os.strerror(number), "a")


def test_a_damaged_report_is_kept(tmp_path):
    for _ in range(2):
        (tmp_path / "report.json").write_text("{torn", encoding="utf-8")
        report.record(tmp_path, {"a": "1"})
        assert report.read(tmp_path) == {"a": "1"}
    report.record(tmp_path, {"b": "2"})
    assert report.read(tmp_path) == {"a": "1", "b": "2"}
    names = ["report.json", "report.json.damaged", "report.json.damaged-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def orbax_fails():
    """An error of orbax, by the file that it comes from."""
    exec(compile("raise ValueError('read')", "/lib/orbax/checkpoint/io.py", "exec"))


@pytest.mark.parametrize(("source", "shown"), [(orbax_fails, False), (lambda: 1 / 0, True)])
def test_reads_of_orbax_that_nobody_waits_for_say_nothing(source, shown, monkeypatch):
    """Where a file cannot be read, many reads fail at once, and one line is enough."""
    told = []
    monkeypatch.setattr(main_module, "_report_unraisable", told.append)
    with pytest.raises((ValueError, ZeroDivisionError)) as error:
        source()
    unraisable = SimpleNamespace(exc_value=error.value, exc_traceback=error.tb)
    main_module._without_late_reads(unraisable)
    assert told == ([unraisable] if shown else [])


def test_its_tasks_say_nothing_to_the_log(caplog):
    quiet_orbax()
    logger = logging.getLogger("asyncio")
    logger.error(
        "Task exception was never retrieved\nfuture: <Task coro=<f() done, defined at "
        "/lib/orbax/io.py:3>>"
    )
    logger.error(
        "Task exception was never retrieved\nfuture: <Task coro=<f() done, defined at "
        "/usr/lib/io.py:3>>"
    )
    (record,) = caplog.records
    assert "/usr/lib/io.py" in record.getMessage()


def test_launch_gives_the_code_and_tries_again_as_often_as_it_may(tmp_path, capsys):
    program = f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); raise SystemExit(74)"
    launch = local_processes.Launch((sys.executable, "-c", program), 1, restarts=1, grace=1.0)
    assert local_processes.run(launch) == 74
    assert (
        tmp_path / "runs"
    ).read_text() == "xx" and "ended with code 74" in capsys.readouterr().err
