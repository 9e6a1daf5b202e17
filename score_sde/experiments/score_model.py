"""A score model: to train, and to draw from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias, get_args

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde.conditioning.guidance import ScoreFnOf
from score_sde.data import Augmentation, DataSource, Example
from score_sde.experiments.base import AnyExperiment, Split, TrainedModel
from score_sde.experiments.settings import EvaluationOptions, SamplingOptions
from score_sde.export.model import export_model
from score_sde.export.stablehlo import PLATFORMS, export_sampler
from score_sde.likelihood.estimators import LogProbEstimate
from score_sde.models.base import ScoreNetwork, make_score_fn
from score_sde.models.conditions import ClassLabel, Condition
from score_sde.models.labels import check_labels
from score_sde.objectives import NoiseLevels, ScoreMatching
from score_sde.parameterization import Parameterization
from score_sde.sampling import ProbabilityFlow, Projection, Sample, Sampler, decode, encode, sample
from score_sde.sdes import SDE
from score_sde.sdes.base import starting_at
from score_sde.solvers.integrate import ProgressFn
from score_sde.training import Context, LossFn
from score_sde.typing import Key, Params, Scalar, ScalarLike, ScoreFn

AXIS = "batch"
"""The name of the batch axis, for samplers that couple its samples."""

ScoreTransform: TypeAlias = Callable[[ScoreFnOf, Any, Any], ScoreFn]
"""``(score_fn_of, params, condition) -> score_fn``: a guided or conditioned score, from
that of the network; ``score_fn_of.sde`` is its SDE. Every `Guidance` is one.

``params`` may hold several networks, and ``condition`` whatever one sample is
conditioned on: both are arguments of the compiled sampler, so that other values of them
compile nothing anew. So ``lambda of, params, label: autoguided(of(params["main"],
label), of(params["weak"], label), scale=2.0)``.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model(TrainedModel):
    """A score model and everything a script needs to draw from it, besides what every
    `TrainedModel` has.

    The functions below are about ONE sample and its own condition, pure, and take the
    parameters as an argument; a batch is ``jax.vmap`` over ``(key, condition)``.

    Attributes:
        network: the network, as pure functions of its parameters.
        parameterization: what the network predicts.
        sampler: the sampler of the config.
        drawing: how many samples are asked for, and how.
        evaluating: how likelihoods are computed.
        condition: what the network was conditioned on in training; None for an
            unconditional model.
        transform: what is made of the network's score; None for the score itself.
    """

    network: ScoreNetwork
    parameterization: Parameterization
    sampler: Sampler
    drawing: SamplingOptions
    evaluating: EvaluationOptions
    condition: Condition | None = None
    transform: ScoreTransform | None = None

    def __post_init__(self) -> None:
        check_labels(self.sde, self.network.labels, self.parameterization, first=self.sde.t_min)
        evaluating = self.evaluating
        _before_end("eval.t_min", evaluating.t_min, self.sde)
        evaluating.estimator.check_model(self.sde, self.parameterization)
        if (
            self.scaling.num_levels is not None
            and evaluating.dequantizer is None
            and evaluating.bound is None
        ):
            raise ValueError(
                "eval.dequantizer none needs eval.bound: the probability flow has a density, and "
                "no probabilities"
            )
        classes = self.drawing.chosen_classes
        if classes is not None:
            if not isinstance(self.condition, ClassLabel):
                raise ValueError(
                    f"sampling.classes={','.join(map(str, classes))} needs a model of classes: "
                    "this one was trained without labels"
                )
            self.condition.check_all(np.asarray(classes), "sampling.classes")

    @cached_property
    def compiled(self) -> dict[Any, Any]:
        """The functions that were compiled for this model, kept as long as it is."""
        return {}

    @property
    def score_fn(self) -> ScoreFn:
        """The score ``(x, t) -> grad_x log p_t(x)`` of one sample of an unconditional model."""
        return self.score_fn_of(self.params)

    def score_fn_of(
        self, params: Params, condition: Any = None, *, present: ScalarLike | None = None
    ) -> ScoreFn:
        """The score ``(x, t) -> grad_x log p_t(x | condition)`` of one sample, for
        functions that take the parameters as an argument.

        Args:
            params: the parameters.
            condition: the condition of this one example, such as a class label.
            present: whether the condition is there (a boolean, which may be traced);
                where it is not, the score is that without the condition, for networks
                that were trained with and without.

        Raises:
            ValueError: in one line, where the model takes a condition and none is given,
                or the contrary.
        """
        if self.transform is None:
            return self._network_score_of(params, condition, present=present)
        if present is not None:
            raise ValueError("present is for the score of the network, this one is transformed")
        return self.transform(ScoreFnOf(self.sde, self._network_score_of), params, condition)

    def _network_score_of(
        self, params: Params, condition: Any = None, *, present: ScalarLike | None = None
    ) -> ScoreFn:
        if self.condition is None and condition is not None:
            raise ValueError("this model was trained without conditions: give no condition")
        if self.condition is not None and condition is None:
            raise ValueError(
                f"this model is conditioned on {self.condition.name}: give the condition of "
                "each sample"
            )
        return make_score_fn(
            self.sde,
            self.network,
            self.parameterization,
            params,
            condition=condition,
            present=present,
        )

    def with_score(self, transform: ScoreTransform, params: Params | None = None) -> "Model":
        """The model with another score: guided, or conditioned on a measurement. It has no
        config, for none says so.

        Args:
            transform: what is made of the network's score. Of a model that has one
                already, the new one is applied to its result.
            params: the parameters that it takes; those of the model unless given.
        """
        inner = ScoreFnOf(self.sde, self.score_fn_of)
        return replace(
            self,
            transform=lambda _, params, condition: transform(inner, params, condition),
            params=self.params if params is None else params,
            config=None,
        )

    def draw(
        self,
        params: Params,
        key: Key,
        condition: Any = None,
        *,
        sampler: Sampler | None = None,
        guidance: ScoreTransform | None = None,
        save_path: int = 0,
        progress: ProgressFn | None = None,
        projection: Projection | None = None,
        x_init: Shaped[ArrayLike, "*shape"] | None = None,
        t_start: float | None = None,
    ) -> Sample:
        """One sample in model space, as `score_sde.sample` draws it with the settings of
        the config.

        Args:
            params: the parameters, as ``model.params``.
            key: the only source of randomness.
            condition: the condition of this one sample, where the model takes one.
            sampler: how to integrate; that of the config unless given.
            guidance: what is made of the score first, as by `with_score`; that of the
                config unless given.
            save_path: the number of frames of the trajectory to return.
            progress: called on the host now and then, with the part of the steps that
                is done.
            projection: what each step is projected to, as by `Inpainting`.
            x_init: an example in model space, and
            t_start: the time up to which noise is added to it: image to image. From the
                prior unless given.
        """
        of, guidance = ScoreFnOf(self.sde, self.score_fn_of), guidance or self.drawing.guidance
        score_fn = of(params, condition) if guidance is None else guidance(of, params, condition)
        return sample(
            key,
            self.sde,
            score_fn,
            sampler or self.sampler,
            self.shape,
            save_path=save_path,
            progress=progress,
            projection=projection,
            x_init=x_init,
            t_start=t_start,
            **self.drawing.options,
        )

    def log_likelihood(
        self, params: Params, key: Key, example: Shaped[ArrayLike, "*shape"], condition: Any = None
    ) -> LogProbEstimate:
        """The log-likelihood in nats of one example in data units, as the section ``eval``
        of the config asks for it.

        Of data with levels it is their log probability, of continuous data the log
        density in their own units. ``key`` draws dequantisation and probes.
        """
        return self.evaluating.log_likelihood(
            key, self.sde, self.score_fn_of(params, condition), self.scaling, example
        )

    def encode(
        self, params: Params, x: Shaped[ArrayLike, "*shape"], condition: Any = None
    ) -> Float[Array, "*shape"]:
        """The latent at ``t_max`` of one sample ``x`` in model space, taken to live at
        ``eval.t_min``: the probability-flow ODE to the tolerances of the config.
        """
        sde, flow = self._flow
        return encode(sde, self.score_fn_of(params, condition), x, sampler=flow)

    def decode(
        self, params: Params, latent: Shaped[ArrayLike, "*shape"], condition: Any = None
    ) -> Float[Array, "*shape"]:
        """The sample in model space at ``eval.t_min`` of a latent: the inverse of `encode`."""
        sde, flow = self._flow
        return decode(sde, self.score_fn_of(params, condition), latent, sampler=flow)

    @property
    def _flow(self) -> tuple[SDE, ProbabilityFlow]:
        """The SDE from ``eval.t_min`` on, and the solver of its flow."""
        options = self.evaluating
        return starting_at(self.sde, options.t_min), ProbabilityFlow(
            rtol=options.rtol, atol=options.atol
        )

    def conditions_of_samples(self, indices: Int[np.ndarray, " b"]) -> Any:
        """The condition of each sample, by its index alone: its class, as
        ``sampling.classes`` says; None for an unconditional model.

        Raises:
            ValueError: in one line, where the model is conditioned on something else.
        """
        if self.condition is None:
            return None
        num_classes = getattr(self.condition, "num_classes", None)
        classes = self.drawing.chosen_classes or tuple(range(num_classes or 0))
        if not classes:
            raise ValueError(
                f"this model is conditioned on {self.condition.name}: give the condition of "
                "each sample"
            )
        return np.asarray(classes, np.int32)[indices % len(classes)]

    def conditions_of(self, source: DataSource, split: Split) -> Any:
        """The condition of each example of a split, a pytree of arrays ``[n, ...]``;
        None for an unconditional model.

        Raises:
            ValueError: in one line, where the data lack them, or one of them is none
                that the network takes.
        """
        if self.condition is None:
            return None
        found = source.conditions(split)
        if found is None:
            raise ValueError(
                f"the network is conditioned on {self.condition.name}, and the data have no "
                "labels: remove model.num_classes for an unconditional model"
            )
        self.condition.check_all(found, f"the {split} data")
        return found

    def save(self, folder: str | Path) -> None:
        """Write parameters and config to a new folder, which `load` and the commands take.

        Raises:
            FileExistsError: where the folder holds something.
            ValueError: where the model has no config.
        """
        export_model(folder, self.params, self.saved_config, step=self.step)

    def export_sampler(self, path: str | Path, *, platforms: Sequence[str] = PLATFORMS) -> None:
        """Write the sampler, parameters included, as one file of StableHLO, which runs
        with jax alone: ``call(seed, index)``, or ``call(seed, index, condition)``.

        Samples are in data units. `score_sde.export.stablehlo.export_sampler` says how
        to run it, and which environment variable it needs.
        """

        def draw(keys: Array, conditions: Any) -> Array:
            one = jax.vmap(lambda *each: self.draw(self.params, *each).x, axis_name=AXIS)
            return self.scaling.to_data(one(keys, conditions))

        one = None if self.condition is None else self.condition.shapes()
        export_sampler(path, draw, one, platforms=platforms)


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment(AnyExperiment):
    """Everything that a config chooses, ready to train: what `AnyExperiment` has, and more.

    ``objective`` is the loss, ``augmentation`` what training does to the examples
    first.
    """

    model: Model
    objective: ScoreMatching
    augmentation: Augmentation = Augmentation()  # noqa: RUF009 - a frozen value

    def __post_init__(self) -> None:
        model, objective = self.model, self.objective
        objective.check(model.sde)
        first = objective.times.first(model.sde)
        check_labels(
            model.sde, model.network.labels, model.parameterization, first=first, trained=True
        )
        if objective.condition_dropout and model.condition is None:
            raise ValueError(
                f"objective.condition_dropout={objective.condition_dropout} needs a network with a "
                "condition, such as model.num_classes"
            )
        for split in get_args(Split):
            model.conditions_of(self.source, split)  # which checks them

    def conditions(self, split: Split) -> Any:
        """What the network is conditioned on."""
        return self.model.conditions_of(self.source, split)

    def loss_fn(self, *, train: bool) -> LossFn:
        """``(params, key, u, raw example, context) -> (loss, loss by noise level)``.

        Augmentation (in training), scaling, dequantisation, network and objective in
        one; ``u`` decides the time where the objective is stratified.
        """
        model, objective = self.model, self.objective
        augmentation = self.augmentation if train else Augmentation()
        levels = NoiseLevels.of(model.sde, objective.times)

        def loss(
            params: Params, key: Key, u: ScalarLike, example: Example, context: Context
        ) -> tuple[Scalar, dict[str, Scalar]]:
            data_key, network_key, objective_key, augmentation_key = jax.random.split(key, 4)
            score_fn_of = partial(
                make_score_fn,
                model.sde,
                model.network,
                model.parameterization,
                condition=example.condition,
                present=_present(key, objective.condition_dropout if train else 0.0),
                key=network_key,
                train=train,
            )
            x0 = model.scaling.to_model(data_key, augmentation(augmentation_key, example.x))
            time_key, noise_key = jax.random.split(objective_key)
            t, weight = objective.times(
                u if objective.stratified else jax.random.uniform(time_key), model.sde
            )
            value = objective.at_step(noise_key, model.sde, score_fn_of, params, x0, t, context)
            return weight * value, levels.sort(value, model.sde.log_snr(t))

        return loss


def _present(key: Key, dropout: float) -> Array | None:
    """Whether an example keeps its condition; None where all do."""
    if not dropout:
        return None
    return jax.random.bernoulli(jax.random.fold_in(key, _PRESENT), 1.0 - dropout)


_PRESENT = 2**32 - 1
"""What the key of an example is folded with to draw whether it keeps its condition."""


def _before_end(name: str, t_min: float, sde: SDE) -> None:
    if not t_min < sde.t_max:
        raise ValueError(f"{name}={t_min} must be less than sde.t_max={sde.t_max}")
