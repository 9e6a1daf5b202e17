"""Choosing the verb, and answering what cannot be done in one line."""

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from score_sde.cli.flags import HELP, Refusal, refusals, sentence
from score_sde.runtime.naming import did_you_mean
from score_sde.runtime.resources import NoDeviceError, check_devices, lack_of_memory
from score_sde.runtime.unreadable import UNREADABLE, UnreadableError

VERBS = {
    "train": "train a model from a config; run again on the same workdir, it goes on",
    "sample": "draw samples from a trained model, with pictures and distances to held-out data",
    "likelihood": "compute the likelihood of held-out data, exactly or bounded: bits per dimension",
    "train-dequantizer": "learn a density on the bins of discrete data, for a tighter likelihood "
    "of a model",
    "encode": "take held-out data to their latents and back, and see how near they come",
    "interpolate": "go from one held-out example to another through the latent space",
    "import": "turn a published checkpoint of another project into a model that every verb takes",
    "export": "write a trained model as safetensors and JSON, or its sampler as one file for jax "
    "alone",
    "launch": "run train, sample or likelihood in several processes: on this machine, or by Slurm",
    "reconstruct-ema": "make an average of the parameters of another width, from the snapshots of "
    "a run",
    "plot": "draw the loss and the SDE of a workdir, the SDE of a config, or every SDE",
}

MODULES = {
    "import": "import_model",
    "export": "export_model",
    "train-dequantizer": "train_dequantizer",
    "reconstruct-ema": "reconstruct_ema",
}
"""The modules of verbs that have another name."""


SHARING = ("train", "train-dequantizer", "sample", "likelihood")
"""The verbs that share their work among processes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Exit codes: 0 done; 1 failed on the way; 2 wrong config, path, flag or platform of
    jax; 74 a file could not be read, and nothing was changed; 75 stopped, run it again.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        return _refuse(
            f"unknown verb {verb!r}{did_you_mean(verb, VERBS)}; verbs: {', '.join(VERBS)}"
        )
    _prepare_interpreter()
    try:
        _prepare_devices(verb, arguments[1:])
        return importlib.import_module(f"score_sde.cli.{MODULES.get(verb, verb)}").main(
            arguments[1:]
        )
    except (Refusal, NoDeviceError) as refusal:
        return _refuse(str(refusal), verb)
    except UnreadableError as error:
        _say(verb, sentence(error))
        return UNREADABLE
    except (FloatingPointError, OSError) as error:
        _say(verb, sentence(error))
        return 1
    except (MemoryError, RuntimeError) as error:
        lack = lack_of_memory(error)
        if lack is None:
            raise
        _say(verb, lack)
        return 1
    except KeyboardInterrupt:
        _say(verb, "interrupted")
        return 130


def usage() -> str:
    """The overview of the verbs."""
    lines = [f"  {verb:<19}{description}" for verb, description in VERBS.items()]
    return "\n".join(
        [
            "usage: score-sde VERB [--flag=value …]",
            "",
            *lines,
            "",
            "score-sde VERB --help lists its flags.",
        ]
    )


def _refuse(message: str, verb: str | None = None) -> int:
    _say(verb, message)
    return 2


def _say(verb: str | None, message: str) -> None:
    print(f"score-sde{f' {verb}' if verb else ''}: {' '.join(message.split())}", file=sys.stderr)


def _prepare_interpreter() -> None:
    sys.unraisablehook = _without_late_reads
    threading.excepthook = _without_failed_writes
    _keep_compiled_programs()


def _prepare_devices(verb: str, arguments: Sequence[str]) -> None:
    """Join the other processes and start the devices, before anything is read or written.

    Help needs no devices, and ``launch`` leaves them to the processes that it starts.
    """
    if verb == "launch" or any(argument in HELP for argument in arguments):
        return
    if verb in SHARING:
        from score_sde.runtime.processes import join_processes

        with refusals():
            join_processes()
    check_devices()


def _keep_compiled_programs() -> None:
    """What was compiled once is read from the disk, unless the environment says
    otherwise as jax understands it.
    """
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is None:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(root) / "score_sde" / "programs"))


_report_unraisable, _report_thread = sys.unraisablehook, threading.excepthook


def _without_failed_writes(arguments: threading.ExceptHookArgs) -> None:
    # orbax writes in threads, and raises what went wrong there once more where it is
    # waited for.
    if not _in_orbax(arguments.exc_traceback):
        _report_thread(arguments)


def _without_late_reads(unraisable: "sys.UnraisableHookArgs") -> None:
    # Tensorstore reads a checkpoint in many threads. Where one read fails, the others
    # answer to a loop that is gone, or fail too, and are collected before anything
    # retrieves their errors.
    if "Event loop is closed" not in str(unraisable.exc_value) and not _in_orbax(
        unraisable.exc_traceback
    ):
        _report_unraisable(unraisable)


def _in_orbax(found: TracebackType | None) -> bool:
    return any("orbax" in frame.filename for frame in traceback.extract_tb(found))
