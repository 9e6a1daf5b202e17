"""Configs of NCSNv2 (Song & Ermon 2020, its own code): fields of its ``.yml`` files."""

from collections.abc import Mapping
from typing import Any

from score_sde.interop.options import Options
from score_sde.interop.reference_config import sections_of_reference

NETWORKS = {
    "cifar10": "ncsnv2_64",
    "celeba": "ncsnv2_64",
    "lsun": "ncsnv2_128",
    "ffhq": "ncsnv2_256",
}
"""The networks of the data sets, by their names in the code of 2021."""

SAME = (
    *("training.batch_size", "training.n_iters", "training.snapshot_freq"),
    *("training.snapshot_sampling", "model.normalization", "model.nonlinearity"),
    *("data.dataset", "data.image_size", "data.category", "data.random_flip"),
    *("data.uniform_dequantization", "optim.weight_decay", "optim.lr", "optim.beta1", "optim.eps"),
)
"""The fields with the same names and meanings in the code of 2021."""

RENAMED = {
    "training.snapshot_freq": "training.snapshot_freq_for_preemption",
    "model.ngf": "model.nf",
    "model.num_classes": "model.num_scales",
    "model.sigma_begin": "model.sigma_max",
    "model.sigma_end": "model.sigma_min",
    "data.channels": "data.num_channels",
    "data.rescaled": "data.centered",
}
"""Further fields, and their names in the code of 2021."""

IDLE_SECTIONS = ("fast_fid", "test")
"""Sections for evaluations, which are commands of their own here."""

IDLE = (
    *("training.n_epochs", "training.log_all_sigmas", "data.num_workers"),
    *("sampling.data_init", "sampling.ckpt_id", "sampling.final_only", "sampling.fid"),
    *("sampling.num_samples4fid", "sampling.inpainting", "sampling.interpolation"),
    "sampling.n_interpolations",
)
"""Fields that change neither the model nor its samples."""

HELD_OUT = 7000
"""The tenth of FFHQ that training leaves out."""


def is_ncsn(fields: Mapping[str, Any]) -> bool:
    """Whether fields ``section.key`` are of a config of NCSNv2."""
    return "model.ngf" in fields


def sections_of_ncsn(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a config with the meaning of a config of NCSNv2, as
    `sections_of_reference` returns them.

    Samples begin with Gaussian noise of the largest level, as those of 2021, and not with
    the uniform noise of NCSNv2, which that level drowns.

    Raises:
        ValueError: where a required field is missing, or a field or a value is unknown.
    """
    known = Options(fields, any_case=True)
    _check_supported(known)
    found = {name: known[name] for name in SAME if name in known}
    found |= {theirs: known[ours] for ours, theirs in RENAMED.items() if ours in known}
    dataset = known.choice("data.dataset", tuple(NETWORKS))
    decay = float(known.number("model.ema_rate", 0.999))
    found |= {
        "training.sde": "vesde",
        "training.continuous": False,
        "model.name": NETWORKS[dataset],
        "model.ema_rate": decay if known.flag("model.ema", True) else 0.0,
        "optim.optimizer": "Adam",
        "optim.warmup": 0,
        "optim.grad_clip": -1.0,
        "sampling.predictor": "none",
        "sampling.corrector": "ald",
    }
    sampling = {
        "name": "annealed_langevin",
        "num_steps": known.whole("model.num_classes", least=1),
        "steps_each": known.whole("sampling.n_steps_each", 100, least=1),
        "step_size": float(known.number("sampling.step_lr")),
        "denoise": known.flag("sampling.denoise", True),
    }
    if "sampling.batch_size" in known:
        sampling["batch_size"] = known.whole("sampling.batch_size", least=1)
    known.finish("the configs of NCSNv2", _idle(fields))
    sections = sections_of_reference(found)
    sections["sampling"] = sampling
    if dataset == "ffhq":
        sections["data"]["num_test"] = HELD_OUT
    return sections


def _check_supported(known: Options) -> None:
    """Raise ValueError for values that would need another model or another loss."""
    known.only("training.anneal_power", 2, because="the loss of a level is weighted by sigma^2")
    known.only("data.logit_transform", False)
    known.only("data.gaussian_dequantization", False)
    known.only("model.spec_norm", False)
    known.choice("model.sigma_dist", ("geometric",), "geometric")
    known.choice("optim.optimizer", ("adam",), "Adam")
    known.only("optim.amsgrad", False, because="the optimizer here is Adam without AMSGrad")


def _idle(fields: Mapping[str, Any]) -> list[str]:
    evaluations = [name for name in fields if str(name).partition(".")[0] in IDLE_SECTIONS]
    return [*IDLE, *evaluations]
