"""Drawing many samples: in batches, over all local devices, in the order of their index."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Int, PyTree, Shaped

from score_sde.experiments.score_model import AXIS, Model, ScoreTransform
from score_sde.sampling import Projection, Sample, Sampler
from score_sde.solvers.integrate import ProgressFn
from score_sde.typing import Key, Params

Draw = Callable[..., Sample]
"""``(params, keys [b], conditions, projection=None) ->`` a batch of samples; ``conditions``
is a pytree of arrays ``[b, ...]``, or None for an unconditional model; ``projection`` is
that of all samples.
"""


ConditionsOf: TypeAlias = Callable[[Int[np.ndarray, " b"]], Any]
"""``indices ->`` the conditions of samples ``[b, ...]``, or None: what each index is
conditioned on, however many are drawn.
"""


def make_draw(
    model: Model,
    *,
    sampler: Sampler | None = None,
    guidance: ScoreTransform | None = None,
    save_path: int = 0,
    progress: ProgressFn | None = None,
) -> Draw:
    """The compiled function ``(params, keys [b], conditions, projection=None) -> Sample``,
    a batch of samples split over all local devices.

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
    """Many samples in data units, compiled once, in batches over all local devices.

    Sample ``i`` is ``model.draw`` with the key ``fold_in(key, i)``, as ``score-sde
    sample --seed=SEED`` draws it with ``jax.random.key(SEED)``, whatever the batch.

    Args:
        key: the only source of randomness.
        model: the model, as of `fit` or `load`.
        num_samples: how many.
        condition: of a conditional model, one condition for all samples, or a pytree of
            arrays ``[num_samples, ...]`` with one for each; of a model of classes, all
            classes in turn unless given. Of `Model.with_score`, whatever its transform
            takes, such as a measurement: one for all.
        batch: how many are drawn at a time.
        sampler: how to integrate; that of the model unless given.
        guidance: what is made of the score first, as in `Model.draw`.
        projection: what each step of every sample is projected to, as by `Inpainting`; in
            model space.

    Returns:
        uint8 or int32 levels where the data have levels, else floats.

    Raises:
        ValueError: in one line, where a condition is missing or of a wrong form.
        FloatingPointError: where a sample is not finite.
    """
    if num_samples < 1 or batch < 1:
        raise ValueError(f"num_samples={num_samples} and batch={batch} must be at least 1")
    draw = partial(_compiled_draw(model, sampler, guidance), projection=projection)
    conditions_of = _conditions_by_index(model, condition, num_samples)
    batches = generate(draw, model.params, key, num_samples, batch, conditions_of)
    x = np.concatenate([found.x for found in batches])
    if not np.isfinite(x).all():
        raise FloatingPointError(
            "some samples are not finite: more steps of the sampler or a longer training"
        )
    return np.asarray(model.scaling.to_data(x))


def _compiled_draw(model: Model, sampler: Sampler | None, guidance: ScoreTransform | None) -> Draw:
    """One compiled function for all calls with one model."""
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
    if form is None and model.transform is None:
        raise ValueError("this model was trained without conditions: give no condition")
    if form is None or _is_one(form, given) or (model.transform and not _is_one_each(form, given)):
        if form is not None and model.transform is None:
            form.check(given)
        return lambda indices: jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (len(indices), *leaf.shape)), given
        )
    form.check_all(given, "the conditions")
    for leaf in jax.tree.leaves(given):
        if len(leaf) != num_samples:
            raise ValueError(
                f"condition has {len(leaf)} rows for num_samples={num_samples}: give one for "
                "each sample, or one for all"
            )
    return lambda indices: jax.tree.map(lambda leaf: leaf[indices % num_samples], given)


def _is_one(form: Any, given: Any) -> bool:
    return _ranks(given) == _ranks(form.shapes())


def _is_one_each(form: Any, given: Any) -> bool:
    return _ranks(given) == jax.tree.map(lambda rank: rank + 1, _ranks(form.shapes()))


def _ranks(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: len(leaf.shape), tree)


def index_keys(key: Key, indices: Int[np.ndarray, " n"]) -> Array:
    """The keys of samples or examples: that of index ``i`` is ``fold_in(key, i)``,
    whatever its batch.
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
    """Batches of NumPy samples, ``num_samples`` in all, of at most ``batch_size``; all
    are compiled to one shape.
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
    """The samples of at most ``batch_size`` indices, of NumPy; as many are drawn, so
    that all batches are one shape.
    """
    drawn = indices.start + np.arange(batch_size)
    batch = jax.device_get(draw(params, index_keys(key, drawn), conditions_of(drawn)))
    return jax.tree.map(lambda leaf: leaf[: len(indices)], batch)


def even_batch_size(total: int, largest: int) -> int:
    """The size of equal batches of at most ``largest``, a multiple of the number of
    local devices where it can be.
    """
    size, devices = -(-total // -(-total // largest)), len(jax.local_devices())
    split = -(-size // devices) * devices
    return split if split <= largest else size


def over_devices(batch: Array | np.ndarray) -> Array | np.ndarray:
    """The batch, its rows split over all local devices where they divide evenly."""
    devices = jax.local_devices()
    if len(batch) % len(devices):
        return batch
    mesh = Mesh(
        np.asarray(devices), ("data",)
    )  # the mesh of training, whose parameters may come here as they are
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
