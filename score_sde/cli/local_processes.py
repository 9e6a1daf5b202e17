"""Several processes of one command on this machine, which start and end together."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any, NamedTuple

from score_sde import checks
from score_sde.cli.main import USAGE
from score_sde.runtime.launchers import GIVEN
from score_sde.runtime.local_devices import visible_gpus
from score_sde.runtime.signals import STOPPING, heeded
from score_sde.runtime.watchdog import STOPPED

_TICK = 0.05
"""Seconds between looks at the processes."""

_PATIENCE = 5.0
"""Seconds to wait for the last lines of a process that has ended; its own child
processes may keep its output open.
"""


class Launch(NamedTuple):
    """A launch: ``processes`` processes of ``command`` with ``devices`` GPUs each.

    Without ``devices`` the processes share all GPUs evenly, and each has the CPU where
    there are none. After a failure the other processes have ``grace`` seconds to end
    before they are killed; then all start again, up to ``restarts`` times.
    """

    command: tuple[str, ...]
    processes: int
    devices: int | None = None
    restarts: int = 0
    grace: float = 30.0


def run(launch: Launch) -> int:
    """Run the processes until all have ended: the exit code.

    It is the exit code of the process that failed first; 75 where a process was stopped
    and can resume; else 0. After a failure or a stop, all are started again up to
    ``restarts`` times, except after a usage error. SIGINT, SIGTERM, SIGUSR1 and SIGHUP are
    forwarded to every process once, and nothing restarts after one. A process that such
    a signal kills has not begun its work, and counts as stopped.
    """
    environments = _device_environments(launch, os.environ)
    with _Forwarding() as forwarding:
        code = _run_once(launch, environments, forwarding)
        for attempt in range(1, launch.restarts + 1):
            if code in (0, USAGE) or forwarding.came:
                break
            _say(f"ended with code {code}, starting again ({attempt} of {launch.restarts})")
            code = _run_once(launch, environments, forwarding)
    return code


class _Forwarding:
    """Forwards signals to processes, once to each; a context manager."""

    def __init__(self) -> None:
        self.came = False
        self._processes: Sequence[subprocess.Popen[bytes]] = ()
        self._early: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Forwarding":
        self._before = {signum: signal.signal(signum, self._handle) for signum in heeded(STOPPING)}
        return self

    def __exit__(self, *error: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.came = True
        for process in self._processes:
            # On Windows, Ctrl-C reaches all processes of a console, and cannot be sent.
            if not (os.name == "nt" and signum == signal.SIGINT):
                process.send_signal(signum)
        if not self._processes:
            self._early.append(signum)

    def begin(self, processes: "Sequence[subprocess.Popen[bytes]]") -> None:
        """Forward signals from now on, and those that came while the processes started."""
        self._processes = processes
        early, self._early = self._early, []
        for signum in early:
            self._handle(signum, None)

    def end(self) -> None:
        """Forward nothing more, as the processes have ended."""
        self._processes = ()


def _run_once(
    launch: Launch, environments: Sequence[Mapping[str, str]], forwarding: _Forwarding
) -> int:
    address = f"127.0.0.1:{free_port()}"
    with _all_ended(launch.grace) as processes:
        readers = []
        for index, devices in enumerate(environments):
            place = zip(GIVEN, (address, str(launch.processes), str(index)), strict=True)
            pipe = subprocess.PIPE if index else None  # the first may keep the terminal
            process = subprocess.Popen(
                launch.command,
                env={**os.environ, **devices, **dict(place if launch.processes > 1 else ())},
                stdout=pipe,
                stderr=pipe,
                stdin=subprocess.DEVNULL if index else None,
                # otherwise Ctrl-C would reach it twice, from the terminal and from here
                process_group=0,
            )
            processes.append(process)
            readers += _readers(process, index)
        forwarding.begin(processes)
        code = _first_failure(processes, forwarding)
    forwarding.end()
    for reader in readers:
        reader.join(_PATIENCE)
    if code is not None:
        return code
    return STOPPED if any(process.returncode for process in processes) else 0


def _first_failure(
    processes: Sequence["subprocess.Popen[bytes]"], forwarding: _Forwarding
) -> int | None:
    """The exit code of the first process that fails, at once; None where none fails."""
    running = dict(enumerate(processes))
    while running:
        for index, process in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[index]
            if code not in (0, STOPPED) and not (forwarding.came and -code in STOPPING):
                end = f"code {code}" if code > 0 else signal.Signals(-code).name
                _say(
                    f"process {index} ended with {end}"
                    + ("; stopping the others" if running else "")
                )
                return code if code > 0 else 128 - code
        time.sleep(_TICK)
    return None


@contextmanager
def _all_ended(grace: float) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """A list of processes, none of which outlives the block by more than ``grace`` seconds."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield processes
    finally:
        _stop(processes)
        end = time.monotonic() + grace
        while any(process.poll() is None for process in processes) and time.monotonic() < end:
            time.sleep(_TICK)
        for process in processes:
            if process.poll() is None:
                _kill(process)
            process.wait()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with its child processes; alone on Windows, which has no groups."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()


def _readers(process: "subprocess.Popen[bytes]", index: int) -> list[threading.Thread]:
    pairs = ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
    threads = [
        threading.Thread(target=_copy_lines, args=(source, target, f"[{index}] "), daemon=True)
        for source, target in pairs
        if source is not None
    ]
    for thread in threads:
        thread.start()
    return threads


def _copy_lines(source: IO[bytes], target: IO[str], prefix: str) -> None:
    with source:
        for line in source:
            text = line.decode(errors="replace").rstrip("\r\n")
            target.write(f"{prefix}{text}\n")  # in one call, as other threads write there too
            target.flush()


def _device_environments(launch: Launch, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """The environment variables of each process, which give it its GPUs or emulated CPU
    devices.

    Raises:
        ValueError: where the machine has too few GPUs.
    """
    gpus = visible_gpus(environment)
    if not gpus:
        fake = {} if launch.devices is None else {"JAX_NUM_CPU_DEVICES": str(launch.devices)}
        return [fake] * launch.processes
    each = launch.devices or len(gpus) // launch.processes
    checks.require(
        1 <= each * launch.processes <= len(gpus),
        f"{launch.processes} processes with {each or 1} GPUs each are more than the {len(gpus)} "
        "of this machine",
    )
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[i * each : (i + 1) * each])}
        for i in range(launch.processes)
    ]


def free_port() -> int:
    """A free TCP port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _say(text: str) -> None:
    print(f"score-sde launch: {text}", file=sys.stderr, flush=True)
