"""Many samples of a model, drawn in batches over all local devices, in the order of
their index.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Int, PyTree, Shaped

from score_sde import checks
from score_sde.experiments.score_model import AXIS, Model, ScoreTransform
from score_sde.sampling import Projection, Sample, Sampler
from score_sde.solvers.integrate import ProgressFn
from score_sde.typing import Key, Params

Draw = Callable[..., Sample]
"""``(params, keys [b], conditions, projection=None) ->`` a batch of samples; ``conditions``
is a pytree of arrays ``[b, ...]``, or None for an unconditional model; all samples have
the same ``projection``.
"""


ConditionsOf: TypeAlias = Callable[[Int[np.ndarray, " b"]], Any]
"""``indices ->`` the conditions ``[b, ...]`` of these samples, or None. An index has the
same condition however many samples are drawn.
"""


def make_draw(
    model: Model,
    *,
    sampler: Sampler | None = None,
    guidance: ScoreTransform | None = None,
    save_path: int = 0,
    progress: ProgressFn | None = None,
) -> Draw:
    """The compiled function ``(params, keys [b], conditions, projection=None) ->
    Sample``, a batch of samples split over all local devices.

    The options are those of `Model.draw`, which draws one.
    """
    options: dict[str, Any] = {
        "sampler": sampler,
        "guidance": guidance,
        "save_path": save_path,
        "progress": progress,
    }

    def draw(params: Params, keys: Array, conditions: Any, projection: Projection | None) -> Sample:
        def one(key: Key, condition: Any) -> Sample:
            return model.draw(params, key, condition, projection=projection, **options)

        return jax.vmap(one, axis_name=AXIS)(keys, conditions)

    compiled = jax.jit(draw)
    return lambda params, keys, conditions, projection=None: compiled(
        params, over_devices(keys), jax.tree.map(over_devices, conditions), projection
    )


def sample_many(
    key: Key,
    model: Model,
    num_samples: int,
    *,
    condition: PyTree[Shaped[ArrayLike, "..."]] | None = None,
    batch: int = 256,
    sampler: Sampler | None = None,
    guidance: ScoreTransform | None = None,
    projection: Projection | None = None,
) -> Shaped[np.ndarray, "num_samples *shape"]:
    """Many samples in data units, in batches over all local devices.

    Sample ``i`` is ``model.draw`` with the key ``fold_in(key, i)``, whatever the batch.
    ``score-sde sample --seed=SEED`` draws the same samples as ``jax.random.key(SEED)``.
    The sampler is compiled once for a model.

    ::

        model = score_sde.fit(key, score_sde.VPSDE(), score_sde.mlp(dim=2), data)
        x = score_sde.sample_many(key, model, 1000)

    Args:
        key: the only source of randomness.
        model: the model, from `fit` or `load`.
        num_samples: the number of samples.
        condition: for a conditional model, one condition for all samples, or a pytree
            of arrays ``[num_samples, ...]`` with a condition for each; None takes all
            classes in turn. For a model of `Model.with_score`, one argument of its
            transform, such as a measurement, for all samples.
        batch: the number of samples drawn at a time.
        sampler: None for the model's.
        guidance: the transform of the score, as in `Model.draw`.
        projection: applied to each step of every sample, in model space, such as
            `Inpainting`.

    Returns:
        uint8 or int32 levels where the data have levels, else floats.

    Raises:
        ValueError: a condition is missing or has a wrong form.
        FloatingPointError: a sample is not finite.
    """
    checks.at_least(1, num_samples=num_samples, batch=batch)
    draw = partial(_compiled_draw(model, sampler, guidance), projection=projection)
    conditions_of = _conditions_by_index(model, condition, num_samples)
    batches = generate(draw, model.params, key, num_samples, batch, conditions_of)
    x = np.concatenate([found.x for found in batches])
    check_finite("samples", x, "more steps of the sampler or a longer training")
    return np.asarray(model.scaling.to_data(x))


def _compiled_draw(model: Model, sampler: Sampler | None, guidance: ScoreTransform | None) -> Draw:
    """One compiled function for all calls with one model and request."""
    draw, request = make_draw(model, sampler=sampler, guidance=guidance), (sampler, guidance)
    try:
        return model.compiled.setdefault(request, draw)
    except TypeError:  # a guidance that has no hash, such as one with arrays
        return draw


def _conditions_by_index(model: Model, condition: Any, num_samples: int) -> ConditionsOf:
    """One condition for all samples, or one for each."""
    if condition is None:
        return model.conditions_of_samples
    given, form = jax.tree.map(np.asarray, condition), model.condition
    checks.require(
        form is not None or model.transform is not None,
        "this model was trained without conditions: give no condition",
    )
    if form is None or _is_one(form, given) or (model.transform and not _is_one_each(form, given)):
        if form is not None and model.transform is None:
            form.check(given)
        return lambda indices: jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (len(indices), *leaf.shape)), given
        )
    form.check_all(given, "the conditions")
    for leaf in jax.tree.leaves(given):
        checks.require(
            len(leaf) == num_samples,
            f"condition has {len(leaf)} rows for num_samples={num_samples}: give one for each "
            "sample, or one for all",
        )
    return lambda indices: jax.tree.map(lambda leaf: leaf[indices % num_samples], given)


def _is_one(form: Any, given: Any) -> bool:
    return _ranks(given) == _ranks(form.shapes())


def _is_one_each(form: Any, given: Any) -> bool:
    return _ranks(given) == jax.tree.map(lambda rank: rank + 1, _ranks(form.shapes()))


def _ranks(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: len(leaf.shape), tree)


def check_finite(what: str, results: Any, remedy: str) -> None:
    """Raise ``FloatingPointError`` unless all numbers of a pytree of arrays are finite."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results)):
        raise FloatingPointError(f"some {what} are not finite: {remedy}")


SOLVE_FAILED = "the adaptive solve did not reach its end"
"""Why the result of a probability-flow ODE is not finite."""


def index_keys(key: Key, indices: Int[np.ndarray, " n"]) -> Array:
    """The keys of samples or examples: ``fold_in(key, i)`` for index ``i``, whatever
    its batch.
    """
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(indices.astype(np.uint32))


def unconditional(indices: Int[np.ndarray, " b"]) -> None:
    """No conditions."""


def generate(
    draw: Draw,
    params: Params,
    key: Key,
    num_samples: int,
    batch_size: int,
    conditions_of: ConditionsOf = unconditional,
) -> Iterator[Sample]:
    """Batches of at most ``batch_size`` NumPy samples, ``num_samples`` in all; all
    batches have one shape, so that one compilation serves them.
    """
    size = even_batch_size(num_samples, batch_size)
    for start in range(0, num_samples, size):
        indices = range(start, min(start + size, num_samples))
        yield draw_range(draw, params, key, indices, size, conditions_of)


def draw_range(
    draw: Draw,
    params: Params,
    key: Key,
    indices: range,
    batch_size: int,
    conditions_of: ConditionsOf = unconditional,
) -> Sample:
    """The NumPy samples of at most ``batch_size`` indices; ``batch_size`` samples are
    drawn, so that all batches have one shape.
    """
    drawn = indices.start + np.arange(batch_size)
    batch = jax.device_get(draw(params, index_keys(key, drawn), conditions_of(drawn)))
    return jax.tree.map(lambda leaf: leaf[: len(indices)], batch)


def even_batch_size(total: int, largest: int) -> int:
    """The size of equal batches of at most ``largest``, a multiple of the number of
    local devices where possible.
    """
    size, devices = -(-total // -(-total // largest)), len(jax.local_devices())
    split = -(-size // devices) * devices
    return split if split <= largest else size


def over_devices(batch: Array | np.ndarray) -> Array | np.ndarray:
    """The batch, its rows split over all local devices where they divide evenly."""
    devices = jax.local_devices()
    # A single device has all rows: the types of an array on a mesh would name the mesh, and
    # functions would be traced for arrays with and without one.
    if len(devices) == 1 or len(batch) % len(devices):
        return batch
    mesh = Mesh(
        np.asarray(devices), ("data",)
    )  # the mesh of training, whose parameters may come here as they are
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
