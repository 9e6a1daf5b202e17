"""Fuzz the readers of files, the flags and the configs: each is read, or is an error of
one line.

``python scripts/fuzz.py --minutes=60 --seed=0`` reads damaged and hostile files of
every kind, flags and configs, each in a process of its own, and prints a table of the
cases loaded, the cases refused, and the faults: another error than ``ValueError`` or
``OSError``, an error of several lines, a hang, more than 2 GB of memory, a file written
outside of the folder, a command, a connection, or code that a file names.
``--readers=npz,flags`` takes some only, ``--case=17`` repeats one case, and
``--save=FOLDER`` keeps the files of the faults. The exit status is 1 after a fault.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_commands import COMMAND_TARGETS
from fuzz_runs import RUN_TARGETS
from fuzz_targets import CANARY, TARGETS, Target, mutate_a_file

TARGETS |= RUN_TARGETS | COMMAND_TARGETS

GROWTH = 2 * 10**9
"""The limit of memory for reading a small file, in bytes."""

BACKSTOP = 24 * 10**9
"""Bytes of address space beyond the start's: an error of the system alone is a fault."""

LONGEST = 2000
"""The longest error message, in characters."""

WARM = (
    "score_sde",
    "score_sde.data",
    "score_sde.experiments.loading",
    "score_sde.cli.reference_config",
    "scipy.io",
    "PIL.Image",
)
"""Modules that a process loads once, before the cases."""

COMMANDS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "pty.spawn",
)
CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
)


def main(argv: Sequence[str]) -> int:
    """Run cases of all readers in turn until the time is over, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--readers", default="", help=f"some of {', '.join(TARGETS)} (default: all)"
    )
    parser.add_argument(
        "--cases",
        type=int,
        default=0,
        help="cases of each reader, whatever the time (default: none)",
    )
    parser.add_argument("--case", type=int, help="the number of one case, to run it alone")
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds that one case may take (default: 60)"
    )
    parser.add_argument("--save", type=Path, help="folder for the files of the faults")
    options = parser.parse_args(argv)
    names = options.readers.split(",") if options.readers else list(TARGETS)
    prepare()
    for make in [make for name in names if (make := TARGETS[name].prepare)]:
        make()
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    faults: list[str] = []
    for name in names:  # else refused cases prove nothing
        found, reason = run_case(name, options.seed, 0, timeout=options.timeout, spoil=False)
        if found != "loaded":
            faults.append(
                f"fault: --readers={name!r} --seed={options.seed}: what is sound is not loaded: "
                f"{reason}"
            )
            print(faults[-1], flush=True)
    end, number = time.monotonic() + 60 * options.minutes, options.case or 0
    while True:
        for name in names:
            settings = {"timeout": options.timeout, "save": options.save}
            found, reason = run_case(name, options.seed, number, **settings)
            counts[name][found] += 1
            if found == "fault" or options.case is not None:
                line = (
                    f"{found}: --readers={name!r} --seed={options.seed} --case={number}: {reason}"
                )
                print(line, flush=True)
                faults += [line] if found == "fault" else []
        number += 1
        if options.case is not None or (
            number >= options.cases if options.cases else time.monotonic() > end
        ):
            break
    print(table(counts))
    return bool(faults)


def table(counts: dict[str, Counter[str]]) -> str:
    """The outcomes of the cases of each reader, and of all."""
    rows = {**counts, "all": sum(counts.values(), Counter())}
    lines = [f"{'reader':<18}{'cases':>8}{'loaded':>8}{'refused':>9}{'faults':>8}"]
    for name, row in rows.items():
        lines.append(
            f"{name:<18}{row.total():>8}{row['loaded']:>8}{row['refused']:>9}{row['fault']:>8}"
        )
    return "\n".join(lines)


def prepare() -> None:
    """Load the modules that the cases need; no array is made, so that no thread of JAX
    is there when cases fork.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    sys.dont_write_bytecode = True
    for module in WARM:
        importlib.import_module(module)


def run_case(
    name: str,
    seed: int,
    number: int,
    *,
    timeout: float,
    spoil: bool = True,
    save: Path | None = None,
) -> tuple[str, str]:
    """``loaded``, ``refused`` or ``fault``, and why, for one case in a process and a
    folder of its own.

    Without ``spoil`` the files are unchanged. ``save`` keeps the files of a fault.
    """
    with tempfile.TemporaryDirectory() as outside:
        found, reason = _outcome(Path(outside), name, seed, number, timeout, spoil)
        if found == "fault" and save is not None:
            kept = save / f"{name}-{seed}-{number}".replace(" ", "_")
            shutil.copytree(outside, kept, symlinks=True, dirs_exist_ok=True)
        return found, reason


def _outcome(
    outside: Path, name: str, seed: int, number: int, timeout: float, spoil: bool
) -> tuple[str, str]:
    folder = outside / "case"
    folder.mkdir()
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        _child(theirs, folder, TARGETS[name], Random(f"{seed} {name} {number}"), spoil)
    os.close(theirs)
    killed = _watch(child, timeout)
    with os.fdopen(ours, "rb") as stream:
        answer = stream.read()
    if killed:
        return "fault", killed
    written = sorted(path.name for path in outside.iterdir() if path != folder)
    if written:
        return "fault", f"wrote {written} outside of its folder"
    if not answer:
        return "fault", "the process ended without a report"
    found, reason = json.loads(answer)
    return found, reason


def _watch(child: int, timeout: float) -> str:
    """Wait for a process; kill it and report it after too much time or memory."""
    start, base = time.monotonic(), _resident(os.getpid())
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            number = os.waitstatus_to_exitcode(status)
            return (
                f"the process was ended by signal {signal.Signals(-number).name}"
                if number < 0
                else ""
            )
        reason = ""
        if time.monotonic() - start > timeout:
            reason = f"took more than {timeout:g} seconds"
        elif _resident(child) > base + GROWTH + 5 * 10**8:
            reason = f"took more than {GROWTH / 1e9:g} GB of memory"
        if reason:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return reason
        time.sleep(0.005)


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, IndexError):
        return 0


def _child(answer: int, folder: Path, target: Target, rng: Random, spoil: bool) -> None:
    """Write the files, read them, and report; it never returns."""
    try:
        os.chdir(folder)
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a file descriptor is wanted
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
        target.write(rng, folder)
        if spoil and target.spoil and (rng.random() < 0.6 or not target.bytes):
            target.spoil(rng, folder)
        if spoil and target.bytes and (not target.spoil or rng.random() < 0.4):
            mutate_a_file(rng, folder)
        os.write(answer, json.dumps(_read(folder, target)).encode())
    except BaseException as error:
        os.write(
            answer,
            json.dumps(
                ("fault", f"the case itself failed: {type(error).__name__}: {error}")
            ).encode(),
        )
    finally:
        os._exit(0)


def _read(folder: Path, target: Target) -> tuple[str, str]:
    sys.path.insert(0, str(folder))
    (folder / f"{CANARY}.py").write_text(
        "open('PWNED', 'w').close()\ndef run(**_): open('PWNED', 'w').close()\n"
    )
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (virtual + BACKSTOP, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak of memory
    seen: list[str] = []
    before = _peak()
    sys.addaudithook(_hook(folder, seen))
    found, reason = "loaded", ""
    try:
        target.read(folder)
    except (ValueError, OSError) as error:
        found, reason = _judged(error)
    except BaseException as error:
        found, reason = "fault", f"{type(error).__name__}: {str(error)[:300]}{_where(error)}"
    growth = _peak() - before
    if seen:
        return "fault", seen[0]
    if growth > GROWTH:
        return "fault", f"took {growth / 1e9:.1f} GB of memory ({reason})"
    return found, reason


def _judged(error: Exception) -> tuple[str, str]:
    """Whether an error is one line, and from the reader rather than from a system out of
    memory.
    """
    text = str(error)
    if not text or "\n" in text or len(text) > LONGEST:
        return (
            "fault",
            f"{type(error).__name__} of {len(text)} characters, {text.count(chr(10)) + 1} lines: "
            f"{text[:300]!r}",
        )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "fault", f"refused for lack of memory alone: {text}"
        cause = cause.__cause__ or cause.__context__
    return "refused", text


def _where(error: BaseException) -> str:
    """The place of an error in this package."""
    place, found = error.__traceback__, ""
    while place is not None:
        name = place.tb_frame.f_code.co_filename
        found = f" ({name}:{place.tb_lineno})" if "score_sde" in name else found
        place = place.tb_next
    return found


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1000 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _hook(folder: Path, seen: list[str]) -> Any:
    """An audit hook that records forbidden actions of a reader."""
    inside = (str(folder), "/dev/", "/proc/self")

    def is_outside(path: Any) -> bool:
        if isinstance(path, int):
            return False
        return not os.path.abspath(os.fsdecode(path)).startswith(inside)  # noqa: PTH100

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
            )
            if "PWNED" in str(path) or CANARY in str(path):
                seen.append("imports or runs code that the file names")
            elif writes and path is not None and is_outside(path):
                seen.append(f"writes {path}")
        elif event in COMMANDS:
            seen.append(f"runs a command: {arguments[0]!r:.100}")
        elif event == "socket.connect":
            seen.append("connects to another machine")
        elif event in CHANGES and is_outside(arguments[0]):
            seen.append(f"{event} {arguments[0]}")

    return hook


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
