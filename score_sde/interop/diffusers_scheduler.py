"""The schedulers of diffusers: the noise process that a network was trained for, and
how samples are drawn.

Every key of a scheduler's config is used, known to be idle, or refused.
"""

from collections.abc import Mapping
from typing import Any

from score_sde.sdes.discretization import MAX_LEVELS, scheduled_betas

Options = Mapping[str, Any]
Sections = dict[str, dict[str, Any]]

FILE = "scheduler_config.json"

BETAS = {
    **dict.fromkeys(
        [
            *(
                "DDPMScheduler",
                "DDPMParallelScheduler",
                "DDIMScheduler",
                "DDIMParallelScheduler",
                "PNDMScheduler",
            ),
            *(
                "DPMSolverMultistepScheduler",
                "DPMSolverSinglestepScheduler",
                "DEISMultistepScheduler",
            ),
            *("UniPCMultistepScheduler", "SASolverScheduler", "LMSDiscreteScheduler"),
            *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        ],
        (1e-4, 0.02),
    ),
    **dict.fromkeys(
        [
            *("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
            "DPMSolverSDEScheduler",
        ],
        (0.00085, 0.012),
    ),
}
"""The schedulers of the discrete VP process, which all train alike; and their default
``beta_start, beta_end``.
"""

VE = "ScoreSdeVeScheduler"

SCHEDULES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
}
PREDICTIONS = {"epsilon": "noise", "v_prediction": "v", "sample": "denoised"}
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
}

IDLE = {
    "_class_name",
    "_diffusers_version",
    "_use_default_values",
    "tensor_format",
    "format",
    "name",
}
"""Keys that describe the file, or the arrays of another version of the library."""

ONE_VALUE: Mapping[str, Any] = {
    "thresholding": False,
    "timestep_type": "discrete",
    "use_dynamic_shifting": False,
    "use_flow_sigmas": False,
}
"""Keys that would change the process or the images, with the value at which they do nothing."""

OF_ONE_VALUE = {
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "flow_shift",
    "time_shift_type",
    "shift_terminal",
}
"""Keys that matter only where those of `ONE_VALUE` have other values."""

OWN_SAMPLER = {
    *(
        "algorithm_type",
        "clip_sample",
        "clip_sample_range",
        "corrector_order",
        "disable_corrector",
        "euler_at_final",
    ),
    *(
        "final_sigmas_type",
        "interpolation_type",
        "lambda_min_clipped",
        "lower_order_final",
        "noise_sampler_seed",
    ),
    *(
        "predict_x0",
        "predictor_order",
        "set_alpha_to_one",
        "sigma_max",
        "sigma_min",
        "skip_prk_steps",
        "solver_order",
    ),
    *("solver_p", "solver_type", "steps_offset", "tau_func", "timestep_spacing", "use_beta_sigmas"),
    *("use_exponential_sigmas", "use_karras_sigmas", "use_lu_lambdas", "variance_type"),
}
"""Keys of samplers, idle where the sampler of the config draws in place of theirs, or
is of another scheduler.
"""


def ve_fields(
    options: Options | None, image_size: int, largest: Mapping[int, float]
) -> dict[str, Any]:
    """The continuous VE model of NCSN++, as fields of a published config.

    Args:
        options: those of the scheduler, or None where there is none.
        image_size: the side of an image.
        largest: ``sigma_max`` by the size of the images, where there is no scheduler.

    Raises:
        ValueError: an option that is unknown, or no option of the VE process.
    """
    taken = _Taken(options or {})
    if options is not None and (name := taken.get("_class_name", VE)) != VE:
        raise ValueError(
            f"the network has a Fourier embedding, which goes with {VE}, not with {name!r:.100}"
        )
    nearest = min(largest, key=lambda size: abs(size - image_size))
    sigma_min = taken.number("sigma_min", 0.01)
    sigma_max = taken.number("sigma_max", largest[nearest] if options is None else 1348.0)
    fields = {
        "training.sde": "vesde",
        "training.continuous": True,
        "model.num_scales": taken.whole("num_train_timesteps", 2000),
        "model.sigma_min": sigma_min,
        "model.sigma_max": sigma_max,
        "sampling.predictor": "reverse_diffusion",
        "sampling.corrector": "langevin",
        "sampling.snr": taken.number("snr", 0.15),
        "sampling.n_steps_each": taken.whole("correct_steps", 1),
    }
    taken.only("sampling_eps", 1e-5)
    taken.finish()
    return fields


def vp_sections(options: Options) -> Sections:
    """The discrete VP model: the sections ``sde``, ``parameterization``, ``objective``,
    ``sampling`` and ``eval``.

    Raises:
        ValueError: in one line, for a scheduler of another process, or an option that
            is unknown or out of range.
    """
    taken = _Taken(options)
    name = taken.get("_class_name", "DDPMScheduler")
    if name == VE:
        raise ValueError(
            f"{VE} goes with a network of a Fourier embedding, and this one has another"
        )
    if name not in BETAS:
        raise ValueError(
            f"the scheduler {name!r:.100} is of another process than those read: {VE}, "
            f"{', '.join(BETAS)}"
        )
    levels = _levels(taken)
    sde = {"name": "discrete_vp", **_schedule(taken, name, levels), "t_min": 1.0 / levels}
    prediction = _prediction(taken)
    zero = taken.choice("rescale_betas_zero_snr", {False: False, True: True}, False)
    if zero and prediction == "noise":
        raise ValueError(
            "rescale_betas_zero_snr=True needs prediction_type 'v_prediction' or 'sample'"
        )
    sde |= {"zero_terminal_snr": zero, "t_max": (levels - 1) / levels if zero else 1.0}
    for key, value in ONE_VALUE.items():
        taken.only(key, value)
    taken.ignore(OF_ONE_VALUE)
    sampling = _sampling(taken, name, levels)
    taken.finish()
    return {
        "sde": sde,
        "parameterization": {
            "name": prediction,
            "time_label": {"name": "step_index", "num_scales": levels},
        },
        "objective": {
            "name": "denoising",
            "weighting": "variance",
            "reduce": "mean",
            "time_sampling": {"name": "uniform", "t_min": 1.0 / levels},
        },
        "sampling": sampling,
        "eval": {"t_min": 1.0 / levels},
    }


class _Taken:
    """Options that record which of them have been read."""

    def __init__(self, options: Options) -> None:
        self.options, self.known = options, set(IDLE)

    def given(self, name: str, default: Any) -> Any:
        self.known.add(name)
        return self.options.get(name, default)

    def get(self, name: str, default: Any) -> Any:
        """An option that may be null in the file, for its default."""
        value = self.given(name, default)
        return default if value is None else value

    def number(self, name: str, default: float) -> float:
        value = self.given(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, got {value!r:.100}")
        return float(value)

    def whole(self, name: str, default: int) -> int:
        value = self.given(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_LEVELS:
            raise ValueError(
                f"{name} must be a whole number from 0 to {MAX_LEVELS}, got {value!r:.100}"
            )
        return value

    def choice(self, name: str, choices: Mapping[Any, Any], default: Any) -> Any:
        value = self.given(name, default)
        if not isinstance(value, str | bool) or value not in choices:
            known = ", ".join(repr(choice) for choice in choices)
            raise ValueError(f"{name}={value!r:.100} is none that can be read, only {known}")
        return choices[value]

    def only(self, name: str, wanted: Any) -> None:
        value = self.given(name, wanted)
        if value != wanted or isinstance(value, bool) != isinstance(wanted, bool):
            raise ValueError(
                f"{name}={value!r:.100} is none that can be read, only {wanted!r:.100}"
            )

    def ignore(self, names: set[str]) -> None:
        self.known |= names

    def finish(self) -> None:
        if unknown := sorted(str(name) for name in self.options.keys() - self.known):
            raise ValueError(
                f"{unknown[0]}={self.options[unknown[0]]!r:.100} is an unknown option of this "
                "scheduler"
            )


def _levels(taken: _Taken) -> int:
    old, new = taken.get("timesteps", None), taken.get("num_train_timesteps", None)
    if old is not None and new is not None and old != new:
        raise ValueError(
            f"num_train_timesteps={new!r:.100} and timesteps={old!r:.100}, its old name, differ"
        )
    levels = taken.whole("num_train_timesteps" if old is None else "timesteps", 1000)
    if levels < 2:
        raise ValueError(f"num_train_timesteps must be at least 2, got {levels}")
    return levels


def _schedule(taken: _Taken, name: str, levels: int) -> dict[str, Any]:
    default_start, default_end = BETAS[name]
    found = {
        "schedule": taken.choice("beta_schedule", SCHEDULES, "linear"),
        "num_scales": levels,
        "beta_start": taken.number("beta_start", default_start),
        "beta_end": taken.number("beta_end", default_end),
    }
    scheduled_betas(
        found["schedule"], levels, beta_start=found["beta_start"], beta_end=found["beta_end"]
    )
    betas = taken.get("trained_betas", None)
    if betas is None:
        return found
    if not isinstance(betas, list) or not all(
        isinstance(beta, float) and 0.0 < beta < 1.0 for beta in betas
    ):
        raise ValueError("trained_betas must be a list of numbers between 0 and 1")
    if len(betas) != levels:
        raise ValueError(
            f"trained_betas has {len(betas)} numbers where num_train_timesteps={levels}"
        )
    return {**found, "betas": tuple(betas)}


def _prediction(taken: _Taken) -> str:
    """The parameterization; ``predict_epsilon`` is the old way to choose between noise
    and image.
    """
    old = taken.choice("predict_epsilon", {True: "epsilon", False: "sample"}, True)
    return taken.choice("prediction_type", PREDICTIONS, old)


def _sampling(taken: _Taken, name: str, levels: int) -> dict[str, Any]:
    """The scheduler's own sampler, DDPM or DDIM, at the number of steps of its
    pipeline; DDIM in place of others.
    """
    # A scheduler made from the config of another keeps the keys of both.
    taken.ignore(OWN_SAMPLER)
    if not name.startswith("DDPM") and str(taken.get("variance_type", None)).startswith("learned"):
        raise ValueError("variance_type: networks that predict a variance cannot be read")
    if not name.startswith(("DDPM", "DDIM")):
        return {"name": "discrete_ddim", "num_steps": min(50, levels), "denoise": True}
    clip = taken.number("clip_sample_range", 1.0)
    clip = clip if taken.choice("clip_sample", {True: True, False: False}, True) else None
    spacings = {name: name for name in ("leading", "trailing", "linspace")}
    spacing = taken.choice("timestep_spacing", spacings, "leading")
    offset = taken.whole("steps_offset", 0)
    common = {
        "spacing": spacing,
        "steps_offset": offset if spacing == "leading" else 0,
        "clip": clip,
    }
    if name.startswith("DDPM"):
        variance = taken.choice("variance_type", VARIANCES, "fixed_small")
        # As many steps as there are levels leave no room for an offset.
        num_steps = max(1, min(1000, levels - common["steps_offset"]))
        return {
            "name": "discrete_ddpm",
            "num_steps": num_steps,
            "variance": variance,
            **common,
            "denoise": True,
        }
    to_data = taken.choice("set_alpha_to_one", {True: True, False: False}, True)
    # Where its last step leads to the first level, diffusers returns that level as the
    # image.
    final = {"final": "data" if to_data else "t_min", "denoise": to_data}
    return {"name": "discrete_ddim", "num_steps": min(50, levels), **common, **final}
