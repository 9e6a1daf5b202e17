"""A score model, and the experiment that trains one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias, get_args

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde import checks
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
from score_sde.sampling import ProbabilityFlow, Sample, Sampler, decode, encode, sample
from score_sde.sdes import SDE
from score_sde.sdes.base import starting_at
from score_sde.training import Context, LossFn
from score_sde.typing import Key, Params, SampleLike, Scalar, ScalarLike, ScoreFn

AXIS = "batch"
"""The name of the batch axis, for samplers that couple the samples of a batch."""

ScoreTransform: TypeAlias = Callable[[ScoreFnOf, Any, Any], ScoreFn]
"""``(score_fn_of, params, condition) -> score_fn``: a guided or conditioned score, made
from the score of the network. ``score_fn_of.sde`` is the SDE. Every `Guidance` is one.

``params`` may hold several networks, and ``condition`` is the condition of one sample.
Both are arguments of the compiled sampler: other values do not compile it again. An
example: ``lambda of, params, label: autoguided(of(params["main"], label),
of(params["weak"], label), scale=2.0)``.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model(TrainedModel):
    """A trained score model: its score, its samples, its likelihoods.

    The methods are pure functions of ONE sample and its condition, and take the
    parameters as an argument; a batch is ``jax.vmap`` over ``(key, condition)``. `fit`
    and `load` return a ``Model``; an experiment of `build` has one with its initial
    parameters. ::

        keys = jax.random.split(jax.random.key(0), 64)
        x = jax.jit(jax.vmap(lambda key: model.draw(model.params, key).x))(keys)

    Attributes:
        network: the network, as pure functions of its parameters.
        parameterization: what the network predicts.
        sampler: the default sampler of `draw`.
        drawing: the other settings of the section ``sampling``.
        evaluating: the settings of likelihoods and latents, the section ``eval``.
        condition: the structure of the network's condition in training; None for an
            unconditional model.
        transform: a transform of the network's score, set by `with_score`; None for
            the network's score.

    Raises:
        ValueError: where the network, the parameterization and the settings do not fit
            the SDE or each other.
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
        checks.require(
            evaluating.t_min < self.sde.t_max,
            f"eval.t_min={evaluating.t_min} must be less than sde.t_max={self.sde.t_max}",
        )
        evaluating.estimator.check_model(self.sde, self.parameterization)
        checks.require(
            self.scaling.num_levels is None
            or evaluating.dequantizer is not None
            or evaluating.bound is not None,
            "eval.dequantizer=none needs eval.bound: the probability flow has a density and gives "
            "discrete data no probability",
        )
        classes = self.drawing.chosen_classes
        if classes is not None:
            if not isinstance(self.condition, ClassLabel):
                raise ValueError(
                    f"sampling.classes={','.join(map(str, classes))} needs a class-conditional "
                    "model: this one was trained without labels"
                )
            self.condition.check_all(np.asarray(classes), "sampling.classes")

    @cached_property
    def compiled(self) -> dict[Any, Any]:
        """A cache of the functions compiled for this model."""
        return {}

    @property
    def score_fn(self) -> ScoreFn:
        """The score ``(x, t) -> grad_x log p_t(x)`` of an unconditional model.

        ``x`` is one sample in model space, ``t`` a scalar.

        Raises:
            ValueError: where the model is conditional.
        """
        return self.score_fn_of(self.params)

    def score_fn_of(
        self, params: Params, condition: Any = None, *, present: ScalarLike | None = None
    ) -> ScoreFn:
        """The score ``(x, t) -> grad_x log p_t(x | condition)`` of one sample, as a
        function of the parameters.

        Args:
            params: the parameters, as ``model.params``.
            condition: the condition of this one sample, such as a class label.
            present: a Boolean, which may be traced: where it is False, the score is the
                unconditional one. For networks trained with ``condition_dropout``.

        Raises:
            ValueError: where a conditional model gets no condition, or an unconditional
                model gets one.
        """
        if self.transform is None:
            return self._network_score_of(params, condition, present=present)
        checks.require(
            present is None, "present is for the score of the network, this one is transformed"
        )
        return self.transform(ScoreFnOf(self.sde, self._network_score_of), params, condition)

    def _network_score_of(
        self, params: Params, condition: Any = None, *, present: ScalarLike | None = None
    ) -> ScoreFn:
        checks.require(
            self.condition is not None or condition is None,
            "this model was trained without conditions: give no condition",
        )
        self._require_condition(condition is not None)
        return make_score_fn(
            self.sde,
            self.network,
            self.parameterization,
            params,
            condition=condition,
            present=present,
        )

    def _require_condition(self, given: bool) -> None:
        """Raise ``ValueError`` where a conditional model gets no condition."""
        if self.condition is not None and not given:
            raise ValueError(
                f"this model is conditioned on {self.condition.name}: give the condition of "
                "each sample"
            )

    def with_score(self, transform: ScoreTransform, params: Params | None = None) -> "Model":
        """This model with a transformed score: guided, or conditioned on a measurement.

        The result has no config, since a config cannot describe a transform.

        Args:
            transform: the transform of the score. It applies after an earlier one.
            params: the parameters for the transform, which may hold several networks;
                by default the parameters of this model.
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
        **options: Any,
    ) -> Sample:
        """Draw one sample in model space, by `score_sde.sample`.

        ::

            keys = jax.random.split(jax.random.key(0), 64)
            x = jax.vmap(lambda key: model.draw(model.params, key).x)(keys)

        Args:
            params: the parameters, as ``model.params``.
            key: the only source of randomness.
            condition: the condition of this one sample, for a conditional model.
            sampler: the sampler; by default the sampler of the model.
            guidance: a transform of the score, as in `with_score`; by default the
                guidance of the config.
            **options: keyword options of `score_sde.sample`: ``save_path``,
                ``progress``, ``projection``, ``x_init`` with ``t_start``; ``denoise``
                and ``threshold``, by default the values of the config.
        """
        of, guidance = ScoreFnOf(self.sde, self.score_fn_of), guidance or self.drawing.guidance
        score_fn = of(params, condition) if guidance is None else guidance(of, params, condition)
        options = {**self.drawing.options, **options}
        return sample(key, self.sde, score_fn, sampler or self.sampler, self.shape, **options)

    def log_likelihood(
        self, params: Params, key: Key, example: SampleLike, condition: Any = None
    ) -> LogProbEstimate:
        """The log-likelihood in nats of one example in data units, by the settings of
        the section ``eval``.

        For discrete data it is a log probability, for continuous data a log density in
        data units. ``key`` draws the dequantisation and the probes.
        """
        return self.evaluating.log_likelihood(
            key, self.sde, self.score_fn_of(params, condition), self.scaling, example
        )

    def encode(
        self, params: Params, x: SampleLike, condition: Any = None
    ) -> Float[Array, "*shape"]:
        """The latent at ``t_max`` of one sample ``x`` in model space: the
        probability-flow ODE from ``eval.t_min`` on, to the tolerances of the config.
        """
        sde, flow = self._flow
        return encode(sde, self.score_fn_of(params, condition), x, sampler=flow)

    def decode(
        self, params: Params, latent: SampleLike, condition: Any = None
    ) -> Float[Array, "*shape"]:
        """The sample in model space at ``eval.t_min`` for a latent: the inverse of `encode`."""
        sde, flow = self._flow
        return decode(sde, self.score_fn_of(params, condition), latent, sampler=flow)

    @property
    def _flow(self) -> tuple[SDE, ProbabilityFlow]:
        """The SDE from ``eval.t_min`` on, and the solver of its probability flow."""
        options = self.evaluating
        return starting_at(self.sde, options.t_min), ProbabilityFlow(
            rtol=options.rtol, atol=options.atol
        )

    def conditions_of_samples(self, indices: Int[np.ndarray, " b"]) -> Any:
        """The classes of the samples with these indices, by ``sampling.classes``; None
        for an unconditional model.

        Raises:
            ValueError: where the model is conditioned on something other than classes.
        """
        if self.condition is None:
            return None
        num_classes = getattr(self.condition, "num_classes", None)
        classes = self.drawing.chosen_classes or tuple(range(num_classes or 0))
        self._require_condition(bool(classes))
        return np.asarray(classes, np.int32)[indices % len(classes)]

    def conditions_of(self, source: DataSource, split: Split) -> Any:
        """The conditions of the examples of a split, a pytree of arrays ``[n, ...]``;
        None for an unconditional model.

        Raises:
            ValueError: where the data have no conditions, or the network does not take
                one of them.
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

    def save(self, folder: str | Path, *, figures: Mapping[str, Any] | None = None) -> None:
        """Write parameters, config and a model card with ``figures`` to a new folder.

        Raises:
            FileExistsError: where the folder is not empty.
            ValueError: where the model has no config.
        """
        export_model(folder, self.params, self.saved_config, step=self.step, figures=figures)

    def export_sampler(self, path: str | Path, *, platforms: Sequence[str] = PLATFORMS) -> None:
        """Write the sampler and its parameters as one StableHLO file that runs with JAX
        alone: ``call(seed, index)``, or ``call(seed, index, condition)``.

        Samples are in data units. `score_sde.export.stablehlo.export_sampler` explains
        how to run the file, and the environment variable that exporting needs.
        """

        def draw(keys: Array, conditions: Any) -> Array:
            one = jax.vmap(lambda *each: self.draw(self.params, *each).x, axis_name=AXIS)
            return self.scaling.to_data(one(keys, conditions))

        one = None if self.condition is None else self.condition.shapes()
        export_sampler(path, draw, one, platforms=platforms)


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment(AnyExperiment):
    """The training of a score model, as `build` makes it from a config.

    >>> import jax, score_sde as ss
    >>> from score_sde.configs.toy import moons
    >>> model = ss.build(moons.get_config()).model
    >>> jax.eval_shape(model.draw, model.params, jax.random.key(0)).x.shape
    (2,)

    Attributes:
        objective: the loss.
        augmentation: the augmentation of training examples.

    Raises:
        ValueError: where objective, network and data do not fit the SDE or each other.
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
        checks.require(
            not objective.condition_dropout or model.condition is not None,
            f"objective.condition_dropout={objective.condition_dropout} needs a network with a "
            "condition, such as model.num_classes",
        )
        for split in get_args(Split):
            model.conditions_of(self.source, split)  # for its checks

    def conditions(self, split: Split) -> Any:
        """The conditions of the examples of a split."""
        return self.model.conditions_of(self.source, split)

    def loss_fn(self, *, train: bool) -> LossFn:
        """``(params, key, u, raw example, context) -> (loss, loss by noise level)``.

        It augments (in training), scales and dequantises the example and evaluates the
        objective. A stratified objective takes its time from ``u`` in [0, 1).
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
    """Whether an example keeps its condition; None without dropout."""
    if not dropout:
        return None
    return jax.random.bernoulli(jax.random.fold_in(key, _PRESENT), 1.0 - dropout)


_PRESENT = 2**32 - 1
"""Folded into the key of an example to draw whether it keeps its condition."""
