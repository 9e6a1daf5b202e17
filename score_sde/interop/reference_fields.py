"""The fields of a config of 2021: each is read, known to change nothing here, or an error.

The configs are of Score-SDE in JAX and in PyTorch (Song et al. 2021) and of ScoreFlow
(Song, Durkan et al. 2021).
"""

from collections.abc import Collection, Mapping
from typing import Any

from score_sde.interop.options import Options

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
"""The fields that are options of both DDPM and NCSN++, with the defaults of the published
code.
"""

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
"""Further fields of NCSN++, with their defaults."""

REFINENET = {
    "nf": 128,
    "nonlinearity": "elu",
    "normalization": "InstanceNorm++",
    "interpolation": "bilinear",
}
"""The fields that are options of NCSN and NCSNv2, with their defaults."""

MISSPELT = {"training.continuouse": "training.continuous", "training.loss": "training.sde"}
"""Misspelt fields of published configs (``ncsnv2/bedroom.py`` and ``ncsn/celeba.py``), and
their right names.
"""

IDLE = {
    **dict.fromkeys(
        ("model.attention_type", "model.conv_size", "model.data_init"), "no code of 2021 reads it"
    ),
    **dict.fromkeys(
        ("model.sigma_begin", "model.sigma_end"),
        "no code of 2021 reads it: it reads model.sigma_max",
    ),
    **dict.fromkeys(
        ("deq.n_iters", "deq.ema_rate", "deq.dropout", "deq.offset"),
        "it trains the dequantizer, which has a config of its own here",
    ),
    **dict.fromkeys(
        ("eval.begin_ckpt", "eval.end_ckpt", "eval.ckpt_id"),
        "the flag --checkpoint chooses the checkpoint",
    ),
    **dict.fromkeys(
        ("eval.enable_sampling", "eval.enable_loss", "eval.enable_bpd"),
        "each evaluation is a command of its own",
    ),
    "eval.bpd_dataset": "the flag --split chooses the data",
    "eval.num_samples": "the flag --num_samples sets the number of samples",
    "eval.batch_size": "the number of examples evaluated at a time changes no result",
    "eval.num_repeats": "more repeats give the same expectation with less noise",
    "eval.dsm": "both estimators of the bound have the same expectation",
    "training.n_jitted_steps": "the number of updates per dispatch changes no result",
    "device": "JAX chooses the device",
}
"""Fields that change nothing here, whatever their value, and why."""

DEPENDENT = {
    *(f"model.{name}" for name in {**UNET, **NCSNPP, **REFINENET}),
    "model.sigma_min",
    "model.sigma_max",
    "model.beta_min",
    "model.beta_max",
    "model.scale_by_sigma",
    "model.num_classes",
    "model.trainable_embedding",
    "training.importance_weighting",
    "eval.offset",
    "sampling.predictor",
    "sampling.corrector",
    "sampling.snr",
    "sampling.n_steps_each",
    "sampling.probability_flow",
    "data.category",
    "data.tfrecords_path",
}
"""Fields that only some networks, SDEs, samplers or data sets read, in the published code
and here; for all others they are idle.
"""


def published(fields: Mapping[str, Any]) -> Options:
    """The fields of a published config as options, under their right names.

    >>> published({"training.continuouse": True}).flag("training.continuous")
    True
    """
    right = {name: value for name, value in fields.items() if name not in MISSPELT}
    meant = {MISSPELT[name]: value for name, value in fields.items() if name in MISSPELT}
    return Options(right | meant, any_case=True)


def renamed(
    fields: Options, names: Mapping[str, str], *, whole: Collection[str] = ()
) -> dict[str, int | float]:
    """The given fields among ``names`` by our names of them: numbers, or ``whole`` ones."""
    given = {theirs: ours for theirs, ours in names.items() if theirs in fields}
    return {
        ours: fields.whole(name) if ours in whole else fields.number(name)
        for name, ours in given.items()
    }


def network_options(fields: Options, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network, with ``defaults`` for missing ones."""
    chosen = {name: fields.get(f"model.{name}", default) for name, default in defaults.items()}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()
    }


def check_all_read(fields: Options) -> None:
    """Raise ValueError for a field that was not read and is not known to be idle."""
    fields.finish("the published configs", DEPENDENT | IDLE.keys())
