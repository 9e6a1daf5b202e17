"""Several processes on this machine: small scripts in place of the commands."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny

import score_sde
from score_sde.cli.local_processes import Launch, _device_environments, run
from score_sde.cli.main import main

ROOT = str(Path(score_sde.__file__).parents[1])

INDEX = "import os, sys, time, signal\nindex = int(os.environ.get('JAX_PROCESS_ID', -1))\n"


def launch(script, processes=2, **options):
    return run(Launch((sys.executable, "-c", INDEX + script), processes, **options))


def test_each_process_is_told_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
    assert (
        launch(
            f"open(str(index), 'w').write(' '.join(os.environ[n] for n in {names}))", processes=3
        )
        == 0
    )
    told = [path.read_text().split() for path in sorted(tmp_path.iterdir())]
    assert [line[1:] for line in told] == [["3", str(i)] for i in range(3)]
    assert len({line[0] for line in told}) == 1 and told[0][0].startswith("127.0.0.1:")


def test_a_platform_may_lack_signals_and_groups_of_processes():
    """As Windows does."""
    code = (
        "import os, signal, sys; del signal.SIGUSR1, os.killpg\n"
        "from score_sde.cli.local_processes import Launch, run\n"
        "script = 'import sys, time; time.sleep(60 * (len(sys.argv) - 1))'\n"
        'failing = \'import os, sys, time; sys.exit(3) if os.environ["JAX_PROCESS_ID"] == "1" \''
        "'else (__import__(\"signal\").signal(15, 1), time.sleep(60))'\n"
        "sys.exit(10 * run(Launch((sys.executable, '-c', script), 2))"
        " + run(Launch((sys.executable, '-c', failing), 2, grace=0.5)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr


def test_too_few_open_files_are_one_line(tmp_path):
    command = f"ulimit -n 22; {sys.executable} -m score_sde train --config=toy/mixture "
    command += f"--workdir={tmp_path / 'run'}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "may have only 22 files open here" in done.stderr


def test_one_process_is_told_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_PROCESS_ID", raising=False)
    assert launch("sys.exit(index + 1)", processes=1) == 0


def test_the_output_of_the_first_is_as_it_is_and_of_the_others_by_line(capfd):
    script = "print('err', file=sys.stderr); sys.stdout.write('out\\nno end')"
    assert launch(script, processes=2) == 0
    out, err = capfd.readouterr()
    assert "[1] out\n" in out and "[1] no end\n" in out
    assert out.replace("[1] out\n", "").replace("[1] no end\n", "") == "out\nno end"
    assert sorted(err.splitlines()) == ["[1] err", "err"]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((0, 0), 0),
        ((75, 75), 75),
        ((0, 75), 75),
        ((75, 0), 75),
        ((1, 0), 1),
        ((0, 3), 3),
        ((75, 2), 2),
    ],
)
def test_the_exit_code(codes, expected):
    assert launch(f"sys.exit({codes}[index])") == expected


def test_when_one_fails_the_others_are_stopped(capfd):
    start = time.monotonic()
    assert launch("time.sleep(60 * (1 - index)); sys.exit(7)", grace=20.0) == 7
    assert time.monotonic() - start < 15
    assert "process 1 ended with code 7; stopping the others" in capfd.readouterr().err


def test_one_that_does_not_stop_is_killed_with_what_it_has_started(tmp_path):
    script = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if index == 1:
    while not os.path.exists({str(tmp_path / "ready")!r}):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
os.rename({str(tmp_path / "pid")!r}, {str(tmp_path / "ready")!r})
time.sleep(60)
"""
    assert launch(script, grace=0.3) == 128 + signal.SIGKILL
    child = Path(f"/proc/{(tmp_path / 'ready').read_text()}/stat")
    for _ in range(100):
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the grandchild is still there")


COUNTS = """
import pathlib
times = len(list(pathlib.Path({folder!r}).glob(f"{{index}}-*")))
open(f"{folder}/{{index}}-{{times}}", "w")
sys.exit({codes}[times])
"""


@pytest.mark.parametrize(
    ("codes", "restarts", "expected", "starts"),
    [
        ((1, 75, 0), 5, 0, 3),
        ((1, 1, 1), 2, 1, 3),
        ((75, 0), 0, 75, 1),
        ((2, 0), 5, 2, 1),
        ((0, 1), 5, 0, 1),
    ],
)
def test_it_starts_again_so_often(tmp_path, codes, restarts, expected, starts):
    script = COUNTS.format(folder=str(tmp_path), codes=codes)
    assert launch(script, processes=1, restarts=restarts) == expected
    assert len(list(tmp_path.iterdir())) == starts


@contextmanager
def sent(name, folder):
    """Send a signal to this process once two files are in the folder."""

    def send():
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), getattr(signal, name))

    sender = threading.Thread(target=send)
    sender.start()
    yield
    sender.join()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_goes_to_every_process_once_and_nothing_starts_again(tmp_path, name):
    script = f"""
came = []
signal.signal(signal.{name}, lambda signum, frame: came.append(signum))
open(f"{tmp_path}/{{index}}", "w")
while not came:
    time.sleep(0.01)
time.sleep(0.3)
open(f"{tmp_path}/{{index}}-{{len(came)}}", "w")
sys.exit(75)
"""

    before = signal.getsignal(getattr(signal, name))
    with sent(name, tmp_path):
        assert launch(script, restarts=3) == 75
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "0-1", "1", "1-1"]
    assert signal.getsignal(getattr(signal, name)) == before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_processes_that_die_of_a_signal_that_was_passed_on_are_to_be_continued(
    tmp_path, capfd, name
):
    """They had not begun: a command watches for signals once its processes have met."""
    with sent(name, tmp_path):
        assert launch(f'open(f"{tmp_path}/{{index}}", "w"); time.sleep(60)', restarts=3) == 75
    assert not capfd.readouterr().err


@pytest.mark.parametrize(
    ("environment", "processes", "devices", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 2, None, ["0,1", "2,3"]),
        ({"CUDA_VISIBLE_DEVICES": "4,6,7"}, 3, 1, ["4", "6", "7"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,GPU-c"}, 2, None, ["GPU-a", "GPU-b"]),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 1, 1, ["0"]),
    ],
)
def test_gpus_are_shared_out(environment, processes, devices, expected):
    found = _device_environments(Launch(("x",), processes, devices), environment)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == expected


def test_cpus_are_not_unless_fake_devices_are_asked_for():
    for environment in (
        {"CUDA_VISIBLE_DEVICES": ""},
        {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "0"},
    ):
        assert _device_environments(Launch(("x",), 2), environment) == [{}, {}]
        found = _device_environments(Launch(("x",), 2, 4), environment)
        assert found == [{"JAX_NUM_CPU_DEVICES": "4"}] * 2


@pytest.mark.parametrize(("processes", "devices"), [(3, 1), (2, 2), (3, None)])
def test_more_gpus_than_there_are(processes, devices):
    with pytest.raises(
        ValueError, match=rf"^{processes} processes with \d GPUs each are more than the 2 "
    ):
        _device_environments(Launch(("x",), processes, devices), {"CUDA_VISIBLE_DEVICES": "0,1"})


@pytest.mark.slow
def test_the_processes_of_a_command_find_each_other(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    words = [
        "launch",
        "local",
        "-n",
        "2",
        "--devices_per_process=2",
        "--",
        "sample",
        f"--workdir={workdir}",
    ]
    environment = {**os.environ, "PYTHONPATH": ROOT, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "score_sde", *words, "--batch=4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sample, process 0 of 2: " in done.stderr and f"samples of {workdir}" in done.stdout


@pytest.mark.parametrize("short", [["-n3"], ["-n=3"], ["-n", "3"], ["--processes=3"]])
def test_how_many(short, monkeypatch):
    started = []
    monkeypatch.setattr("score_sde.cli.launch.run", lambda launch: started.append(launch) or 0)
    assert main(["launch", "local", *short, "--restarts=1", "--", "sample", "--workdir=-n2"]) == 0
    assert started == [
        Launch(
            (sys.executable, "-P", "-m", "score_sde", "sample", "--workdir=-n2"), 3, None, 1, 30.0
        )
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "use score-sde launch local … or score-sde launch slurm …"),
        (["locl", "--", "train"], "score-sde launch slurm …, not 'locl', did you mean 'local'?"),
        (["local"], "no command after --: for example -- train --config=… --workdir=…"),
        (["local", "train", "--workdir=x"], "unknown flag --workdir; --help lists the flags"),
        (
            ["local", "--", "trian"],
            "'trian' cannot share its work among processes, did you mean 'train'?",
        ),
        (
            ["local", "--", "export"],
            "commands that can: train, train-dequantizer, sample",
        ),
        (
            ["local", "-n0", "--", "train"],
            "--processes=0 must be an integer in the range [1, 2147483647]",
        ),
        (["local", "--nodes=2", "--", "train"], "unknown flag --nodes"),
        (
            ["slurm", "--time=a\nb", "--dry_run", "--", "train"],
            "--time='a\\nb' must be one line of text",
        ),
    ],
)
def test_wrong_launches(argv, message, usage_error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in usage_error("launch", *argv)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["local", "slurm"])
def test_help_of_a_way_to_launch(mode, capsys):
    with pytest.raises(SystemExit) as ending:
        main(["launch", mode, "--help"])
    assert ending.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: score-sde launch {mode} ")
    assert all(
        line.rstrip().endswith(")")
        for line in text.splitlines()
        if line.startswith("  --") and "--help" not in line
    )
