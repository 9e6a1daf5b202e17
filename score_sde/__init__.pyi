"""The public names, each in the module that defines it; `__init__.py` imports them lazily."""

from .conditioning import (
    Inpainting as Inpainting,
)
from .data import (
    DataSource as DataSource,
)
from .divergence import (
    ExactTrace as ExactTrace,
    Hutchinson as Hutchinson,
    HutchPP as HutchPP,
)
from .evaluation.generation import (
    sample_many as sample_many,
)
from .evaluation.training import (
    train as train,
)
from .experiments.base import (
    AnyExperiment as AnyExperiment,
    TrainedModel as TrainedModel,
)
from .experiments.builders import (
    build as build,
    build_model as build_model,
)
from .experiments.classifier import (
    ClassifierExperiment as ClassifierExperiment,
    NoisyClassifier as NoisyClassifier,
)
from .experiments.dequantizer import (
    DequantizerExperiment as DequantizerExperiment,
    LearnedDequantizer as LearnedDequantizer,
)
from .experiments.fit import (
    fit as fit,
)
from .experiments.former import (
    build_classifier as build_classifier,
    build_dequantizer as build_dequantizer,
    load_classifier as load_classifier,
    load_dequantizer as load_dequantizer,
)
from .experiments.loading import (
    config_from_reference as config_from_reference,
    load as load,
    saved_config as saved_config,
)
from .experiments.score_model import (
    Experiment as Experiment,
    Model as Model,
)
from .likelihood.bound import (
    VariationalBound as VariationalBound,
    variational_bound as variational_bound,
)
from .likelihood.dequantization import (
    Bins as Bins,
    TruncatedNormalDequantizer as TruncatedNormalDequantizer,
    UniformDequantizer as UniformDequantizer,
    VariationalDequantizer as VariationalDequantizer,
    importance_weighted_log_prob as importance_weighted_log_prob,
)
from .likelihood.discrete_bound import (
    ddpm_vlb as ddpm_vlb,
)
from .likelihood.flow import (
    LogLikelihood as LogLikelihood,
    bits_per_dim as bits_per_dim,
    log_likelihood as log_likelihood,
)
from .models import (
    Arrays as Arrays,
    ClassLabel as ClassLabel,
    ScoreNetwork as ScoreNetwork,
    from_linen as from_linen,
    make_score_fn as make_score_fn,
    mlp as mlp,
)
from .models.equinox_modules import (
    from_equinox as from_equinox,
)
from .models.nnx_modules import (
    from_nnx as from_nnx,
)
from .objectives import (
    DDPMLoss as DDPMLoss,
    DenoisingScoreMatching as DenoisingScoreMatching,
    ExplicitScoreMatching as ExplicitScoreMatching,
    ImportanceSampling as ImportanceSampling,
    SlicedScoreMatching as SlicedScoreMatching,
)
from .parameterization import (
    DenoisedPrediction as DenoisedPrediction,
    EDMPreconditioning as EDMPreconditioning,
    FlowPrediction as FlowPrediction,
    NoisePrediction as NoisePrediction,
    ScorePrediction as ScorePrediction,
    VelocityPrediction as VelocityPrediction,
)
from .sampling import (
    DDIM as DDIM,
    DEIS as DEIS,
    EDM as EDM,
    ERSDE as ERSDE,
    IPNDM as IPNDM,
    SRA1 as SRA1,
    AdamsBashforth as AdamsBashforth,
    AdaptiveSDE as AdaptiveSDE,
    AnnealedLangevin as AnnealedLangevin,
    DiscreteDDIM as DiscreteDDIM,
    DiscreteDDPM as DiscreteDDPM,
    DPMSolver as DPMSolver,
    DPMSolverPP as DPMSolverPP,
    DynamicThreshold as DynamicThreshold,
    EulerMaruyama as EulerMaruyama,
    ExponentialShARK as ExponentialShARK,
    Heun as Heun,
    PredictorCorrector as PredictorCorrector,
    ProbabilityFlow as ProbabilityFlow,
    Projection as Projection,
    Restart as Restart,
    Sample as Sample,
    Sampler as Sampler,
    SDEDPMSolverPP as SDEDPMSolverPP,
    ShARK as ShARK,
    StaticThreshold as StaticThreshold,
    UniPC as UniPC,
    decode as decode,
    default_sampler as default_sampler,
    encode as encode,
    sample as sample,
    solve_table as solve_table,
    thresholded as thresholded,
)
from .sampling.latents import (
    slerp as slerp,
)
from .sdes import (
    EDMSDE as EDMSDE,
    SDE as SDE,
    VESDE as VESDE,
    VPSDE as VPSDE,
    BrownianMotion as BrownianMotion,
    CosineSDE as CosineSDE,
    DiscreteVPSDE as DiscreteVPSDE,
    Marginal as Marginal,
    RectifiedFlowSDE as RectifiedFlowSDE,
    SubVPSDE as SubVPSDE,
    perturb as perturb,
    prior_log_prob as prior_log_prob,
    prior_sample as prior_sample,
)
from .sdes.reverse import (
    denoise as denoise,
    probability_flow as probability_flow,
    reverse_diffusion as reverse_diffusion,
    reverse_drift as reverse_drift,
)
from .sdes.simulation import (
    Simulation as Simulation,
    simulate as simulate,
)
from .training import (
    TrainState as TrainState,
)
