"""Training from arrays, without a config and without a folder."""

import io
import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import ArrayLike, PyTree, Shaped

from score_sde import checks
from score_sde.data import DataSource, Scaling
from score_sde.experiments.base import initial_params
from score_sde.experiments.describe import described
from score_sde.experiments.score_model import Experiment, Model
from score_sde.experiments.settings import EvaluationOptions, SamplingOptions, TrainingOptions
from score_sde.experiments.train import NUM_MEASURED, run_in_memory
from score_sde.models import ScoreNetwork, from_functions
from score_sde.objectives import (
    DenoisingScoreMatching,
    EDMWeighting,
    LogNormalNoise,
    ScoreMatching,
)
from score_sde.parameterization import EDMPreconditioning, Parameterization
from score_sde.runtime.signals import StopRequest
from score_sde.sampling import Sampler, default_sampler
from score_sde.sdes import SDE
from score_sde.training import Hook, adam, device_mesh, train as train_run
from score_sde.training.mesh import check_batch_size, gathered
from score_sde.typing import Key, Params

Network = ScoreNetwork | tuple[Callable[..., Params], Callable[..., Any]]
"""A `ScoreNetwork`, for example of `mlp` or `from_linen`, or a pair ``(init, apply)``."""


def fit(
    key: Key,
    sde: SDE,
    network: Network,
    data: Shaped[ArrayLike, "n *shape"] | DataSource,
    *,
    condition: PyTree[Shaped[ArrayLike, "..."]] | None = None,
    num_steps: int = 10_000,
    batch_size: int = 128,
    optimizer: optax.GradientTransformation | None = None,
    objective: ScoreMatching | None = None,
    parameterization: Parameterization | None = None,
    sampler: Sampler | None = None,
    params: Params | None = None,
    ema_decay: float = 0.999,
    hooks: Sequence[Hook] = (),
    progress: bool = True,
) -> Model:
    """Train a score network on arrays, with the training loop of ``score-sde train``.

    ::

        moons = ss.fit(jax.random.key(0), ss.VPSDE(), ss.mlp(dim=2), x, num_steps=2000)
        samples = ss.sample_many(jax.random.key(1), moons, 1000)

    It writes no files; `Model.save` saves the result. Ctrl-C ends the training after
    the current step, and the model so far is returned; a second Ctrl-C interrupts.

    Args:
        key: the only source of randomness. ``fit(jax.random.key(seed), ...)`` trains the
            same model, bit for bit, as ``score-sde train`` with the same settings and
            that seed.
        sde: the forward SDE.
        network: a network of `mlp`, `from_linen`, `from_nnx`, `from_equinox` or the
            like, or any pair of functions ``init(key) -> params`` and ``apply(params,
            x, t) -> output``, with ``x`` and ``output`` ``[b, *shape]`` and time labels
            ``t`` ``[b]``. With the default parameterization the label is ``log(sigma /
            alpha) / 4`` and the input has unit variance.
        data: the examples ``[n, *shape]``. Floats are used unchanged; uint8 images are
            dequantized and scaled to [-1, 1], and samples are uint8 again. Or a
            `DataSource`, whose held-out loss is then logged.
        condition: the conditions of the examples, a pytree of arrays ``[n, ...]``, such
            as class labels; for a network that takes a condition.
        num_steps: number of updates.
        batch_size: examples per update, over all devices.
        optimizer: an optax transformation; by default Adam with a learning rate of
            1e-3, warm-up and gradient clipping.
        objective: the loss; by default denoising score matching with the weighting and
            the noise levels of Karras et al. 2022.
        parameterization: what the network predicts; by default the preconditioning of
            Karras et al. 2022, with the standard deviation of the data.
        sampler: the sampler of the model; by default `default_sampler`.
        params: initial parameters, instead of ``network.init(key)``.
        ema_decay: decay of the moving average of the parameters. The model has the
            averaged parameters.
        hooks: functions that are called between steps.
        progress: whether to show progress: a bar on a terminal, lines elsewhere.

    Raises:
        ValueError: where data, conditions, network or settings do not fit each other.
        FloatingPointError: where gradients stay non-finite.
    """
    source = _source(data, condition)
    std = cache(lambda: _std(source))  # computed from the data at most once
    parameterization = parameterization or EDMPreconditioning(sigma_data=std())
    model = _untrained(key, sde, network, source, condition, parameterization, params)
    experiment = Experiment(
        model=replace(model, sampler=sampler or model.sampler),
        source=source,
        objective=objective or _objective(std()),
        optimizer=optimizer or adam(lr=1e-3, warmup=min(100, num_steps // 10)),
        training=TrainingOptions(
            num_steps=num_steps,
            batch_size=batch_size,
            ema_decay=ema_decay,
            eval_every=500 if isinstance(data, DataSource) else 0,
        ),
    )
    return _trained(key, experiment, hooks, progress)


def _untrained(
    key: Key,
    sde: SDE,
    network: Network,
    source: DataSource,
    condition: Any,
    parameterization: Parameterization,
    params: Params | None,
) -> Model:
    """The model with its initial parameters."""
    network = network if isinstance(network, ScoreNetwork) else from_functions(*network)
    checks.require(
        condition is None or network.condition is not None,
        "condition is for a network that takes one, as mlp(dim=2, num_classes=10) or "
        "from_linen(module, shape, condition=...)",
    )
    model = Model(
        sde=sde,
        params=initial_params(network, key) if params is None else params,
        shape=source.shape,
        scaling=Scaling(num_levels=source.num_levels),
        seed=_seed(key),
        step=0,
        config=None,
        network=network,
        parameterization=parameterization,
        sampler=default_sampler(),
        drawing=SamplingOptions(),
        evaluating=EvaluationOptions(),
        condition=network.condition,
    )
    _check_network(model)
    return model


def _trained(key: Key, experiment: Experiment, hooks: Sequence[Hook], progress: bool) -> Model:
    mesh = device_mesh()
    check_batch_size(mesh, experiment.training.batch_size)
    run = run_in_memory(experiment, mesh, key, hooks)
    run = run if progress else replace(run, stream=io.StringIO())
    with StopRequest([signal.SIGINT]) as stop:
        state = train_run(run, stop=stop).state
    params = gathered(mesh, state.ema_params)
    model = replace(experiment.model, params=params, step=int(state.step))
    return replace(model, config=described(model, objective=experiment.objective))


def _source(data: Any, condition: Any) -> DataSource:
    if isinstance(data, DataSource):
        checks.require(
            condition is None,
            "condition is for data as an array: a DataSource has train_conditions of its own",
        )
        return data
    array = np.asarray(data)
    checks.require(
        array.dtype in (np.uint8, jnp.bfloat16) or array.dtype.kind == "f",
        f"data must be floating-point numbers, or uint8 images, got {array.dtype}: give "
        "data.astype(float), or a DataSource with num_levels",
    )
    levels = 256 if array.dtype == np.uint8 else None
    own = {"train_conditions": condition, "test_conditions": condition}
    return DataSource(train=array, test=array, num_levels=levels, **own)


def _objective(std: float) -> ScoreMatching:
    """The loss of Karras et al. 2022, table 1, for data of standard deviation ``std``."""
    times = LogNormalNoise(mean=-1.2 + math.log(std / 0.5))
    return DenoisingScoreMatching(weighting=EDMWeighting(sigma_data=std), time_sampling=times)


def _std(source: DataSource) -> float:
    """The standard deviation of the data in model space, over all their values."""
    scaling = Scaling(num_levels=source.num_levels)
    rows = np.linspace(0, len(source.train) - 1, min(NUM_MEASURED, len(source.train)))
    examples = np.asarray(source.train[rows.round().astype(np.int64)])
    return float(np.std(scaling.to_model(jax.random.key(0), examples))) or 1.0


def _check_network(model: Model) -> None:
    """Raise ``ValueError`` unless the output has the shape of an example."""
    network, shape = model.network, model.shape
    x, t = (jax.ShapeDtypeStruct((1, *part), jnp.float32) for part in (shape, ()))
    options = {} if model.condition is None else {"condition": model.condition.zeros(1)}
    output = jax.eval_shape(
        lambda params, x, t: network.apply(params, x, t, **options), model.params, x, t
    )
    checks.require(
        output.shape == (1, *shape),
        f"the network must keep the shape of a batch of examples: its output for {(1, *shape)} is "
        f"{output.shape}",
    )


def _seed(key: Key) -> int:
    """The seed of a key: of ``jax.random.key(seed)`` it is ``seed``."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = np.asarray(jax.random.key_data(key) if typed else key).ravel()[-2:]
    return int(words[0]) << 32 | int(words[1])
