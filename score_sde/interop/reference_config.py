"""The sections of a config from the fields ``section.key`` of a config of the 2021 code."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from score_sde.checks import fail, require
from score_sde.interop.options import Options
from score_sde.interop.reference_fields import (
    NCSNPP,
    REFINENET,
    UNET,
    check_all_read,
    network_options,
    published,
    renamed,
)
from score_sde.sdes import SDE, VESDE, VPSDE, SubVPSDE

PREDICTORS = {
    "euler_maruyama": "euler_maruyama",
    "reverse_diffusion": "reverse_diffusion",
    "none": "none",
}
"""Predictors by their names of 2021."""

SIDES = {"cifar10": 32, "svhn": 32, "mnist": 28}
"""Data sets of images of one size, and its side in pixels."""

SDES: Mapping[str, type[SDE]] = {"vp": VPSDE, "subvp": SubVPSDE, "ve": VESDE}
"""The SDEs of 2021 by our names."""

OPTIM = ("lr", "beta1", "eps", "weight_decay", "warmup", "grad_clip")
"""The fields of ``optim`` that have the same names here."""


def sections_of_reference(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a config with the meaning of a published config.

    ``fields`` maps ``model.ch_mult``, ``training.sde``, ``data.centered`` and so on to
    their values. The result has the sections ``sde``, ``model``, ``parameterization``,
    ``objective``, ``optim``, ``sampling``, ``data``, ``training``, ``eval`` and
    ``example``, with the keys that the fields decide; the others have their defaults.
    Every field is read, or is one of `score_sde.interop.reference_fields.IDLE`, or is an
    error.

    ScoreFlow has two smallest times. ``sampling.smallest_time`` becomes ``sde.t_min``;
    ``training.smallest_time`` becomes the first time both of the objective and of
    likelihoods (``eval.t_min``).

    Raises:
        ValueError: where a required field is missing, or a field or a value is unknown.
    """
    known = published(fields)
    kind = known.choice("training.sde", ("vpsde", "subvpsde", "vesde"))
    continuous = known.flag("training.continuous", True)
    require(
        kind != "subvpsde" or continuous,
        "training.continuous must be True for training.sde='subvpsde': it has no discrete model",
    )
    num_scales = known.whole("model.num_scales", 1000)
    sde = _sde(known, kind)
    size, channels = known.whole("data.image_size"), known.whole("data.num_channels", 3)
    known.only("data.channels", channels, because="as data.num_channels")
    objective = _objective(known, sde, continuous=continuous, num_scales=num_scales)
    sections = {
        "sde": sde,
        "model": _model(known, sde, num_scales),
        "parameterization": _parameterization(sde, continuous=continuous, num_scales=num_scales),
        "objective": objective,
        "optim": _optim(known, sde, objective),
        "sampling": _sampling(known, kind, num_scales),
        "data": _data(known, size),
        "training": _training(known),
        "eval": _evaluation(known),
        "example": {"shape": (size, size, channels), "num_levels": 256},
    }
    known.get("seed")  # belongs to no section
    check_all_read(known)
    return sections


def _sde(fields: Options, kind: str) -> dict[str, Any]:
    """The SDE; its ``t_min`` is the last time of sampling."""
    t_min = float(fields.number("sampling.smallest_time", 1e-5 if kind == "vesde" else 1e-3))
    if kind == "vesde":
        levels = {
            name: float(fields.number(f"model.{name}")) for name in ("sigma_min", "sigma_max")
        }
        return {"name": "ve", **levels, "t_min": t_min, "t_max": 1.0}
    betas = {
        "beta_min": float(fields.number("model.beta_min", 0.1)),
        "beta_max": float(fields.number("model.beta_max", 20.0)),
    }
    return {"name": kind.removesuffix("sde"), **betas, "t_min": t_min, "t_max": 1.0}


def _objective(
    fields: Options, sde: Mapping[str, Any], *, continuous: bool, num_scales: int
) -> dict[str, Any]:
    reduce = "mean" if fields.flag("training.reduce_mean", False) else "half_sum"
    likelihood = fields.flag("training.likelihood_weighting", False)
    t_min = float(fields.number("training.smallest_time", 1e-5))
    if continuous:
        # Without the likelihood weighting, importance weighting does nothing.
        importance = likelihood and fields.flag("training.importance_weighting", False)
        times = {"name": "importance" if importance else "uniform", "t_min": t_min}
        return {
            "weighting": "likelihood" if likelihood else "variance",
            "reduce": reduce,
            "time_sampling": times,
        }
    require(
        not likelihood,
        "training.likelihood_weighting must be False where training.continuous is False",
    )
    if sde["name"] == "ve":
        return {"name": "ncsn", "num_scales": num_scales, "reduce": reduce}
    return {**_ddpm_levels(sde, num_scales), "name": "ddpm", "reduce": reduce}


def _ddpm_levels(sde: Mapping[str, Any], num_scales: int) -> dict[str, Any]:
    return {"num_scales": num_scales, **{key: sde[key] for key in ("beta_min", "beta_max")}}


def _optim(fields: Options, sde: Mapping[str, Any], objective: Mapping[str, Any]) -> dict[str, Any]:
    """Adam with the updates of the published code.

    With importance weighting the loss here estimates the loss of uniform times; ScoreFlow
    omits the constant factor ``(log_snr(t_min) - log_snr(t_max)) / (t_max - t_min)`` of
    the weight. ``eps`` and ``grad_clip`` are scaled by this factor, as the loss is.
    """
    fields.choice("optim.optimizer", ("adam",), "Adam")
    fields.only("optim.amsgrad", False, because="the optimizer here is Adam without AMSGrad")
    found = renamed(fields, {f"optim.{name}": name for name in OPTIM}, whole=("warmup",))
    times = objective.get("time_sampling", {})
    if times.get("name") != "importance":
        return found
    made = SDES[sde["name"]](**{key: value for key, value in sde.items() if key != "name"})
    factor = float(made.log_snr(times["t_min"]) - made.log_snr(made.t_max)) / (
        made.t_max - times["t_min"]
    )
    if not 0.0 < factor < math.inf:
        fail("training.smallest_time", times["t_min"], "between 0 and 1, both excluded")
    grown = {
        "eps": factor * fields.number("optim.eps", 1e-8),
        "grad_clip": factor * fields.number("optim.grad_clip", 1),
    }
    return {**found, **grown}


def _parameterization(
    sde: Mapping[str, Any], *, continuous: bool, num_scales: int
) -> dict[str, Any]:
    """The prediction of the network and its time label; in the published code the SDE
    decides both.
    """
    if sde["name"] == "ve":
        return (
            {"name": "score", "time_label": "noise_level"}
            if continuous
            else {"name": "discrete_score", "num_scales": num_scales}
        )
    if continuous:
        return {"name": "noise", "time_label": "scaled_time"}
    return {"name": "discrete_noise", **_ddpm_levels(sde, num_scales)}


def _model(fields: Options, sde: Mapping[str, Any], num_scales: int) -> dict[str, Any]:
    _check_network(fields, sde, num_scales)
    names: dict[str, Callable[[Options], dict[str, Any]]] = {
        "ddpm": lambda fields: {"name": "ddpm", **network_options(fields, UNET), "num_groups": 32},
        "ncsnpp": lambda fields: {"name": "ncsnpp", **network_options(fields, {**UNET, **NCSNPP})},
        "ncsn": lambda fields: {"name": "ncsn", **network_options(fields, REFINENET)},
        **{
            f"ncsnv2_{size}": lambda fields, size=size: {
                "name": "ncsnv2",
                **network_options(fields, REFINENET),
                "resolution": size,
            }
            for size in (64, 128, 256)
        },
    }
    name = fields.choice("model.name", tuple(names))
    model = {**names[name](fields), "rescale_input": not fields.flag("data.centered", False)}
    levels = {
        "num_scales": num_scales,
        **{key: sde[key] for key in ("sigma_min", "sigma_max") if key in sde},
    }
    if name.startswith("ncsn") and name != "ncsnpp":
        return {**model, **levels}
    scaled = fields.flag("model.scale_by_sigma", False)
    return {**model, "scale_by_sigma": scaled, **(levels if scaled else {})}


def _check_network(fields: Options, sde: Mapping[str, Any], num_scales: int) -> None:
    """Raise ValueError for networks of the published code that are not supported here."""
    fields.get("model.ema_rate")  # read with the training
    name = fields.get("model.name")
    if name == "ddpm":
        fields.only("model.normalization", "GroupNorm", because="the only one of ddpm here")
    if name == "ncsn":
        because = "the classes of ncsn are its model.num_scales noise levels"
        fields.only("model.num_classes", num_scales, because=because)
    if name != "ncsnpp" or "model.trainable_embedding" not in fields:
        return
    # Only configs of ScoreFlow have the field; its Fourier features are of the time.
    if str(fields.get("model.embedding_type", NCSNPP["embedding_type"])).lower() == "fourier":
        because = "the Fourier features here are never trained"
        fields.only("model.trainable_embedding", False, because=because)
        require(
            sde["name"] == "ve",
            "model.embedding_type='fourier' must be 'positional' for a VP or sub-VP model of "
            "ScoreFlow: the Fourier features here are of the logarithm of the noise level, there "
            "of the time",
        )


def _sampling(fields: Options, kind: str, num_scales: int) -> dict[str, Any]:
    denoise = {"denoise": fields.flag("sampling.noise_removal", True)}
    if fields.choice("sampling.method", ("pc", "ode"), "pc") == "ode":
        return {
            "name": "probability_flow",
            "solver": "dopri5",
            "rtol": 1e-5,
            "atol": 1e-5,
            **denoise,
        }
    ancestral = {"ancestral_sampling": "ancestral" if kind == "vesde" else "ancestral_large"}
    predictors = {**PREDICTORS, **ancestral}
    predictor = predictors[fields.choice("sampling.predictor", tuple(predictors))]
    corrector = fields.choice("sampling.corrector", ("none", "langevin", "ald"))
    common = {
        "num_steps": num_scales,
        "grid": "uniform",
        "noise_scale": 0.0 if fields.flag("sampling.probability_flow", False) else 1.0,
        **denoise,
    }
    if corrector == "none" and predictor == "euler_maruyama":
        return {"name": "euler_maruyama", **common}
    return {
        "name": "predictor_corrector",
        "predictor": predictor,
        "corrector": {"ald": "annealed_langevin"}.get(corrector, corrector),
        "snr": float(fields.number("sampling.snr", 0.16)),
        "corrector_steps": fields.whole("sampling.n_steps_each", 1),
        **common,
    }


def _data(fields: Options, image_size: int) -> dict[str, Any]:
    """The data set of this name, or a folder of images for an unknown name."""
    return {
        **_source(fields, str(fields.get("data.dataset", "images")).lower(), image_size),
        "centered": fields.flag("data.centered", False),
        "dequantize": fields.flag("data.uniform_dequantization", False),
        "flip": fields.flag("data.random_flip", False),
    }


def _source(fields: Options, name: str, image_size: int) -> dict[str, Any]:
    if name in SIDES:
        return {"source": name, **({} if image_size == SIDES[name] else {"image_size": image_size})}
    if name == "imagenet":
        return {"source": f"imagenet{image_size}"}
    if name == "lsun":
        require(
            "data.tfrecords_path" not in fields,
            "data.tfrecords_path: LSUN is read from its images or databases, not from TFRecords",
        )
        category = str(fields["data.category"])
        return {"source": name, "category": category, "image_size": image_size}
    if name in ("ffhq", "celebahq"):
        has_path = "data.tfrecords_path" in fields
        place = {"path": str(fields["data.tfrecords_path"])} if has_path else {}
        # The published code trains on all images.
        return {"source": name, **place, "image_size": image_size, "num_test": 0}
    return {"source": name if name == "celeba" else f"folder:data/{name}", "image_size": image_size}


def _training(fields: Options) -> dict[str, Any]:
    found = renamed(
        fields,
        {
            "training.n_iters": "num_steps",
            "training.batch_size": "batch_size",
            "training.log_freq": "log_every",
            "training.eval_freq": "eval_every",
            "training.snapshot_freq_for_preemption": "checkpoint_every",
            "training.snapshot_freq": "sample_every",
            "model.ema_rate": "ema_decay",
        },
        whole=(
            "num_steps",
            "batch_size",
            "log_every",
            "eval_every",
            "checkpoint_every",
            "sample_every",
        ),
    )
    never = {} if fields.flag("training.snapshot_sampling", True) else {"sample_every": 0}
    return {**found, **never, "ema_warmup": False}


def _evaluation(fields: Options) -> dict[str, Any]:
    """The options of ScoreFlow for likelihoods; their first time is a field of its training."""
    found: dict[str, Any] = {"t_min": float(fields.number("training.smallest_time", 1e-5))}
    require(
        not fields.flag("eval.dequantizer", False),
        "eval.dequantizer must be False: train a dequantizer by score-sde train-dequantizer, and "
        "give its folder to score-sde likelihood as --dequantizer",
    )
    if fields.flag("eval.bound", False):
        fields.only("eval.offset", True, because="without it the result is no bound")
        found["bound"] = {"name": "variational"}
    return found
