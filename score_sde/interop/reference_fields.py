"""The fields of a config of 2021: each is read, is known to change nothing here, or is refused.

The fields are those of Score-SDE in JAX and in PyTorch (Song et al. 2021) and of
ScoreFlow (Song, Durkan et al. 2021).
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from score_sde.runtime.naming import did_you_mean

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
"""The fields that are options of DDPM and NCSN++ alike, and what they are where a
config is silent.
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

REFINENET = {
    "nf": 128,
    "nonlinearity": "elu",
    "normalization": "InstanceNorm++",
    "interpolation": "bilinear",
}

MISSPELT = {"training.continuouse": "training.continuous", "training.loss": "training.sde"}
"""Fields that published configs misspell (``ncsnv2/bedroom.py`` and
``ncsn/celeba.py``), and what they mean.
"""

IDLE = {
    **dict.fromkeys(
        ("model.attention_type", "model.conv_size", "model.data_init"), "no code of 2021 reads it"
    ),
    **dict.fromkeys(
        ("model.sigma_begin", "model.sigma_end"),
        "no code of 2021 reads it, for it reads model.sigma_max",
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
    "eval.num_samples": "the flag --num_samples says how many samples are drawn",
    "eval.batch_size": "how many examples are evaluated at a time changes no result",
    "eval.num_repeats": "more repeats give the same expectation with less noise",
    "eval.dsm": "both estimators of the bound have the same expectation",
    "training.n_jitted_steps": "how many updates are one dispatch changes no result",
    "device": "JAX chooses the device",
}
"""Fields that change nothing here, whatever their value, and why."""

DEPENDENT = {
    *(f"model.{name}" for name in {**UNET, **NCSNPP, **REFINENET}),
    *(
        "model.sigma_min",
        "model.sigma_max",
        "model.beta_min",
        "model.beta_max",
        "model.scale_by_sigma",
    ),
    *(
        "model.num_classes",
        "model.trainable_embedding",
        "training.importance_weighting",
        "eval.offset",
    ),
    *("sampling.predictor", "sampling.corrector", "sampling.snr", "sampling.n_steps_each"),
    *("sampling.probability_flow", "data.category", "data.tfrecords_path"),
}
"""Fields that only some networks, SDEs, samplers or data sets read, there as here: for
all others they are idle.
"""


class Fields:
    """The fields of a config, with errors for missing or wrong ones; it records which were read."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        meant = {MISSPELT[name]: value for name, value in fields.items() if name in MISSPELT}
        self.fields = {
            name: value for name, value in fields.items() if name not in MISSPELT
        } | meant
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def get(self, name: str, default: Any) -> Any:
        """A field, or ``default`` where it is missing."""
        self._read.add(name)
        return self.fields.get(name, default)

    def need(self, name: str) -> Any:
        """A field that must be there."""
        if name not in self.fields:
            raise ValueError(f"the reference config lacks {name}{did_you_mean(name, self.fields)}")
        return self.get(name, None)

    def number(self, name: str, default: int | float | None = None) -> int | float:
        """A field that must be a finite number, and must be there if it has no default."""
        value = self.need(name) if default is None else self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, got {value!r:.100}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value!r:.100}")
        return value

    def whole(self, name: str, default: int | None = None) -> int:
        """A field that must be a whole number."""
        value = self.number(name, default)
        if value != int(value):
            raise ValueError(f"{name} must be a whole number, got {value!r:.100}")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """A field that must be True or False."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {value!r:.100}")
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """A field that must be one of ``choices``, in any case."""
        value = str(self.need(name) if default is None else self.get(name, default)).lower()
        if value not in choices:
            raise ValueError(
                f"{name} must be one of {', '.join(choices)}, got "
                f"{value!r:.100}{did_you_mean(value, choices)}"
            )
        return value

    def require(self, name: str, wanted: Any, why: str) -> None:
        """Refuse a given field whose value is not ``wanted``."""
        value = self.get(name, wanted)
        if value != wanted or isinstance(value, bool) is not isinstance(wanted, bool):
            raise ValueError(f"{name} must be {wanted!r}, got {value!r:.100}: {why}")

    def renamed(
        self, names: Mapping[str, str], *, whole: Collection[str] = ()
    ) -> dict[str, int | float]:
        """The given fields among ``names`` by our names of them: numbers, or ``whole`` ones."""
        given = {theirs: ours for theirs, ours in names.items() if theirs in self.fields}
        return {
            ours: self.whole(name) if ours in whole else self.number(name)
            for name, ours in given.items()
        }

    def options(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a network, with ``defaults`` for missing ones."""
        chosen = {name: self.get(f"model.{name}", default) for name, default in defaults.items()}
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in chosen.items()
        }

    def check_all_read(self) -> None:
        """Refuse a field that was not read and is not known to be idle: it would change
        the result unnoticed.

        Raises:
            ValueError: it names the first such field, and the known one nearest to it.
        """
        left = sorted(set(self.fields) - self._read - DEPENDENT - IDLE.keys())
        if not left:
            return
        known = {*self._read, *DEPENDENT, *IDLE}
        what = (
            "no network here has the reference's field"
            if left[0].startswith("model.")
            else "unknown field"
        )
        raise ValueError(f"{what} {left[0]}{did_you_mean(left[0], known)}")
