"""Names of version 0.1 that `build` and `load` replace; each of them warns."""

import warnings
from pathlib import Path

from score_sde.experiments.builders import Config, build
from score_sde.experiments.classifier import ClassifierExperiment, NoisyClassifier
from score_sde.experiments.dequantizer import DequantizerExperiment, LearnedDequantizer
from score_sde.experiments.loading import load
from score_sde.experiments.score_model import Model
from score_sde.runtime.trust import EVERYTHING, Allow, Trust


def build_classifier(config: Config) -> ClassifierExperiment:
    """``build(config, ClassifierExperiment)``."""
    _warn("build_classifier(config)", "build(config, ClassifierExperiment)")
    return build(config, ClassifierExperiment)


def build_dequantizer(
    config: Config, score_model: Model, *, trust: Trust = EVERYTHING
) -> DequantizerExperiment:
    """``build(config, DequantizerExperiment, score_model=...)``."""
    _warn(
        "build_dequantizer(config, model)",
        "build(config, DequantizerExperiment, score_model=model)",
    )
    return build(config, DequantizerExperiment, score_model=score_model, data_trust=trust)


def load_classifier(
    path: str | Path, *, step: int | None = None, config: Config | None = None, allow: Allow = ()
) -> NoisyClassifier:
    """``load(path, NoisyClassifier)``."""
    _warn("load_classifier(path)", "load(path, NoisyClassifier)")
    return load(path, NoisyClassifier, step=step, config=config, allow=allow)


def load_dequantizer(
    path: str | Path, *, step: int | None = None, allow: Allow = ()
) -> LearnedDequantizer:
    """``load(path, LearnedDequantizer)``."""
    _warn("load_dequantizer(path)", "load(path, LearnedDequantizer)")
    return load(path, LearnedDequantizer, step=step, allow=allow)


def _warn(former: str, now: str) -> None:
    message = f"score_sde.{former} is now score_sde.{now}; the former name goes with version 0.3"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
