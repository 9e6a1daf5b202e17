"""The kinds of models that a config may describe, in one table.

`build`, `load` and the commands look up the kind here. A new kind of model is one more
entry.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from score_sde import objectives, parameterization, sampling
from score_sde.experiments.base import AnyExperiment, TrainedModel
from score_sde.experiments.classifier import ClassifierExperiment, NoisyClassifier
from score_sde.experiments.construction import call, construct
from score_sde.experiments.dequantizer import (
    DequantizerExperiment,
    LearnedDequantizer,
    VariationalDequantization,
)
from score_sde.experiments.score_model import Experiment, Model
from score_sde.experiments.sections import SECTIONS, WITHOUT_SAMPLES
from score_sde.experiments.settings import EvaluationOptions, SamplingOptions
from score_sde.experiments.tables import OBJECTIVES
from score_sde.models import Classifier, ConditionalFlow, ScoreNetwork
from score_sde.runtime.trust import Trust

Plain: TypeAlias = dict[str, Any]
"""A config as plain dictionaries, its sections checked."""

Parts: TypeAlias = Mapping[str, Any]
"""Keyword arguments of the class of a model or of an experiment."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of model. The objective of a config decides which kind it describes.

    Attributes:
        name: its name in messages.
        model: the class of its models, the ``kind`` of `load`.
        experiment: the class of its experiments, the ``kind`` of `build`.
        objective: the class of its objectives.
        network: the class of its networks.
        sections: the sections of its config.
        augments: whether its training augments the examples (``data.flip``).
        conditional: whether its networks may have a ``condition``; its configs then
            state in ``example.conditional`` whether training used it.
        for_score_model: whether it is trained for a given score model.
        parts: ``(config, network, trust) ->`` the attributes of its models that a
            `TrainedModel` does not have, except the network.
    """

    name: str
    model: type[TrainedModel]
    experiment: type[AnyExperiment]
    objective: type
    network: type
    sections: tuple[str, ...] = WITHOUT_SAMPLES
    augments: bool = False
    conditional: bool = False
    for_score_model: bool = False
    parts: Callable[[Plain, Any, Trust], Parts] = field(default=lambda plain, network, trust: {})


def _parts_of_score_model(plain: Plain, network: ScoreNetwork, trust: Trust) -> Parts:
    sampler = dict(plain["sampling"])
    drawing = {
        key: sampler.pop(key)
        for key in inspect.signature(SamplingOptions).parameters
        if key in sampler
    }
    # A network may have an embedding of classes that its training has never used.
    conditional = plain["example"].get("conditional") or plain["model"].get("label_required")
    return {
        "parameterization": construct(
            "parameterization",
            parameterization.Parameterization,
            plain["parameterization"],
            trust=trust,
        ),
        "sampler": construct("sampling", sampling.Sampler, sampler, trust=trust),
        "drawing": call("sampling", SamplingOptions, drawing, trust=trust),
        "evaluating": call("eval", EvaluationOptions, plain["eval"], trust=trust),
        "condition": network.condition if conditional else None,
    }


KINDS: tuple[Kind, ...] = (
    Kind(
        name="score model",
        model=Model,
        experiment=Experiment,
        objective=objectives.ScoreMatching,
        network=ScoreNetwork,
        sections=SECTIONS,
        augments=True,
        conditional=True,
        parts=_parts_of_score_model,
    ),
    Kind(
        name="classifier",
        model=NoisyClassifier,
        experiment=ClassifierExperiment,
        objective=objectives.NoisyClassification,
        network=Classifier,
        augments=True,
    ),
    Kind(
        name="dequantizer",
        model=LearnedDequantizer,
        experiment=DequantizerExperiment,
        objective=VariationalDequantization,
        network=ConditionalFlow,
        for_score_model=True,
    ),
)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind of model whose objectives include the objective of the config; a score
    model for an objective of the user's own.
    """
    objective = config.get("objective")
    name = objective.get("name") if isinstance(objective, Mapping) else None
    found = OBJECTIVES.get(name) if isinstance(name, str) else None
    chosen = [
        kind for kind in KINDS if isinstance(found, type) and issubclass(found, kind.objective)
    ]
    return chosen[0] if chosen else KINDS[0]
