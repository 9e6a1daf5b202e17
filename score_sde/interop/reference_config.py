"""A config of the 2021 code, its fields as ``section.key``, turned into a config of
this package.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from score_sde.interop.reference_fields import NCSNPP, REFINENET, UNET, Fields
from score_sde.sdes import SDE, VESDE, VPSDE, SubVPSDE

PREDICTORS = {
    "euler_maruyama": "euler_maruyama",
    "reverse_diffusion": "reverse_diffusion",
    "none": "none",
}
"""Predictors by their names of 2021."""

SIDES = {"cifar10": 32, "svhn": 32, "mnist": 28}
"""Data sets whose images have a size of their own."""

SDES: Mapping[str, type[SDE]] = {"vp": VPSDE, "subvp": SubVPSDE, "ve": VESDE}
"""The SDEs of 2021 by our names."""

OPTIM = ("lr", "beta1", "eps", "weight_decay", "warmup", "grad_clip")
"""The fields of ``optim`` that are keys of ours."""


def sections_of_reference(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a config that a published config's ``fields`` come to.

    ``fields`` maps ``model.ch_mult``, ``training.sde``, ``data.centered`` and so on to
    their values. The result has the sections ``sde``, ``model``, ``parameterization``,
    ``objective``, ``optim``, ``sampling``, ``data``, ``training``, ``eval`` and
    ``example``, for what the fields say; the rest is for the defaults. Every field is
    read, or is one of `score_sde.interop.reference_fields.IDLE`, or is refused.

    ScoreFlow has two smallest times: that of sampling is ``sde.t_min``, that of
    training is both the first time of the objective and the time at which likelihoods
    take the data to live.

    Raises:
        ValueError: where a needed field is missing, a value is unknown, or a field is
            unknown.
    """
    known = Fields(fields)
    kind = known.choice("training.sde", ("vpsde", "subvpsde", "vesde"))
    continuous = known.flag("training.continuous", True)
    if kind == "subvpsde" and not continuous:
        raise ValueError(
            "training.continuous must be True for training.sde='subvpsde': it has no discrete model"
        )
    num_scales = known.whole("model.num_scales", 1000)
    sde = _sde(known, kind)
    size, channels = known.whole("data.image_size"), known.whole("data.num_channels", 3)
    known.require("data.channels", channels, "data.num_channels is the same")
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
    known.get("seed", 0)  # which belongs to no section
    known.check_all_read()
    return sections


def _sde(fields: Fields, kind: str) -> dict[str, Any]:
    """The SDE, whose ``t_min`` is where sampling ends."""
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
    fields: Fields, sde: Mapping[str, Any], *, continuous: bool, num_scales: int
) -> dict[str, Any]:
    reduce = "mean" if fields.flag("training.reduce_mean", False) else "half_sum"
    likelihood = fields.flag("training.likelihood_weighting", False)
    t_min = float(fields.number("training.smallest_time", 1e-5))
    if continuous:
        # Importance weighting is that of the likelihood weighting, and nothing without
        # it.
        importance = likelihood and fields.flag("training.importance_weighting", False)
        times = {"name": "importance" if importance else "uniform", "t_min": t_min}
        return {
            "weighting": "likelihood" if likelihood else "variance",
            "reduce": reduce,
            "time_sampling": times,
        }
    if likelihood:
        raise ValueError(
            "training.likelihood_weighting must be False where training.continuous is False"
        )
    if sde["name"] == "ve":
        return {"name": "ncsn", "num_scales": num_scales, "reduce": reduce}
    return {**_ddpm_levels(sde, num_scales), "name": "ddpm", "reduce": reduce}


def _ddpm_levels(sde: Mapping[str, Any], num_scales: int) -> dict[str, Any]:
    return {"num_scales": num_scales, **{key: sde[key] for key in ("beta_min", "beta_max")}}


def _optim(fields: Fields, sde: Mapping[str, Any], objective: Mapping[str, Any]) -> dict[str, Any]:
    """Adam, whose ``eps`` and ``grad_clip`` grow with the loss, so that its updates are
    those of 2021.

    With importance weighting the loss here estimates that of uniform times; ScoreFlow
    leaves out the constant factor ``(log_snr(t_min) - log_snr(t_max)) / (t_max -
    t_min)`` of the weight.
    """
    fields.choice("optim.optimizer", ("adam",), "Adam")
    fields.require("optim.amsgrad", False, "the optimizer here is Adam without AMSGrad")
    found = fields.renamed({f"optim.{name}": name for name in OPTIM}, whole=("warmup",))
    times = objective.get("time_sampling", {})
    if times.get("name") != "importance":
        return found
    made = SDES[sde["name"]](**{key: value for key, value in sde.items() if key != "name"})
    factor = float(made.log_snr(times["t_min"]) - made.log_snr(made.t_max)) / (
        made.t_max - times["t_min"]
    )
    if not (math.isfinite(factor) and factor > 0.0):
        raise ValueError(f"training.smallest_time must lie between 0 and 1, got {times['t_min']}")
    grown = {
        "eps": factor * fields.number("optim.eps", 1e-8),
        "grad_clip": factor * fields.number("optim.grad_clip", 1),
    }
    return {**found, **grown}


def _parameterization(
    sde: Mapping[str, Any], *, continuous: bool, num_scales: int
) -> dict[str, Any]:
    """What the network is told and predicts: the reference decides both by the SDE."""
    if sde["name"] == "ve":
        return (
            {"name": "score", "time_label": "noise_level"}
            if continuous
            else {"name": "discrete_score", "num_scales": num_scales}
        )
    if continuous:
        return {"name": "noise", "time_label": "scaled_time"}
    return {"name": "discrete_noise", **_ddpm_levels(sde, num_scales)}


def _model(fields: Fields, sde: Mapping[str, Any], num_scales: int) -> dict[str, Any]:
    _check_network(fields, sde, num_scales)
    names: dict[str, Callable[[Fields], dict[str, Any]]] = {
        "ddpm": lambda fields: {"name": "ddpm", **fields.options(UNET), "num_groups": 32},
        "ncsnpp": lambda fields: {"name": "ncsnpp", **fields.options({**UNET, **NCSNPP})},
        "ncsn": lambda fields: {"name": "ncsn", **fields.options(REFINENET)},
        **{
            f"ncsnv2_{size}": lambda fields, size=size: {
                "name": "ncsnv2",
                **fields.options(REFINENET),
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


def _check_network(fields: Fields, sde: Mapping[str, Any], num_scales: int) -> None:
    """Refuse what a network of that name is there, and is not here."""
    fields.get("model.ema_rate", None)  # which is read with the training
    name = fields.get("model.name", None)
    if name == "ddpm":
        fields.require("model.normalization", "GroupNorm", "the network ddpm here has no other")
    if name == "ncsn":
        fields.require(
            "model.num_classes",
            num_scales,
            "the classes of ncsn are its model.num_scales noise levels",
        )
    if name != "ncsnpp" or "model.trainable_embedding" not in fields:
        return
    # The field says that the config is of ScoreFlow, whose Fourier features are those
    # of the time itself.
    if str(fields.get("model.embedding_type", NCSNPP["embedding_type"])).lower() == "fourier":
        fields.require(
            "model.trainable_embedding", False, "the Fourier features here are never trained"
        )
        if sde["name"] != "ve":
            raise ValueError(
                "model.embedding_type must be 'positional' for a VP or sub-VP model of ScoreFlow, "
                "got 'fourier': "
                "the Fourier features here are those of a noise level's logarithm, there of the "
                "time"
            )


def _sampling(fields: Fields, kind: str, num_scales: int) -> dict[str, Any]:
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


def _data(fields: Fields, image_size: int) -> dict[str, Any]:
    """The data set of this name, or a folder of images for a name that is not known."""
    return {
        **_source(fields, str(fields.get("data.dataset", "images")).lower(), image_size),
        "centered": fields.flag("data.centered", False),
        "dequantize": fields.flag("data.uniform_dequantization", False),
        "flip": fields.flag("data.random_flip", False),
    }


def _source(fields: Fields, name: str, image_size: int) -> dict[str, Any]:
    if name in SIDES:
        return {"source": name, **({} if image_size == SIDES[name] else {"image_size": image_size})}
    if name == "imagenet":
        return {"source": f"imagenet{image_size}"}
    if name == "lsun":
        if "data.tfrecords_path" in fields:
            raise ValueError(
                "data.tfrecords_path: LSUN is read from its pictures or databases, not from "
                "TFRecords"
            )
        return {
            "source": name,
            "category": str(fields.need("data.category")),
            "image_size": image_size,
        }
    if name in ("ffhq", "celebahq"):
        place = (
            {"path": str(fields.need("data.tfrecords_path"))}
            if "data.tfrecords_path" in fields
            else {}
        )
        return {
            "source": name,
            **place,
            "image_size": image_size,
            "num_test": 0,
        }  # all are trained on, as published
    return {"source": name if name == "celeba" else f"folder:data/{name}", "image_size": image_size}


def _training(fields: Fields) -> dict[str, Any]:
    found = fields.renamed(
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


def _evaluation(fields: Fields) -> dict[str, Any]:
    """What ScoreFlow says of likelihoods; where the data live is a field of its training."""
    found: dict[str, Any] = {"t_min": float(fields.number("training.smallest_time", 1e-5))}
    if fields.flag("eval.dequantizer", False):
        raise ValueError(
            "eval.dequantizer must be False: train a dequantizer by score-sde train-dequantizer, "
            "and give its folder to score-sde likelihood as --dequantizer"
        )
    if fields.flag("eval.bound", False):
        fields.require("eval.offset", True, "without it the result is no bound")
        found["bound"] = {"name": "variational"}
    return found
