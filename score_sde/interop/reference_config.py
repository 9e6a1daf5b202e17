"""A config of the 2021 code, its fields as ``section.key``, turned into a config of this package."""

from collections.abc import Callable, Mapping
from typing import Any

from score_sde.naming import did_you_mean

Fields = Mapping[str, Any]

PREDICTORS = {
    "euler_maruyama": "euler_maruyama",
    "reverse_diffusion": "reverse_diffusion",
    "none": "none",
}
"""Predictors by their names of 2021."""

UNET = {
    "nf": 128,
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 2,
    "attn_resolutions": (16,),
    "dropout": 0.1,
    "resamp_with_conv": True,
    "conditional": True,
    "nonlinearity": "swish",
}
"""The fields that are options of DDPM and NCSN++ alike, and what they are where a config is silent."""

NCSNPP = {
    "fir": True,
    "fir_kernel": (1, 3, 3, 1),
    "skip_rescale": True,
    "resblock_type": "biggan",
    "progressive": "none",
    "progressive_input": "none",
    "progressive_combine": "sum",
    "embedding_type": "fourier",
    "fourier_scale": 16.0,
    "init_scale": 0.0,
}

REFINENET = {"nf": 128, "nonlinearity": "elu", "normalization": "InstanceNorm++", "interpolation": "bilinear"}

SIDES = {"cifar10": 32, "svhn": 32, "mnist": 28}
"""Data sets whose images have a size of their own."""

NOT_OPTIONS = {
    *("name", "ema_rate", "normalization", "scale_by_sigma", "sigma_min", "sigma_max", "num_scales", "beta_min"),
    *("beta_max", "attention_type", "conv_size", "sigma_begin", "sigma_end", "num_classes"),
}
"""Fields of ``model`` that are read elsewhere, or by no code of 2021."""


def sections_of_reference(fields: Fields) -> dict[str, dict[str, Any]]:
    """The sections of a config that a published config's ``fields`` come to.

    ``fields`` maps ``model.ch_mult``, ``training.sde``, ``data.centered`` and so on to their values. The result has the
    sections ``sde``, ``model``, ``parameterization``, ``objective``, ``optim``, ``sampling``, ``data``, ``training``
    and ``example``, for what the fields say; the rest is for the defaults.

    Raises:
        ValueError: where a needed field is missing, a value is unknown, or ``model`` has a field that no network here
            knows.
    """
    known = _Fields(fields)
    kind = known.choice("training.sde", ("vpsde", "subvpsde", "vesde"))
    continuous = bool(known.get("training.continuous", True))
    if kind == "subvpsde" and not continuous:
        raise ValueError("training.continuous must be True for training.sde='subvpsde': it has no discrete model")
    num_scales = int(known.number("model.num_scales", 1000))
    sde = _sde(known, kind)
    size, channels = int(known.number("data.image_size")), int(known.number("data.num_channels", 3))
    return {
        "sde": sde,
        "model": _model(known, sde, num_scales),
        "parameterization": _parameterization(sde, continuous=continuous, num_scales=num_scales),
        "objective": _objective(known, sde, continuous=continuous, num_scales=num_scales),
        "optim": known.renamed(
            ("optim.lr", "optim.beta1", "optim.eps", "optim.weight_decay", "optim.warmup", "optim.grad_clip")
        ),
        "sampling": _sampling(known, kind, num_scales),
        "data": _data(known, size),
        "training": _training(known),
        "example": {"shape": (size, size, channels), "num_levels": 256},
    }


class _Fields:
    """The fields, with answers for what is missing or unknown."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields

    def get(self, name: str, default: Any) -> Any:
        return self.fields.get(name, default)

    def need(self, name: str) -> Any:
        if name not in self.fields:
            raise ValueError(f"the reference config lacks {name}{did_you_mean(name, self.fields)}")
        return self.fields[name]

    def number(self, name: str, default: int | float | None = None) -> int | float:
        """A field that must be a number, and must be there if it has no default."""
        value = self.need(name) if default is None else self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, got {value!r}")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = str(self.need(name)).lower()
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}{did_you_mean(value, choices)}")
        return value

    def renamed(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Those of the fields that are given, by the last part of their names."""
        return {name.split(".")[1]: self.fields[name] for name in names if name in self.fields}

    def options(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a network; an unknown field of ``model`` is refused, for it would change the network."""
        given = {name.removeprefix("model."): value for name, value in self.fields.items() if name.startswith("model.")}
        every = {*UNET, *NCSNPP, *REFINENET, *NOT_OPTIONS}
        if unknown := sorted(given.keys() - every):
            hint = did_you_mean(unknown[0], every)
            raise ValueError(f"no network here has the reference's field model.{unknown[0]}{hint}")
        chosen = {name: given.get(name, default) for name, default in defaults.items()}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()}


def _sde(fields: _Fields, kind: str) -> dict[str, Any]:
    if kind == "vesde":
        levels = {name: float(fields.number(f"model.{name}")) for name in ("sigma_min", "sigma_max")}
        return {"name": "ve", **levels, "t_min": 1e-5, "t_max": 1.0}
    betas = {
        "beta_min": float(fields.number("model.beta_min", 0.1)),
        "beta_max": float(fields.number("model.beta_max", 20.0)),
    }
    return {"name": kind.removesuffix("sde"), **betas, "t_min": 1e-3, "t_max": 1.0}


def _objective(fields: _Fields, sde: Mapping[str, Any], *, continuous: bool, num_scales: int) -> dict[str, Any]:
    reduce = "mean" if fields.get("training.reduce_mean", False) else "half_sum"
    likelihood = fields.get("training.likelihood_weighting", False)
    if continuous:
        return {"weighting": "likelihood" if likelihood else "variance", "reduce": reduce}
    if sde["name"] == "ve":
        return {"name": "ncsn", "num_scales": num_scales, "reduce": reduce}
    return {**_ddpm_levels(sde, num_scales), "name": "ddpm", "reduce": reduce}


def _ddpm_levels(sde: Mapping[str, Any], num_scales: int) -> dict[str, Any]:
    return {"num_scales": num_scales, **{key: sde[key] for key in ("beta_min", "beta_max")}}


def _parameterization(sde: Mapping[str, Any], *, continuous: bool, num_scales: int) -> dict[str, Any]:
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


def _model(fields: _Fields, sde: Mapping[str, Any], num_scales: int) -> dict[str, Any]:
    names: dict[str, Callable[[_Fields], dict[str, Any]]] = {
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
    model = {**names[name](fields), "rescale_input": not fields.get("data.centered", False)}
    levels = {"num_scales": num_scales, **{key: sde[key] for key in ("sigma_min", "sigma_max") if key in sde}}
    if name.startswith("ncsn") and name != "ncsnpp":
        return {**model, **levels}
    scaled = bool(fields.get("model.scale_by_sigma", False))
    return {**model, "scale_by_sigma": scaled, **(levels if scaled else {})}


def _sampling(fields: _Fields, kind: str, num_scales: int) -> dict[str, Any]:
    denoise = {"denoise": bool(fields.get("sampling.noise_removal", True))}
    if fields.get("sampling.method", "pc") == "ode":
        return {"name": "probability_flow", "solver": "dopri5", "rtol": 1e-5, "atol": 1e-5, **denoise}
    ancestral = {"ancestral_sampling": "ancestral" if kind == "vesde" else "ancestral_large"}
    predictors = {**PREDICTORS, **ancestral}
    predictor = predictors[fields.choice("sampling.predictor", tuple(predictors))]
    corrector = fields.choice("sampling.corrector", ("none", "langevin", "ald"))
    common = {
        "num_steps": num_scales,
        "grid": "uniform",
        "noise_scale": 0.0 if fields.get("sampling.probability_flow", False) else 1.0,
        **denoise,
    }
    if corrector == "none" and predictor == "euler_maruyama":
        return {"name": "euler_maruyama", **common}
    return {
        "name": "predictor_corrector",
        "predictor": predictor,
        "corrector": {"ald": "annealed_langevin"}.get(corrector, corrector),
        "snr": float(fields.number("sampling.snr", 0.16)),
        "corrector_steps": int(fields.number("sampling.n_steps_each", 1)),
        **common,
    }


def _data(fields: _Fields, image_size: int) -> dict[str, Any]:
    """The data set of this name, or a folder of images for a name that is not known."""
    return {
        **_source(fields, str(fields.get("data.dataset", "images")).lower(), image_size),
        "centered": bool(fields.get("data.centered", False)),
        "dequantize": bool(fields.get("data.uniform_dequantization", False)),
        "flip": bool(fields.get("data.random_flip", False)),
    }


def _source(fields: _Fields, name: str, image_size: int) -> dict[str, Any]:
    if name in SIDES:
        return {"source": name, **({} if image_size == SIDES[name] else {"image_size": image_size})}
    if name == "imagenet":
        return {"source": f"imagenet{image_size}"}
    if name == "lsun":
        return {"source": name, "category": str(fields.need("data.category")), "image_size": image_size}
    if name in ("ffhq", "celebahq"):
        place = {"path": str(fields.need("data.tfrecords_path"))} if "data.tfrecords_path" in fields.fields else {}
        return {"source": name, **place, "image_size": image_size, "num_test": 0}  # all are trained on, as published
    return {"source": name if name == "celeba" else f"folder:data/{name}", "image_size": image_size}


def _training(fields: _Fields) -> dict[str, Any]:
    names = {
        "training.n_iters": "num_steps",
        "training.batch_size": "batch_size",
        "training.log_freq": "log_every",
        "training.eval_freq": "eval_every",
        "training.snapshot_freq_for_preemption": "checkpoint_every",
        "training.snapshot_freq": "sample_every",
        "model.ema_rate": "ema_decay",
    }
    found = {ours: fields.fields[theirs] for theirs, ours in names.items() if theirs in fields.fields}
    return {**found, "ema_warmup": False}
