"""The entry point: it runs a command and reports errors in one line."""

import contextlib
import gc
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType

from score_sde.cli.command_flags import FLAGS
from score_sde.cli.flags import UsageError, is_on, sentence, usage_errors
from score_sde.cli.shared_flags import INDEPENDENT
from score_sde.runtime.failures import have_joined, tell_others
from score_sde.runtime.launchers import are_several
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.object_store import shown
from score_sde.runtime.resources import (
    NoDeviceError,
    allow_open_files,
    check_devices,
    lack_of_memory,
)
from score_sde.runtime.streams import lasting_output
from score_sde.runtime.terminal import print_in_any_encoding
from score_sde.runtime.unreadable import UNREADABLE, UnreadableError
from score_sde.runtime.watchdog import STOPPED
from score_sde.runtime.working_copy import settle

COMMANDS = {
    "train": "train a model by a config; the same command resumes an interrupted run",
    "sample": "draw samples from a trained model, with figures and distances to held-out data",
    "likelihood": "compute the likelihood of held-out data, or a bound, in bits per dimension",
    "train-dequantizer": "train a variational dequantizer, which tightens the likelihood bound",
    "encode": "encode held-out data, decode the latents, and report the reconstruction error",
    "interpolate": "interpolate between held-out examples in the latent space",
    "import": "convert a checkpoint of another project to a model for all commands",
    "export": "write a trained model as safetensors and JSON, or its sampler as StableHLO",
    "launch": "run train, sample or likelihood in several processes, on this machine or by Slurm",
    "reconstruct-ema": "reconstruct a power EMA of any width after training (post-hoc EMA)",
    "plot": "plot the loss and the SDE of a run, the SDE of a config, or all SDEs",
}

USAGE = 2
"""The exit code of a usage error."""

MODULES = {
    "import": "import_model",
    "export": "export_model",
    "train-dequantizer": "train_dequantizer",
    "reconstruct-ema": "reconstruct_ema",
}
"""The modules of commands that have another name."""


SHARING = ("train", "train-dequantizer", "sample", "likelihood")
"""The commands that share their work among processes."""

THEN = "then"
"""The word between commands that run one after the other in one process."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run as `run_commands` does. Where standard output or error cannot be written, as on
    a full disk or in a pipe that is closed, they fall silent, and the work is done.
    """
    print_in_any_encoding()
    with lasting_output():
        return run_commands(sys.argv[1:] if argv is None else argv)


def run_commands(argv: Sequence[str]) -> int:
    """Run a command, or several in one process: ``train … then sample … then plot …``.

    Exit codes: 0 success; 1 failure while running; 2 usage error: a wrong config, path,
    flag or JAX platform; 74 a file could not be read, and nothing was changed; 75
    stopped by a signal, run it again; 130 interrupted. The first command that fails is
    the last that runs.
    """
    arguments = list(argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    commands = _commands_in(arguments)
    for command in commands:
        error = _error_of(command)
        if error:
            _print_error(error)
            return USAGE
    sys.unraisablehook = _without_late_reads
    threading.excepthook = _without_failed_writes
    for command, *flags in commands:
        code = _run_with_others(command, flags)
        if code:
            return code
    return 0


def _commands_in(arguments: Sequence[str]) -> list[list[str]]:
    """The commands, which THEN separates; ``launch`` takes all that follows it."""
    commands: list[list[str]] = [[]]
    for argument in arguments:
        if argument == THEN and commands[-1][:1] != ["launch"]:
            commands.append([])
        else:
            commands[-1].append(argument)
    return commands


def _error_of(command: Sequence[str]) -> str | None:
    """What is wrong with the name of a command, if anything."""
    if not command:
        return f"{THEN!r} stands between two commands: score-sde train … {THEN} sample …"
    name = command[0]
    if name in COMMANDS:
        return None
    hint = did_you_mean(name, COMMANDS)
    return f"unknown command {name!r}{hint}; commands: {', '.join(COMMANDS)}"


def _run_with_others(command: str, flags: Sequence[str]) -> int:
    """Run one command, and end the other processes where it fails: its exit code."""
    try:
        code = _run(command, flags)
    except Exception:
        if not have_joined():
            raise
        traceback.print_exc()
        code = 1
    if code not in (0, STOPPED):
        tell_others(code)
    return code


def _run(command: str, flags: Sequence[str]) -> int:
    """Run one command: its exit code."""
    try:
        code = _module_of(command, flags).main(flags)
        _write_back()
        return code
    except (UsageError, NoDeviceError) as error:
        _print_error(str(error), command)
        return USAGE
    except UnreadableError as error:
        _print_error(sentence(error), command)
        return UNREADABLE
    except (FloatingPointError, OSError) as error:
        _print_error(sentence(error), command)
        return 1
    except (MemoryError, RuntimeError) as error:
        lack = lack_of_memory(error)
        if lack is None:
            raise
        _print_error(lack, command)
        return 1
    except ModuleNotFoundError as error:
        _print_error(f"{error}: install the package that has it", command)
        return USAGE
    except KeyboardInterrupt:
        _print_error("interrupted", command)
        return 130


def _write_back() -> None:
    """Write to object storage what the command has written on this machine."""
    if "jax" in sys.modules:  # as after every command that writes such files
        import jax

        if jax.process_index() == 0:
            settle()


def usage() -> str:
    """The overview of the commands."""
    lines = [f"  {command:<19}{description}" for command, description in COMMANDS.items()]
    return "\n".join(
        [
            "usage: score-sde COMMAND [--flag=value …]",
            "",
            *lines,
            "",
            "score-sde COMMAND --help lists its flags. Several commands run in one process, which",
            "starts and compiles once: score-sde train … then sample … then likelihood …",
        ]
    )


def _print_error(message: str, command: str | None = None) -> None:
    name = f"score-sde {command}" if command else "score-sde"
    print(shown(f"{name}: {' '.join(message.split())}"), file=sys.stderr)


def _module_of(command: str, arguments: Sequence[str]) -> ModuleType:
    """Import the module of a command, and JAX with it, once its arguments are checked as
    far as this needs no JAX.

    ``launch`` parses its flags itself, and leaves JAX to the processes that it starts.
    """
    name = f"score_sde.cli.{MODULES.get(command, command)}"
    if command == "launch":
        return importlib.import_module(name)
    try:
        FLAGS[command]().check(arguments)
    except UsageError:
        if are_several(os.environ):
            _join(command, arguments)  # to end the other processes, which wait for this one
        raise
    with _keeping_what_is_imported():
        _prepare_jax(command, arguments)
        return importlib.import_module(name)


@contextlib.contextmanager
def _keeping_what_is_imported() -> Iterator[None]:
    """Exempt the objects that a block of imports makes from garbage collection.

    There are 300,000, which live as long as the process: to search them again and again
    takes a tenth of the time of a short command.
    """
    if "jax" in sys.modules:  # imported by the caller, whose objects may be garbage
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _prepare_jax(command: str, arguments: Sequence[str]) -> None:
    """Join the other processes, if any, and start the devices, before any file is read."""
    with usage_errors():
        allow_open_files()
    _set_compilation_cache()
    _join(command, arguments)
    check_devices()


def _join(command: str, arguments: Sequence[str]) -> None:
    """Join the other processes of a command that shares its work, if there are any."""
    if command not in SHARING:
        return
    with usage_errors():
        if is_on(INDEPENDENT, arguments):
            from score_sde.runtime.processes import work_alone

            work_alone()
        else:
            from score_sde.runtime.processes import join_processes

            join_processes()


def _set_compilation_cache() -> None:
    """Let the compilation cache persist on disk, in a folder of the user's unless
    ``JAX_COMPILATION_CACHE_DIR`` names another, for programs of any size.
    """
    if "equinox" not in sys.modules:
        # The cache holds no program that calls Python, as equinox's checks of a solve do.
        # With nan, a failed check makes the result NaN, which every command reports.
        os.environ.setdefault("EQX_ON_ERROR", "nan")
    import jax

    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(root) / "score_sde" / "programs"))


_report_unraisable, _report_thread = sys.unraisablehook, threading.excepthook


def _without_failed_writes(arguments: threading.ExceptHookArgs) -> None:
    # Orbax writes in threads, and raises their errors again in the thread that waits.
    if not _in_orbax(arguments.exc_traceback):
        _report_thread(arguments)


def _without_late_reads(unraisable: "sys.UnraisableHookArgs") -> None:
    # TensorStore reads a checkpoint in many threads. Where one read fails, the others
    # report to an event loop that has ended, or fail too, and are garbage-collected
    # before any code retrieves their errors.
    if "Event loop is closed" not in str(unraisable.exc_value) and not _in_orbax(
        unraisable.exc_traceback
    ):
        _report_unraisable(unraisable)


def _in_orbax(found: TracebackType | None) -> bool:
    return any("orbax" in frame.filename for frame in traceback.extract_tb(found))
