"""The entry point: it runs a command and reports errors in one line."""

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from score_sde.cli.flags import HELP, UsageError, sentence, usage_errors
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.resources import NoDeviceError, check_devices, lack_of_memory
from score_sde.runtime.unreadable import UNREADABLE, UnreadableError

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Exit codes: 0 success; 1 failure while running; 2 usage error: a wrong config, path,
    flag or JAX platform; 74 a file could not be read, and nothing was changed; 75
    stopped by a signal, run it again; 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS)
        _print_error(f"unknown command {command!r}{hint}; commands: {', '.join(COMMANDS)}")
        return USAGE
    _prepare_interpreter()
    try:
        _prepare_devices(command, arguments[1:])
        module = importlib.import_module(f"score_sde.cli.{MODULES.get(command, command)}")
        return module.main(arguments[1:])
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
    except KeyboardInterrupt:
        _print_error("interrupted", command)
        return 130


def usage() -> str:
    """The overview of the commands."""
    lines = [f"  {command:<19}{description}" for command, description in COMMANDS.items()]
    return "\n".join(
        [
            "usage: score-sde COMMAND [--flag=value …]",
            "",
            *lines,
            "",
            "score-sde COMMAND --help lists its flags.",
        ]
    )


def _print_error(message: str, command: str | None = None) -> None:
    name = f"score-sde {command}" if command else "score-sde"
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)


def _prepare_interpreter() -> None:
    sys.unraisablehook = _without_late_reads
    threading.excepthook = _without_failed_writes
    _set_compilation_cache()


def _prepare_devices(command: str, arguments: Sequence[str]) -> None:
    """Join the other processes and start the devices, before any file is read or written.

    Help needs no devices, and ``launch`` leaves them to the processes that it starts.
    """
    if command == "launch" or any(argument in HELP for argument in arguments):
        return
    if command in SHARING:
        from score_sde.runtime.processes import join_processes

        with usage_errors():
            join_processes()
    check_devices()


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
