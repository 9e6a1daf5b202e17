"""The present place of the code of version 0.1, for dotted names in saved configs."""

from collections.abc import Mapping

MOVED: Mapping[str, tuple[str, ...]] = {
    "score_sde.data.inflation": ("score_sde.runtime.bounded_reading",),
    "score_sde.data.picture_files": ("score_sde.data.images",),
    "score_sde.dequantization": ("score_sde.likelihood.dequantization",),
    "score_sde.dequantizer": ("score_sde.experiments.dequantizer",),
    "score_sde.discrete_evidence": ("score_sde.likelihood.discrete_bound",),
    "score_sde.estimators": ("score_sde.likelihood.estimators",),
    "score_sde.evaluation.mixture": ("score_sde.sdes.mixture",),
    "score_sde.evidence": ("score_sde.likelihood.bound",),
    "score_sde.integrate": ("score_sde.solvers.integrate",),
    "score_sde.latents": ("score_sde.sampling.latents",),
    "score_sde.models.conditioning": (
        "score_sde.models.blocks",
        "score_sde.models.labels",
    ),
    "score_sde.reverse": ("score_sde.sdes.reverse",),
    "score_sde.sampling.exponential": ("score_sde.sampling.multistep",),
    "score_sde.sampling.predictor_corrector": ("score_sde.sampling.annealed_langevin",),
    "score_sde.sdes.noise_schedule": ("score_sde.sdes.discretization",),
    "score_sde.simulation": ("score_sde.sdes.simulation",),
    "score_sde.solvers": (
        "score_sde.sampling",
        "score_sde.sampling.annealed_langevin",
        "score_sde.sampling.correctors",
        "score_sde.sampling.discrete",
        "score_sde.sampling.multistep",
        "score_sde.sampling.multistep_weights",
        "score_sde.sampling.predictor_corrector",
        "score_sde.sampling.predictors",
        "score_sde.sampling.singlestep",
    ),
    "score_sde.solvers.annealed_langevin": ("score_sde.sampling.annealed_langevin",),
    "score_sde.solvers.correctors": ("score_sde.sampling.correctors",),
    "score_sde.solvers.discrete": ("score_sde.sampling.discrete",),
    "score_sde.solvers.exponential": ("score_sde.sampling.multistep_weights",),
    "score_sde.solvers.multistep": ("score_sde.sampling.multistep",),
    "score_sde.solvers.noise_levels": ("score_sde.solvers.marginal_levels",),
    "score_sde.solvers.predictor_corrector": ("score_sde.sampling.predictor_corrector",),
    "score_sde.solvers.predictors": ("score_sde.sampling.predictors",),
    "score_sde.solvers.singlestep": ("score_sde.sampling.singlestep",),
    "score_sde.training": (
        "score_sde.runtime.processes",
        "score_sde.runtime.progress",
        "score_sde.runtime.signals",
        "score_sde.runtime.versions",
    ),
    "score_sde.training.checkpoint": ("score_sde.training.checkpoints.manager",),
    "score_sde.training.checkpoint_files": ("score_sde.training.checkpoints.files",),
    "score_sde.training.guarded": ("score_sde.training.tracking.guarded",),
    "score_sde.training.lock": ("score_sde.runtime.lock",),
    "score_sde.training.logging": ("score_sde.training.tracking.metrics",),
    "score_sde.training.loop": ("score_sde.training.run",),
    "score_sde.training.processes": ("score_sde.runtime.processes",),
    "score_sde.training.progress": ("score_sde.runtime.progress",),
    "score_sde.training.retention": ("score_sde.training.checkpoints.retention",),
    "score_sde.training.sampling_checkpoint": ("score_sde.training.checkpoints.sampling",),
    "score_sde.training.seal": (
        "score_sde.training.checkpoints.manifest",
        "score_sde.runtime.fingerprints",
    ),
    "score_sde.training.signals": ("score_sde.runtime.signals",),
    "score_sde.training.tensorboard": ("score_sde.training.tracking.tensorboard",),
    "score_sde.training.trackers": ("score_sde.training.tracking.trackers",),
    "score_sde.training.versions": ("score_sde.runtime.versions",),
    "score_sde.training.watchdog": ("score_sde.runtime.watchdog",),
    "score_sde.training.writers": ("score_sde.training.tracking.writers",),
}
"""For each module of 0.1 that is gone or split: the modules with its functions and classes."""

RENAMED: Mapping[str, str] = {
    "score_sde:DDPM": "score_sde:DDPMLoss",
    "score_sde.models.ddpm:DDPM": "score_sde.models.ddpm:DDPMNet",
    "score_sde.models:DDPM": "score_sde.models:DDPMNet",
    "score_sde.objectives.ddpm:DDPM": "score_sde.objectives.ddpm:DDPMLoss",
    "score_sde.objectives:DDPM": "score_sde.objectives:DDPMLoss",
    "score_sde.solvers.noise_levels:NoiseLevels": "score_sde.solvers.marginal_levels:Marginals",
    "score_sde.solvers:NoiseLevels": "score_sde.solvers.marginal_levels:Marginals",
    "score_sde.training.checkpoint_files:read_seal": (
        "score_sde.training.checkpoints.files:read_manifest"
    ),
    "score_sde.training.logging:mean_of_those_there": (
        "score_sde.training.tracking.metrics:nan_mean"
    ),
    "score_sde.training.logging:those_there": "score_sde.training.tracking.metrics:without_missing",
    "score_sde.training.precision:as_saved": "score_sde.training.checkpoints.manifest:as_saved",
    "score_sde.training.progress:Progress": "score_sde.runtime.progress:ProgressBar",
    "score_sde.training.seal:check_seal": "score_sde.training.checkpoints.manifest:check_manifest",
    "score_sde.training.seal:fingerprints": "score_sde.runtime.fingerprints:array_fingerprints",
    "score_sde.training.seal:seal_of": "score_sde.training.checkpoints.manifest:manifest_of",
    "score_sde.training:Progress": "score_sde.runtime.progress:ProgressBar",
}
"""The present dotted name of each function or class of 0.1 that has been renamed."""
