"""The flags that several commands have, each described once."""

from pathlib import Path

from score_sde.cli.config_source import EXAMPLE, config_of_run
from score_sde.cli.flags import Flags
from score_sde.experiments.limits import MAX_SEED
from score_sde.runtime.working_copy import local_path

OVERRIDE = "--config.section.key=value"


def config_help(default: str, example: str = "digits/vp") -> dict[str, str]:
    """The help of the flags of a config."""
    return {
        "--config": f"config file: a path, or the name of a config of score_sde such as {example} "
        f"({default})",
        OVERRIDE: "override a value of the config, for example --config.training.num_steps=2000",
    }


def workdir_flags(command: str, description: str) -> Flags:
    """The flags of a command: the model in ``--workdir``, and overrides of its config."""
    config_help = {
        OVERRIDE: "override a value of the saved config, for example "
        "--config.sampling.num_steps=100"
    }
    flags = Flags(command, description, config_of_run, config_help)
    add_workdir(flags, "a training run or an exported model")
    add_checkpoint(flags)
    add_average(flags)
    add_allow_code(flags)
    add_overwrite(flags)
    return flags


def add_average(flags: Flags, of: str = "") -> None:
    """``--average``; ``of`` says of which run."""
    flags.string(
        "average",
        None,
        f"one of training.averages{of}, such as power:0.05, or none for the parameters themselves "
        "(default: the average of training.ema_decay)",
    )


def add_workdir(flags: Flags, holds: str = "a training run", default: str = "required") -> None:
    """``--workdir``; ``holds`` is the contents of the folder."""
    flags.string(
        "workdir", None, f"folder of {holds}, for example {EXAMPLE} or gs://bucket/run ({default})"
    )


def add_checkpoint(flags: Flags) -> None:
    """``--checkpoint``."""
    flags.integer("checkpoint", None, "step of the checkpoint (default: the latest)")


def add_allow_code(flags: Flags) -> None:
    """``--allow_code``."""
    flags.string(
        "allow_code",
        None,
        "code that a saved config may name, and that is then run: mypkg (all of it), "
        "mypkg.module:Name, or * for any, separated by commas (default: only code that other "
        "flags name)",
    )


def add_overwrite(flags: Flags) -> None:
    """``--overwrite``."""
    flags.boolean("overwrite", False, "overwrite files that score-sde has not written")


def add_lock(flags: Flags) -> None:
    """``--lock``."""
    flags.boolean(
        "lock",
        True,
        "lock the folder of the run; --lock=False for a file system without locks, where no other "
        "run writes",
    )


INDEPENDENT = "independent"
"""The flag of a process that does not join the others of its launcher."""


def add_independent(flags: Flags) -> None:
    """``--independent``."""
    flags.boolean(
        INDEPENDENT, False, "run alone under srun or mpirun, whose other processes do other work"
    )


def add_split(flags: Flags) -> None:
    """``--split``."""
    flags.choice("split", "test", ("test", "train"), "test (held out) or train")


def add_num_examples(flags: Flags) -> None:
    """``--num_examples``."""
    flags.shorthand("num_examples", "eval.max_examples", "number of examples, from the first")


def add_batch(flags: Flags, section: str = "eval") -> None:
    """``--batch``."""
    flags.shorthand("batch", f"{section}.batch_size", "examples at a time, in each process")


def add_seed(flags: Flags, draws: str) -> None:
    """``--seed``; ``draws`` are the random numbers that it decides."""
    flags.integer("seed", 0, f"seed of {draws}", at_most=MAX_SEED)


def add_output(flags: Flags, name: str) -> None:
    """``--output``, the folder of the results; by default ``name`` in the workdir."""
    flags.string("output", None, f"folder for the results (default: {name} in the workdir)")


def output_folder(output: str | None, workdir: Path, default: str) -> Path:
    """The folder of ``--output``, or ``default`` in the workdir."""
    return local_path(output) if output else workdir / default
