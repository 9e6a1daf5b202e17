"""Score-based generative modelling through stochastic differential equations, in JAX.

An SDE, a score function and a solver are three independent values; sampling,
likelihood, encoding and conditioning are pure functions of them; a config file only
chooses the values.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from score_sde.conditioning import Inpainting
    from score_sde.data import DataSource
    from score_sde.divergence import ExactTrace, Hutchinson, HutchPP
    from score_sde.evaluation.generation import sample_many
    from score_sde.experiments.base import AnyExperiment, TrainedModel
    from score_sde.experiments.builders import build, build_model
    from score_sde.experiments.classifier import ClassifierExperiment, NoisyClassifier
    from score_sde.experiments.dequantizer import DequantizerExperiment, LearnedDequantizer
    from score_sde.experiments.fit import fit
    from score_sde.experiments.former import (
        build_classifier,
        build_dequantizer,
        load_classifier,
        load_dequantizer,
    )
    from score_sde.experiments.loading import config_from_reference, load, saved_config
    from score_sde.experiments.score_model import Experiment, Model
    from score_sde.likelihood.bound import VariationalBound, variational_bound
    from score_sde.likelihood.dequantization import (
        Bins,
        TruncatedNormalDequantizer,
        UniformDequantizer,
        VariationalDequantizer,
        importance_weighted_log_prob,
    )
    from score_sde.likelihood.discrete_bound import ddpm_vlb
    from score_sde.likelihood.flow import LogLikelihood, bits_per_dim, log_likelihood
    from score_sde.models import (
        Arrays,
        ClassLabel,
        ScoreNetwork,
        from_equinox,
        from_linen,
        from_nnx,
        make_score_fn,
        mlp,
    )
    from score_sde.objectives import (
        DDPMLoss,
        DenoisingScoreMatching,
        ExplicitScoreMatching,
        ImportanceSampling,
        SlicedScoreMatching,
    )
    from score_sde.parameterization import (
        DenoisedPrediction,
        EDMPreconditioning,
        FlowPrediction,
        NoisePrediction,
        ScorePrediction,
        VelocityPrediction,
    )
    from score_sde.sampling import (
        DDIM,
        DEIS,
        EDM,
        ERSDE,
        IPNDM,
        SRA1,
        AdamsBashforth,
        AdaptiveSDE,
        AnnealedLangevin,
        DiscreteDDIM,
        DiscreteDDPM,
        DPMSolver,
        DPMSolverPP,
        DynamicThreshold,
        EulerMaruyama,
        ExponentialShARK,
        Heun,
        PredictorCorrector,
        ProbabilityFlow,
        Projection,
        Restart,
        Sample,
        Sampler,
        SDEDPMSolverPP,
        ShARK,
        StaticThreshold,
        UniPC,
        decode,
        default_sampler,
        encode,
        sample,
        solve_table,
        thresholded,
    )
    from score_sde.sampling.latents import slerp
    from score_sde.sdes import (
        EDMSDE,
        SDE,
        VESDE,
        VPSDE,
        BrownianMotion,
        CosineSDE,
        DiscreteVPSDE,
        Marginal,
        RectifiedFlowSDE,
        SubVPSDE,
        perturb,
        prior_log_prob,
        prior_sample,
    )
    from score_sde.sdes.reverse import denoise, probability_flow, reverse_diffusion, reverse_drift
    from score_sde.sdes.simulation import Simulation, simulate
    from score_sde.training import Hook, TrainResult, TrainState

_MODULES = {
    "DataSource": "score_sde.data",
    "Arrays": "score_sde.models",
    "ClassLabel": "score_sde.models",
    "from_equinox": "score_sde.models",
    "from_linen": "score_sde.models",
    "from_nnx": "score_sde.models",
    "mlp": "score_sde.models",
    "sample_many": "score_sde.evaluation.generation",
    "fit": "score_sde.experiments.fit",
    "Inpainting": "score_sde.conditioning",
    "ExactTrace": "score_sde.divergence",
    "HutchPP": "score_sde.divergence",
    "Hutchinson": "score_sde.divergence",
    "AnyExperiment": "score_sde.experiments.base",
    "TrainedModel": "score_sde.experiments.base",
    "build": "score_sde.experiments.builders",
    "build_classifier": "score_sde.experiments.former",
    "build_dequantizer": "score_sde.experiments.former",
    "build_model": "score_sde.experiments.builders",
    "ClassifierExperiment": "score_sde.experiments.classifier",
    "NoisyClassifier": "score_sde.experiments.classifier",
    "DequantizerExperiment": "score_sde.experiments.dequantizer",
    "LearnedDequantizer": "score_sde.experiments.dequantizer",
    "config_from_reference": "score_sde.experiments.loading",
    "load": "score_sde.experiments.loading",
    "load_classifier": "score_sde.experiments.former",
    "load_dequantizer": "score_sde.experiments.former",
    "saved_config": "score_sde.experiments.loading",
    "Experiment": "score_sde.experiments.score_model",
    "Model": "score_sde.experiments.score_model",
    "VariationalBound": "score_sde.likelihood.bound",
    "variational_bound": "score_sde.likelihood.bound",
    "Bins": "score_sde.likelihood.dequantization",
    "TruncatedNormalDequantizer": "score_sde.likelihood.dequantization",
    "UniformDequantizer": "score_sde.likelihood.dequantization",
    "VariationalDequantizer": "score_sde.likelihood.dequantization",
    "importance_weighted_log_prob": "score_sde.likelihood.dequantization",
    "ddpm_vlb": "score_sde.likelihood.discrete_bound",
    "LogLikelihood": "score_sde.likelihood.flow",
    "bits_per_dim": "score_sde.likelihood.flow",
    "log_likelihood": "score_sde.likelihood.flow",
    "ScoreNetwork": "score_sde.models",
    "make_score_fn": "score_sde.models",
    "DDPMLoss": "score_sde.objectives",
    "DenoisingScoreMatching": "score_sde.objectives",
    "ExplicitScoreMatching": "score_sde.objectives",
    "ImportanceSampling": "score_sde.objectives",
    "SlicedScoreMatching": "score_sde.objectives",
    "DenoisedPrediction": "score_sde.parameterization",
    "EDMPreconditioning": "score_sde.parameterization",
    "FlowPrediction": "score_sde.parameterization",
    "NoisePrediction": "score_sde.parameterization",
    "ScorePrediction": "score_sde.parameterization",
    "VelocityPrediction": "score_sde.parameterization",
    "AdamsBashforth": "score_sde.sampling",
    "AdaptiveSDE": "score_sde.sampling",
    "AnnealedLangevin": "score_sde.sampling",
    "DDIM": "score_sde.sampling",
    "DEIS": "score_sde.sampling",
    "DPMSolver": "score_sde.sampling",
    "DPMSolverPP": "score_sde.sampling",
    "DiscreteDDIM": "score_sde.sampling",
    "DiscreteDDPM": "score_sde.sampling",
    "DynamicThreshold": "score_sde.sampling",
    "EDM": "score_sde.sampling",
    "ERSDE": "score_sde.sampling",
    "EulerMaruyama": "score_sde.sampling",
    "ExponentialShARK": "score_sde.sampling",
    "Heun": "score_sde.sampling",
    "IPNDM": "score_sde.sampling",
    "PredictorCorrector": "score_sde.sampling",
    "ProbabilityFlow": "score_sde.sampling",
    "Projection": "score_sde.sampling",
    "Restart": "score_sde.sampling",
    "SDEDPMSolverPP": "score_sde.sampling",
    "SRA1": "score_sde.sampling",
    "Sample": "score_sde.sampling",
    "Sampler": "score_sde.sampling",
    "ShARK": "score_sde.sampling",
    "StaticThreshold": "score_sde.sampling",
    "UniPC": "score_sde.sampling",
    "decode": "score_sde.sampling",
    "default_sampler": "score_sde.sampling",
    "encode": "score_sde.sampling",
    "sample": "score_sde.sampling",
    "solve_table": "score_sde.sampling",
    "thresholded": "score_sde.sampling",
    "slerp": "score_sde.sampling.latents",
    "BrownianMotion": "score_sde.sdes",
    "CosineSDE": "score_sde.sdes",
    "DiscreteVPSDE": "score_sde.sdes",
    "EDMSDE": "score_sde.sdes",
    "Marginal": "score_sde.sdes",
    "RectifiedFlowSDE": "score_sde.sdes",
    "SDE": "score_sde.sdes",
    "SubVPSDE": "score_sde.sdes",
    "VESDE": "score_sde.sdes",
    "VPSDE": "score_sde.sdes",
    "perturb": "score_sde.sdes",
    "prior_log_prob": "score_sde.sdes",
    "prior_sample": "score_sde.sdes",
    "denoise": "score_sde.sdes.reverse",
    "probability_flow": "score_sde.sdes.reverse",
    "reverse_diffusion": "score_sde.sdes.reverse",
    "reverse_drift": "score_sde.sdes.reverse",
    "Simulation": "score_sde.sdes.simulation",
    "simulate": "score_sde.sdes.simulation",
    "TrainState": "score_sde.training",
}
"""In which module a name is, which is imported when the name is first asked for."""


_RENAMED = {"DDPM": "DDPMLoss"}
"""Former public names, which work with a warning in this version alone."""


def __getattr__(name: str) -> Any:
    """A public name, or a module or package of this one, which is imported now."""
    if name in _RENAMED:
        now = _RENAMED[name]
        message = f"score_sde.{name} is now score_sde.{now}; the former name goes with version 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__(now)
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    room = f"score_sde.{name}"
    if not name.startswith("_") and importlib.util.find_spec(room) is not None:
        return importlib.import_module(room)
    raise AttributeError(f"module 'score_sde' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def train(
    experiment: "AnyExperiment",
    workdir: str | Path,
    hooks: "Sequence[Hook]" = (),
    *,
    overwrite: bool = False,
) -> "TrainResult":
    """Train in a folder, or resume the run that is there, as ``score-sde train`` does.

    The folder gets the resolved config, checkpoints, metrics and, every
    ``training.sample_every`` steps, a grid of samples; ``load`` and the commands take
    it from there. Ctrl-C, SIGTERM and SIGUSR1 end the run after the step on the way,
    which is saved. Where nothing moves for ``training.hang_timeout`` seconds, the
    process ends. ::

        experiment = ss.build(config)
        ss.train(experiment, "runs/digits")
        model = ss.load("runs/digits")

    Args:
        experiment: what to train, as from `build`.
        workdir: the folder, made if missing. A run of the same model that is there
            resumes, bit for bit.
        hooks: what else to do between steps.
        overwrite: whether a new run may write over files that are no run's.

    Returns:
        The last state, and the signal that stopped the run early, if one did.

    Raises:
        ValueError: where the folder holds a run of another model, the devices do not
            suit the settings, or no checkpoint is sound.
        OSError: where the folder holds files of other programs, another process writes
            in it, or something cannot be read or written.
        FloatingPointError: where gradients are not finite any more.
    """
    from score_sde.evaluation.sample_grids import sample_grids
    from score_sde.experiments import train as training

    grids = sample_grids(experiment, workdir)
    return training.train(experiment, workdir, (*hooks, *grids), overwrite=overwrite)


__all__ = [
    "DDIM",
    "DEIS",
    "EDM",
    "EDMSDE",
    "ERSDE",
    "IPNDM",
    "SDE",
    "SRA1",
    "VESDE",
    "VPSDE",
    "AdamsBashforth",
    "AdaptiveSDE",
    "AnnealedLangevin",
    "AnyExperiment",
    "Arrays",
    "Bins",
    "BrownianMotion",
    "ClassLabel",
    "ClassifierExperiment",
    "CosineSDE",
    "DDPMLoss",
    "DPMSolver",
    "DPMSolverPP",
    "DataSource",
    "DenoisedPrediction",
    "DenoisingScoreMatching",
    "DequantizerExperiment",
    "DiscreteDDIM",
    "DiscreteDDPM",
    "DiscreteVPSDE",
    "DynamicThreshold",
    "EDMPreconditioning",
    "EulerMaruyama",
    "ExactTrace",
    "Experiment",
    "ExplicitScoreMatching",
    "ExponentialShARK",
    "FlowPrediction",
    "Heun",
    "HutchPP",
    "Hutchinson",
    "ImportanceSampling",
    "Inpainting",
    "LearnedDequantizer",
    "LogLikelihood",
    "Marginal",
    "Model",
    "NoisePrediction",
    "NoisyClassifier",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Projection",
    "RectifiedFlowSDE",
    "Restart",
    "SDEDPMSolverPP",
    "Sample",
    "Sampler",
    "ScoreNetwork",
    "ScorePrediction",
    "ShARK",
    "Simulation",
    "SlicedScoreMatching",
    "StaticThreshold",
    "SubVPSDE",
    "TrainState",
    "TrainedModel",
    "TruncatedNormalDequantizer",
    "UniPC",
    "UniformDequantizer",
    "VariationalBound",
    "VariationalDequantizer",
    "VelocityPrediction",
    "bits_per_dim",
    "build",
    "build_classifier",
    "build_dequantizer",
    "build_model",
    "config_from_reference",
    "ddpm_vlb",
    "decode",
    "default_sampler",
    "denoise",
    "encode",
    "fit",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "importance_weighted_log_prob",
    "load",
    "load_classifier",
    "load_dequantizer",
    "log_likelihood",
    "make_score_fn",
    "mlp",
    "perturb",
    "prior_log_prob",
    "prior_sample",
    "probability_flow",
    "reverse_diffusion",
    "reverse_drift",
    "sample",
    "sample_many",
    "saved_config",
    "simulate",
    "slerp",
    "solve_table",
    "thresholded",
    "train",
    "variational_bound",
]
