"""Real processes, as a launcher starts them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import score_sde
from score_sde.cli.local_processes import free_port
from score_sde.runtime.launchers import GIVEN

ROOT = str(Path(score_sde.__file__).parents[1])
"""The folder that the package is imported from."""


def run_in(folder, *command):
    """The result of a command in a folder, on one device."""
    environment = {**os.environ, "XLA_FLAGS": ""}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def started(
    command: str, workdir: Path, *flags: str, processes: int = 1, env: dict[str, str] | None = None
) -> list[subprocess.Popen[str]]:
    """A command on a workdir, in one process or several that share the work."""
    return together(
        "-m", "score_sde", command, f"--workdir={workdir}", *flags, processes=processes, env=env
    )


def together(
    *arguments: str, processes: int, env: dict[str, str] | None = None
) -> list[subprocess.Popen[str]]:
    """Python with these arguments, in one process or several that find each other."""
    return each([(sys.executable, *arguments)] * processes, env=env)


def each(
    commands: Sequence[Sequence[str]], *, env: dict[str, str] | None = None
) -> list[subprocess.Popen[str]]:
    """Processes that find each other, each of its own command."""
    address, processes = f"127.0.0.1:{free_port()}", len(commands)
    base = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": ROOT, **(env or {})}
    found = []
    for index, command in enumerate(commands):
        given = dict(zip(GIVEN, (address, str(processes), str(index)), strict=True))
        environment = base | (given if processes > 1 else {})
        found.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    return found


def finished(processes: list[subprocess.Popen[str]], code: int = 0) -> list[tuple[str, str]]:
    """The standard output and error of each."""
    texts = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), texts
    return texts
