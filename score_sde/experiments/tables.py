"""The names that a config can choose from: one table for each section, and for each
argument that is a choice.

A new SDE, network, sampler or objective needs a line here. The contract tests run over
every line.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from score_sde import objectives, parameterization, sampling, sdes, solvers
from score_sde.conditioning.guidance import Guidance
from score_sde.divergence import Divergence, ExactTrace, Hutchinson, HutchPP
from score_sde.experiments.dequantizer import VariationalDequantization
from score_sde.experiments.sections import SKIP_DAMAGED, STANDARDIZE
from score_sde.likelihood.dequantization import (
    Dequantizer,
    TruncatedNormalDequantizer,
    UniformDequantizer,
)
from score_sde.likelihood.estimators import DDPMEstimator, Estimator, VariationalEstimator
from score_sde.models import coupling_flow, ddpm, mlp, ncsn, ncsnpp, ncsnv2, unet, wideresnet
from score_sde.training import (
    EMA,
    HalfLifeEMA,
    PowerEMA,
    adam,
    adamw,
    lion,
    muon,
    schedule_free,
)

Table: TypeAlias = Mapping[str, Callable[..., Any]]

SDES: Table = {
    "vp": sdes.VPSDE,
    "subvp": sdes.SubVPSDE,
    "ve": sdes.VESDE,
    "edm": sdes.EDMSDE,
    "cosine": sdes.CosineSDE,
    "discrete_vp": sdes.DiscreteVPSDE,
    "rectified_flow": sdes.RectifiedFlowSDE,
    "brownian": sdes.BrownianMotion,
}
NETWORKS: Table = {
    "mlp": mlp,
    "unet": unet,
    "ddpm": ddpm,
    "ncsnpp": ncsnpp,
    "ncsn": ncsn,
    "ncsnv2": ncsnv2,
}
CLASSIFIERS: Table = {"wideresnet": wideresnet}
FLOWS: Table = {"coupling_flow": coupling_flow}
PARAMETERIZATIONS: Table = {
    "noise": parameterization.NoisePrediction,
    "score": parameterization.ScorePrediction,
    "denoised": parameterization.DenoisedPrediction,
    "v": parameterization.VelocityPrediction,
    "flow": parameterization.FlowPrediction,
    "edm": parameterization.EDMPreconditioning,
    "discrete_noise": parameterization.DiscreteNoisePrediction,
    "discrete_score": parameterization.DiscreteScorePrediction,
}
OBJECTIVES: Table = {
    "denoising": objectives.DenoisingScoreMatching,
    "explicit": objectives.ExplicitScoreMatching,
    "sliced": objectives.SlicedScoreMatching,
    "ncsn": objectives.ncsn,
    "ddpm": objectives.DDPMLoss,
    "classification": objectives.NoisyClassification,
    "dequantization": VariationalDequantization,
}
OPTIMIZERS: Table = {
    "adam": adam,
    "adamw": adamw,
    "lion": lion,
    "muon": muon,
    "schedule_free": schedule_free,
}
AVERAGES: Table = {"decay": EMA, "half_life": HalfLifeEMA, "power": PowerEMA}
"""The averages that ``training.averages`` can name, as ``"power:0.05"``: the name and
the first argument.
"""

SAMPLERS: Table = {
    "euler_maruyama": sampling.EulerMaruyama,
    "shark": sampling.ShARK,
    "sra1": sampling.SRA1,
    "exponential_shark": sampling.ExponentialShARK,
    "heun": sampling.Heun,
    "probability_flow": sampling.ProbabilityFlow,
    "adaptive_sde": sampling.AdaptiveSDE,
    "predictor_corrector": sampling.PredictorCorrector,
    "annealed_langevin": sampling.AnnealedLangevin,
    "ddim": sampling.DDIM,
    "adams_bashforth": sampling.AdamsBashforth,
    "dpm_solver": sampling.DPMSolver,
    "dpm_solver_pp": sampling.DPMSolverPP,
    "sde_dpm_solver_pp": sampling.SDEDPMSolverPP,
    "unipc": sampling.UniPC,
    "deis": sampling.DEIS,
    "ipndm": sampling.IPNDM,
    "er_sde": sampling.ERSDE,
    "discrete_ddim": sampling.DiscreteDDIM,
    "discrete_ddpm": sampling.DiscreteDDPM,
    "edm": sampling.EDM,
    "restart": sampling.Restart,
    "default": sampling.default_sampler,
}

SCALING = ("centered", "dequantize")
"""The keys of the section ``data`` for the scaling."""

AUGMENTATION = ("flip",)
"""The keys of the section ``data`` for the augmentation of training examples."""

NOT_OF_THE_SOURCE = (*SCALING, STANDARDIZE, SKIP_DAMAGED, *AUGMENTATION)
"""The keys of the section ``data`` that are not options of its source."""

FUNCTIONS: Mapping[str, Table] = {
    "time_label": {
        "scaled_time": parameterization.scaled_time,
        "noise_level": parameterization.noise_level,
        "log_noise_to_signal": parameterization.log_noise_to_signal,
        "step_index": parameterization.StepIndex(),
    },
    "weighting": {
        "variance": objectives.variance,
        "likelihood": objectives.likelihood,
        "unweighted": objectives.unweighted,
        "flow_matching": objectives.flow_matching,
        "min_snr": objectives.MinSNR(),
        "edm": objectives.EDMWeighting(),
        "p2": objectives.P2(),
        "sigmoid": objectives.Sigmoid(),
    },
    "grid": {
        "adapted": solvers.adapted,
        "uniform": solvers.uniform,
        "quadratic": solvers.quadratic,
        "log_snr": solvers.log_snr,
        "geometric": solvers.geometric,
        "edm": solvers.EDMGrid(),
        "cauchy": solvers.CauchyGrid(),
    },
    "predictor": {
        "reverse_diffusion": sampling.reverse_diffusion_step,
        "euler_maruyama": sampling.euler_maruyama,
        "ancestral": sampling.ancestral,
        "ancestral_large": sampling.ancestral_large,
        "none": sampling.no_predictor,
    },
    "corrector": {
        "langevin": sampling.langevin,
        "annealed_langevin": sampling.annealed_langevin,
        "none": sampling.no_corrector,
    },
}
"""Arguments that are functions, chosen by name; a function with parameters may have a
section.
"""

VALUES: Mapping[str, tuple[Table, type]] = {
    "time_sampling": (
        {
            "uniform": objectives.UniformTime,
            "importance": objectives.ImportanceSampling,
            "log_normal": objectives.LogNormalNoise,
            "discrete": objectives.DiscreteTime,
            "fixed": objectives.FixedTime,
        },
        objectives.TimeSampling,
    ),
    "threshold": (
        {"static": sampling.StaticThreshold, "dynamic": sampling.DynamicThreshold},
        sampling.Threshold,
    ),
    "guidance": ({}, Guidance),
    "divergence": ({"exact": ExactTrace, "hutchinson": Hutchinson, "hutchpp": HutchPP}, Divergence),
    "bound": ({"variational": VariationalEstimator, "ddpm": DDPMEstimator}, Estimator),
    "dequantizer": (
        {"uniform": UniformDequantizer, "truncated_normal": TruncatedNormalDequantizer},
        Dequantizer,
    ),
}
"""Arguments that are values, constructed from a section: their table and their class."""

FORMER_KEYS: Mapping[Callable[..., Any], Mapping[str, str]] = {
    sdes.DiscreteVPSDE: {"num_levels": "num_scales"},
    parameterization.StepIndex: {"num_levels": "num_scales"},
    DDPMEstimator: {"num_levels": "num_terms"},
}
"""The present name of each renamed key, by what the key configures: saved configs and
exported models keep the former one.
"""

OPTIONAL = ("threshold", "guidance", "bound", "dequantizer")
"""The arguments of `VALUES` that may be None, also written ``none``."""

NAMED: Mapping[str, Table] = {
    "sde": SDES,
    "model": {**NETWORKS, **CLASSIFIERS, **FLOWS},
    "parameterization": PARAMETERIZATIONS,
    "objective": OBJECTIVES,
    "objective.time_sampling": VALUES["time_sampling"][0],
    "objective.divergence": VALUES["divergence"][0],
    "optim": OPTIMIZERS,
    "sampling": SAMPLERS,
    "sampling.threshold": VALUES["threshold"][0],
    "sampling.guidance": VALUES["guidance"][0],
    "eval.divergence": VALUES["divergence"][0],
    "eval.bound": VALUES["bound"][0],
    "eval.dequantizer": VALUES["dequantizer"][0],
}
"""The sections whose ``name`` chooses from a table."""
