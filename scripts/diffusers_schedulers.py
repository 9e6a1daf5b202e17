"""The schedulers of diffusers as solvers of VP: their settings, and their ends from given
latents, with exact scores.

Used by compare_with_diffusers.py.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import diffusers  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]
except ImportError as missing:
    raise SystemExit(
        f"{missing.name} is not installed: pip install diffusers torch torchsde"
    ) from None

VERSIONS = f"diffusers {diffusers.__version__}, torch {torch.__version__}"
diffusers.logging.set_verbosity_error()  # pyright: ignore[reportAttributeAccessIssue]

ALPHA_BAR = np.cumprod(1.0 - np.linspace(1e-4, 2e-2, 1000))
"""``alpha^2`` of the 1,000 steps of DDPM, the discrete form of VP with beta from 0.1 to 20."""
TABLE = np.sqrt((1.0 - ALPHA_BAR) / ALPHA_BAR)
"""``sigma / alpha`` of the same steps."""

Setting = tuple[str, dict[str, Any]]
GRIDS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}
SPACINGS = {name: {"timestep_spacing": name} for name in ("leading", "linspace", "trailing")}
TRAILING, LU = {"trailing": SPACINGS["trailing"]}, {"lu": {"use_lu_lambdas": True}}


def deterministic_settings() -> dict[str, Setting]:
    """The schedulers of diffusers that solve the probability-flow ODE, with their grids."""
    found: dict[str, Setting] = {}

    def add(label: str, scheduler: str, grids: dict[str, dict[str, Any]], **options: Any) -> None:
        found.update(
            {
                f"{label}, {name}": (f"{scheduler}Scheduler", {**options, **grid})
                for name, grid in grids.items()
            }
        )

    add("DDIM", "DDIM", SPACINGS, clip_sample=False)
    add("DDIM to sigma_min", "DDIM", {"leading": {}}, clip_sample=False, set_alpha_to_one=False)
    add("PNDM", "PNDM", SPACINGS, skip_prk_steps=True)
    for label in ("Euler", "Heun", "LMS"):
        add(label, f"{label}Discrete", GRIDS)
    add("KDPM2", "KDPM2Discrete", {name: GRIDS[name] for name in ("uniform", "karras")})
    for order in (2, 3):
        multistep, short = (
            "DPMSolverMultistep",
            {"solver_order": order, "final_sigmas_type": "sigma_min"},
        )
        add(f"DPM++{order}M", multistep, {**GRIDS, **TRAILING, **LU}, solver_order=order)
        add(f"DPM++{order}M to sigma_min", multistep, {**GRIDS, **LU}, **short)
        add(f"DPM{order}M to sigma_min", multistep, GRIDS, algorithm_type="dpmsolver", **short)
        add(f"DPM++{order}S", "DPMSolverSinglestep", GRIDS, solver_order=order)
        add(f"UniPC{order} bh2", "UniPCMultistep", {**GRIDS, **TRAILING}, solver_order=order)
        for kind in ("bh1", "bh2"):
            add(
                f"UniPC{order} {kind} to sigma_min",
                "UniPCMultistep",
                GRIDS,
                solver_type=kind,
                **short,
            )
        add(f"DEIS{order} to sigma_min", "DEISMultistep", {**GRIDS, **TRAILING}, solver_order=order)
        corrected = {"predictor_order": order, "corrector_order": order}
        add(f"SA-Solver{order}, tau = 0", "SASolver", GRIDS, tau_func=np.zeros_like, **corrected)
        schedules = {name: {"sigma_schedule": name} for name in ("karras", "exponential")}
        add(
            f"EDM DPM++{order}M",
            "EDMDPMSolverMultistep",
            schedules,
            solver_order=order,
            sigma_max=float(TABLE[-1]),
        )
    add("DPM++2M heun", "DPMSolverMultistep", {**GRIDS, **LU}, solver_order=2, solver_type="heun")
    return found


def stochastic_settings() -> dict[str, Setting]:
    """The schedulers of diffusers that solve the reverse SDE, with their grids."""
    found: dict[str, Setting] = {}
    sde = {"algorithm_type": "sde-dpmsolver++"}
    for name, grid in {**GRIDS, **TRAILING, **LU}.items():
        for order in (1, 2):
            found[f"SDE-DPM++{order}M, {name}"] = (
                "DPMSolverMultistepScheduler",
                {"solver_order": order, **sde, **grid},
            )
    for name, grid in GRIDS.items():
        found[f"SA-Solver, {name}"] = ("SASolverScheduler", grid)
        if name in ("uniform", "karras"):
            found[f"KDPM2 ancestral, {name}"] = ("KDPM2AncestralDiscreteScheduler", grid)
        found[f"DPM++SDE, {name}"] = ("DPMSolverSDEScheduler", {"noise_sampler_seed": 0, **grid})
    for name, spacing in SPACINGS.items():
        found[f"Euler ancestral, {name}"] = ("EulerAncestralDiscreteScheduler", spacing)
        found[f"DDIM, eta = 1, {name}"] = (
            "DDIMScheduler",
            {"clip_sample": False, "eta": 1.0, **spacing},
        )
        for kind in ("fixed_small", "fixed_large"):
            found[f"DDPM {kind}, {name}"] = (
                "DDPMScheduler",
                {"clip_sample": False, "variance_type": kind, **spacing},
            )
    return found


def run(
    setting: Setting,
    nfe: int,
    latent: np.ndarray,
    denoise: Callable[[np.ndarray, float], np.ndarray],
) -> tuple[np.ndarray, bool]:
    """The ends in ``y = x / alpha`` of a vector of latents, and whether they are at
    sigma_min rather than at the data.

    ``denoise(y, ratio)`` is ``E[x_0 | x_0 + ratio z = y]``.
    """
    name, options = setting
    options = dict(options)
    step_options = {name: options.pop(name) for name in ("eta",) if name in options}
    edm, discrete = name.startswith("EDM"), name.startswith(("DDIM", "DDPM", "PNDM"))
    table = {
        "num_train_timesteps": 1000,
        "beta_start": 1e-4,
        "beta_end": 2e-2,
        "beta_schedule": "linear",
    }
    scheduler = getattr(diffusers, name)(**({} if edm else table), **options)
    two_calls = name.startswith(("Heun", "KDPM2", "DPMSolverSDE"))
    scheduler.set_timesteps(
        (nfe + 1) // 2 if two_calls else nfe - 1 if name.startswith("PNDM") else nfe
    )
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    of_y = edm or name.startswith(("Euler", "Heun", "LMS", "KDPM2", "DPMSolverSDE"))
    torch.manual_seed(0)
    x = torch.from_numpy(latent / float(np.sqrt(ALPHA_BAR[-1])) if of_y else latent)[None]
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)
        ratio = float(TABLE[int(t)]) if discrete else assumed_ratio(scheduler, name)
        y = x[0].numpy() * (1.0 if of_y else math.sqrt(1.0 + ratio**2))
        denoised = denoise(y, ratio)
        output = (y - denoised) / ratio
        if edm:  # the output that its preconditioning turns into the denoised image
            data, both = scheduler.config.sigma_data, math.hypot(ratio, scheduler.config.sigma_data)
            output = (denoised - (data / both) ** 2 * y) * both / (ratio * data)
        x = scheduler.step(torch.from_numpy(output)[None], t, x, **step_options).prev_sample
    if len(scheduler.timesteps) > nfe:
        raise RuntimeError(
            f"{name} {options} took {len(scheduler.timesteps)} evaluations, not {nfe}"
        )
    to_one = scheduler.config.get("set_alpha_to_one", True)
    at_min = not to_one if discrete else float(scheduler.sigmas[-1]) > 0.0
    return x[0].double().numpy() * (
        np.sqrt(1.0 + TABLE[0] ** 2) if at_min and not of_y else 1.0
    ), at_min


def assumed_ratio(scheduler: Any, name: str) -> float:
    """``sigma / alpha`` of a scheduler's next evaluation."""
    index = scheduler.step_index or 0
    second = not getattr(scheduler, "state_in_first_order", True)
    if second and name.startswith("DPMSolverSDE"):
        return float(scheduler.mid_point_sigma)
    if second and name.startswith("KDPM2"):
        return float(scheduler.sigmas_interpol[index - ("Ancestral" in name)])
    return float(scheduler.sigmas[index])
