"""The schedulers of diffusers: the noise process that a network was trained for, and its
sampler.

Every key of a scheduler's config is used, known to be idle, or an error.
"""

from collections.abc import Mapping
from typing import Any

from score_sde.checks import fail, require
from score_sde.interop.options import Options
from score_sde.sdes.discretization import MAX_LEVELS, scheduled_betas

Sections = dict[str, dict[str, Any]]

FILE = "scheduler_config.json"

BETAS = {
    **dict.fromkeys(
        [
            "DDPMScheduler",
            "DDPMParallelScheduler",
            "DDIMScheduler",
            "DDIMParallelScheduler",
            "PNDMScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "DEISMultistepScheduler",
            "UniPCMultistepScheduler",
            "SASolverScheduler",
            "LMSDiscreteScheduler",
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
        ],
        (1e-4, 0.02),
    ),
    **dict.fromkeys(
        [
            "HeunDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            "DPMSolverSDEScheduler",
        ],
        (0.00085, 0.012),
    ),
}
"""The schedulers of the discrete VP process, whose training is the same; and their default
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
"""Keys that describe the file, or the arrays of older versions of the library."""

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
"""Keys that matter only where a key of `ONE_VALUE` has another value."""

OWN_SAMPLER = {
    "algorithm_type",
    "clip_sample",
    "clip_sample_range",
    "corrector_order",
    "disable_corrector",
    "euler_at_final",
    "final_sigmas_type",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "noise_sampler_seed",
    "predict_x0",
    "predictor_order",
    "set_alpha_to_one",
    "sigma_max",
    "sigma_min",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "steps_offset",
    "tau_func",
    "timestep_spacing",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
    "variance_type",
}
"""Keys of samplers, idle where another sampler draws in place of the scheduler's own."""


def ve_fields(
    given: Mapping[str, Any] | None, image_size: int, largest: Mapping[int, float]
) -> dict[str, Any]:
    """The continuous VE model of NCSN++, as fields of a published config.

    Args:
        given: the options of the scheduler, or None where there is none.
        image_size: the side of an image, in pixels.
        largest: ``sigma_max`` by the size of the images, where there is no scheduler.

    Raises:
        ValueError: for an option that is unknown, or not of the VE process.
    """
    options = Options(given or {})
    name = options.not_null("_class_name", VE)
    if name != VE:
        fail("_class_name", name, VE, "the scheduler of networks with a Fourier embedding")
    nearest = min(largest, key=lambda size: abs(size - image_size))
    sigma_min = float(options.number("sigma_min", 0.01))
    sigma_max = float(options.number("sigma_max", largest[nearest] if given is None else 1348.0))
    fields = {
        "training.sde": "vesde",
        "training.continuous": True,
        "model.num_scales": options.whole("num_train_timesteps", 2000, most=MAX_LEVELS),
        "model.sigma_min": sigma_min,
        "model.sigma_max": sigma_max,
        "sampling.predictor": "reverse_diffusion",
        "sampling.corrector": "langevin",
        "sampling.snr": float(options.number("snr", 0.15)),
        "sampling.n_steps_each": options.whole("correct_steps", 1, most=MAX_LEVELS),
    }
    options.only("sampling_eps", 1e-5)
    options.finish("this scheduler", IDLE)
    return fields


def vp_sections(given: Mapping[str, Any]) -> Sections:
    """The discrete VP model: the sections ``sde``, ``parameterization``, ``objective``,
    ``sampling`` and ``eval``.

    Raises:
        ValueError: in one line, for a scheduler of another process, or an option that
            is unknown or out of range.
    """
    options = Options(given)
    name = options.not_null("_class_name", "DDPMScheduler")
    if not isinstance(name, str) or name not in BETAS:
        because = f"or {VE} with a network that has a Fourier embedding"
        fail("_class_name", name, f"one of {', '.join(BETAS)}", because)
    levels = _levels(options)
    sde = {"name": "discrete_vp", **_schedule(options, name, levels), "t_min": 1.0 / levels}
    prediction = _prediction(options)
    zero = options.flag("rescale_betas_zero_snr", False)
    require(
        not zero or prediction != "noise",
        "rescale_betas_zero_snr=True needs prediction_type 'v_prediction' or 'sample'",
    )
    sde |= {"zero_terminal_snr": zero, "t_max": (levels - 1) / levels if zero else 1.0}
    for key, value in ONE_VALUE.items():
        options.only(key, value)
    options.ignore(OF_ONE_VALUE)
    sampling = _sampling(options, name, levels)
    options.finish("this scheduler", IDLE)
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


def _levels(options: Options) -> int:
    old, new = options.get("timesteps"), options.get("num_train_timesteps")
    require(
        old is None or new is None or old == new,
        f"num_train_timesteps={new!r:.100} and timesteps={old!r:.100}, its old name, differ",
    )
    name = "num_train_timesteps" if old is None else "timesteps"
    return options.whole(name, 1000, least=2, most=MAX_LEVELS)


def _schedule(options: Options, name: str, levels: int) -> dict[str, Any]:
    default_start, default_end = BETAS[name]
    found = {
        "schedule": SCHEDULES[options.choice("beta_schedule", SCHEDULES, "linear")],
        "num_scales": levels,
        "beta_start": float(options.number("beta_start", default_start)),
        "beta_end": float(options.number("beta_end", default_end)),
    }
    scheduled_betas(
        found["schedule"], levels, beta_start=found["beta_start"], beta_end=found["beta_end"]
    )
    betas = options.get("trained_betas")
    if betas is None:
        return found
    is_table = isinstance(betas, list) and all(
        isinstance(beta, float) and 0.0 < beta < 1.0 for beta in betas
    )
    require(is_table, "trained_betas must be a list of numbers between 0 and 1")
    require(
        len(betas) == levels,
        f"trained_betas has {len(betas)} numbers where num_train_timesteps={levels}",
    )
    return {**found, "betas": tuple(betas)}


def _prediction(options: Options) -> str:
    """The parameterization; ``predict_epsilon`` is the old option that chooses between
    noise and image.
    """
    old = "epsilon" if options.flag("predict_epsilon", True) else "sample"
    return PREDICTIONS[options.choice("prediction_type", PREDICTIONS, old)]


def _sampling(options: Options, name: str, levels: int) -> dict[str, Any]:
    """The scheduler's own sampler, DDPM or DDIM, at the number of steps of its
    pipeline; DDIM in place of others.
    """
    # A scheduler made from the config of another keeps the keys of both.
    options.ignore(OWN_SAMPLER)
    if not name.startswith("DDPM"):
        is_learned = str(options.get("variance_type")).startswith("learned")
        require(not is_learned, "variance_type: networks that predict a variance cannot be read")
    if not name.startswith(("DDPM", "DDIM")):
        return {"name": "discrete_ddim", "num_steps": min(50, levels), "denoise": True}
    clip = float(options.number("clip_sample_range", 1.0))
    clip = clip if options.flag("clip_sample", True) else None
    spacing = options.choice("timestep_spacing", ("leading", "trailing", "linspace"), "leading")
    offset = options.whole("steps_offset", 0, most=MAX_LEVELS)
    common = {
        "spacing": spacing,
        "steps_offset": offset if spacing == "leading" else 0,
        "clip": clip,
    }
    if name.startswith("DDPM"):
        variance = VARIANCES[options.choice("variance_type", VARIANCES, "fixed_small")]
        # As many steps as there are levels leave no room for an offset.
        num_steps = max(1, min(1000, levels - common["steps_offset"]))
        return {
            "name": "discrete_ddpm",
            "num_steps": num_steps,
            "variance": variance,
            **common,
            "denoise": True,
        }
    to_data = options.flag("set_alpha_to_one", True)
    # Where its last step leads to the first level, diffusers returns that level as the
    # image.
    final = {"final": "data" if to_data else "t_min", "denoise": to_data}
    return {"name": "discrete_ddim", "num_steps": min(50, levels), **common, **final}
