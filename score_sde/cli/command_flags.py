"""The flags of every command but ``launch``, and their help.

Neither this module nor any that it imports at its top imports JAX, so that help and most
usage errors come at once.
"""

from collections.abc import Callable, Mapping
from functools import partial

from score_sde.cli.config_source import (
    config_to_import,
    config_to_train,
    named_config,
    no_config,
    required_config,
)
from score_sde.cli.flags import Flags
from score_sde.cli.shared_flags import (
    add_allow_code,
    add_average,
    add_batch,
    add_checkpoint,
    add_independent,
    add_lock,
    add_num_examples,
    add_output,
    add_overwrite,
    add_seed,
    add_split,
    add_workdir,
    config_help,
    workdir_flags,
)

CHECKPOINT = "checkpoint_24.pth"
"""A published checkpoint, for messages."""


def train() -> Flags:
    """The flags of ``train``."""
    description = (
        "Train a score model or a classifier. The same command resumes an interrupted run in its "
        "workdir; --config\nis then optional. --init_from fine-tunes a trained model in a new "
        "workdir."
    )
    default = "default: the config of the run in --workdir, or else of the model of --init_from"
    flags = Flags("train", description, config_to_train, config_help(default))
    flags.string(
        "workdir", None, "folder for checkpoints, metrics and figures; made if missing (required)"
    )
    flags.string(
        "init_from",
        None,
        "trained model that a new run begins with: a workdir, an exported or diffusers folder, or "
        f"a published checkpoint such as {CHECKPOINT} (default: random parameters)",
    )
    add_average(flags, " of --init_from")
    add_allow_code(flags)
    add_overwrite(flags)
    add_lock(flags)
    add_independent(flags)
    return flags


def sample() -> Flags:
    """The flags of ``sample``."""
    description = (
        "Draw samples from a trained model. Sample i depends only on the seed and i. The same "
        "command resumes an\ninterrupted run. Processes of one launcher (srun, mpirun) share the "
        "work."
    )
    flags = workdir_flags("sample", description)
    flags.shorthand("sampler", "sampling.name", "sampler, such as ddim or package.module:Name")
    flags.integer(
        "num_samples", None, "number of samples (default: sampling.num_samples)", at_least=1
    )
    flags.shorthand(
        "classes", "sampling.classes", "classes to sample in turn, such as 0,1,2 or cat,dog"
    )
    add_batch(flags, "sampling")
    add_seed(flags, "the samples")
    flags.choice("format", "npz", ("npz", "png"), "npz (one file) or png (a folder of images)")
    add_output(flags, "samples")
    add_independent(flags)
    return flags


def likelihood() -> Flags:
    """The flags of ``likelihood``."""
    description = (
        "Compute the likelihood of held-out data in bits per dimension, under the "
        "probability-flow ODE or by a\n"
        "variational bound (eval.bound). The same command resumes an interrupted run, and one "
        "with more examples\n"
        "reuses the results of fewer. Processes of one launcher (srun, mpirun) share the work."
    )
    flags = workdir_flags("likelihood", description)
    add_split(flags)
    flags.string("dequantizer", None, "folder of a trained dequantizer (default: eval.dequantizer)")
    add_num_examples(flags)
    add_batch(flags)
    add_seed(flags, "the dequantization and the probes")
    add_independent(flags)
    return flags


def train_dequantizer() -> Flags:
    """The flags of ``train-dequantizer``."""
    description = (
        "Train a variational dequantizer for the score model of a workdir. With it `score-sde "
        "likelihood\n"
        "--dequantizer=FOLDER` computes a tighter likelihood bound than with uniform "
        "dequantization.\n"
        "The same command resumes an interrupted run."
    )
    example = "dequantizer/digits"
    find_config = partial(required_config, example=example)
    flags = Flags("train-dequantizer", description, find_config, config_help("required", example))
    add_workdir(flags, "the score model")
    add_checkpoint(flags)
    flags.string("output", None, "folder for the dequantizer (default: dequantizer in the workdir)")
    add_allow_code(flags)
    add_overwrite(flags)
    add_lock(flags)
    add_independent(flags)
    return flags


def encode() -> Flags:
    """The flags of ``encode``."""
    description = (
        "Encode held-out data by the probability-flow ODE, from eval.t_min to the latents at "
        "t_max, decode the\n"
        "latents, and report the reconstruction error. Both solves use the tolerances eval.rtol "
        "and eval.atol."
    )
    flags = workdir_flags("encode", description)
    add_split(flags)
    add_num_examples(flags)
    add_batch(flags)
    add_seed(flags, "the dequantization")
    add_output(flags, "latents")
    return flags


PAIRS = 8
"""The number of pairs that ``interpolate`` takes at most, unless told."""


def interpolate() -> Flags:
    """The flags of ``interpolate``."""
    description = (
        "Interpolate between held-out examples: encode both by the probability-flow ODE, "
        "interpolate between the\nlatents along the sphere, and decode. Either the first pairs of "
        "the data (0 and 1, 2 and 3, …), or one pair."
    )
    flags = workdir_flags("interpolate", description)
    add_split(flags)
    flags.integer(
        "num_pairs", None, f"number of pairs, from the first (default: at most {PAIRS})", at_least=1
    )
    flags.integer(
        "first", None, "index of the first example of one pair (default: 0, with --second)"
    )
    flags.integer(
        "second", None, "index of the second example of one pair (default: 1, with --first)"
    )
    flags.integer("num_steps", 11, "points on each path, both ends included", at_least=3)
    flags.number(
        "temperature", 1.0, "factor of the latents; below 1 samples are more typical, less varied"
    )
    add_batch(flags)
    add_seed(flags, "the dequantization")
    add_output(flags, "interpolation")
    return flags


def import_model() -> Flags:
    """The flags of ``import``."""
    description = (
        "Convert a checkpoint of Score-SDE (PyTorch or JAX), ScoreFlow, NCSN or NCSNv2, or a "
        "diffusers folder\n"
        "(UNet2DModel), to a model for all commands. It takes the averaged parameters, and runs no "
        "code of the checkpoint."
    )
    of_config = {
        **config_help("default: --reference_config, or the config of a diffusers folder"),
        "--reference_config": "config file of the published code instead of --config: .py, which "
        "is run, or .json (default: none)",
    }
    flags = Flags("import", description, config_to_import, of_config)
    flags.string("checkpoint", None, f"file or folder, for example {CHECKPOINT} (required)")
    flags.string("workdir", None, "new folder for the model (required)")
    add_allow_code(flags)
    return flags


def export_model() -> Flags:
    """The flags of ``export``."""
    description = (
        "Write a trained model as safetensors and JSON (--output), a workdir for other commands; "
        "or its sampler and\nparameters as one StableHLO file (--sampler), which runs with JAX "
        "alone."
    )
    flags = workdir_flags("export", description)
    flags.string("output", None, "new folder for the model (default: none)")
    flags.string("sampler", None, "new file for the sampler (default: none)")
    return flags


def reconstruct_ema() -> Flags:
    """The flags of ``reconstruct-ema``."""
    description = (
        "Reconstruct a power EMA of any relative width after training (post-hoc EMA), from the "
        "snapshots of a\n"
        "run with training.averages and training.snapshot_every, and write it as a model for all "
        "commands."
    )
    flags = Flags("reconstruct-ema", description, no_config, {})
    add_workdir(flags, "a training run with snapshots")
    flags.number("sigma_rel", None, "relative width of the average, for example 0.12 (required)")
    flags.integer(
        "step", None, "last training step of the average (default: the last snapshot)", at_least=1
    )
    flags.string("output", None, "new folder for the model (required)")
    return flags


def plot() -> Flags:
    """The flags of ``plot``."""
    description = (
        "Plot the loss and the SDE of a workdir; or the SDE of a config; or, with neither, all "
        "SDEs."
    )
    flags = Flags("plot", description, named_config, config_help("default: none"))
    add_workdir(flags, default="default: none")
    flags.string(
        "output",
        None,
        "folder for the figures (default: the workdir; without one, figures)",
    )
    add_allow_code(flags)
    add_overwrite(flags)
    return flags


FLAGS: Mapping[str, Callable[[], Flags]] = {
    "train": train,
    "sample": sample,
    "likelihood": likelihood,
    "train-dequantizer": train_dequantizer,
    "encode": encode,
    "interpolate": interpolate,
    "import": import_model,
    "export": export_model,
    "reconstruct-ema": reconstruct_ema,
    "plot": plot,
}
"""The flags by command."""
