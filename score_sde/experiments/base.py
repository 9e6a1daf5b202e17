"""The base classes of models and experiments of every kind."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
import optax

from score_sde import checks
from score_sde.data import DataSource, Scaling
from score_sde.experiments.settings import TrainingOptions
from score_sde.runtime.fingerprints import named_leaves, path_of
from score_sde.sdes import SDE
from score_sde.training import LossFn
from score_sde.typing import Key, Params

Split: TypeAlias = Literal["train", "test"]
"""The name of a split of the data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """A trained model of any kind: a score model, a classifier or a dequantizer.

    For example::

        ss.load("runs/digits").save("exported/digits")

    Attributes:
        sde: the forward SDE.
        params: the averaged parameters.
        shape: the shape of one example.
        scaling: the map between data units and model space: ``to_model``, ``to_data``
            and ``log_det``. Scores, samples and latents are in model space.
        seed: the seed of the config.
        step: number of training steps.
        config: the resolved config as plain values; None for a model made of objects
            that a config cannot name.
    """

    sde: SDE
    params: Params
    shape: tuple[int, ...]
    scaling: Scaling
    seed: int
    step: int
    config: Mapping[str, Any] | None

    @property
    def saved_config(self) -> Mapping[str, Any]:
        """The config, which must be there.

        Raises:
            ValueError: where the model has no config.
        """
        if self.config is None:
            raise ValueError(
                "this needs a model with a config, as build and load make it: this one is made of "
                "objects that a config cannot name"
            )
        return self.config


@dataclass(frozen=True, kw_only=True, eq=False)
class AnyExperiment(abc.ABC):
    """The training of a model of any kind: the model, its data and its optimizer.

    For example::

        ss.train(ss.build(config), "runs/digits")

    Attributes:
        model: the model with its initial parameters.
        source: the data.
        optimizer: an optax transformation.
        training: the settings of the section ``training``.
        skip_damaged: whether training replaces damaged examples in files by others,
            ``data.skip_damaged``; else it stops at the first.
    """

    model: TrainedModel
    source: DataSource
    optimizer: optax.GradientTransformation
    training: TrainingOptions
    skip_damaged: bool = False

    @abc.abstractmethod
    def loss_fn(self, *, train: bool) -> LossFn:
        """The loss of one example."""

    def conditions(self, split: Split) -> Any:
        """The conditions of the examples of a split, a pytree of arrays ``[n, ...]``;
        None for a loss of the examples alone.
        """
        del split
        return None

    @property
    def frozen(self) -> Params | None:
        """Parameters that the loss takes and training does not change; None for none."""
        return None


def checked_params(network: Any, params: Params) -> Params:
    """Trained parameters, checked to have the names and shapes of the network's, in the
    containers of the network: files hold named tuples and modules as dictionaries.

    Raises:
        ValueError: where they do not fit; it names the first few differences.
    """
    wanted = _abstract(network)
    # Keys with a slash can give two parameters one name, which then need all their keys.
    by_name = len(named_leaves(wanted)) == len(jax.tree.leaves(wanted))
    ours, theirs = _leaves(wanted, by_name), _leaves(params, by_name)
    wrong = []
    for keys in sorted(ours.keys() | theirs.keys()):
        was, needed = (np.shape(at[keys]) if keys in at else "missing" for at in (theirs, ours))
        if was != needed:
            wrong.append(f"{'/'.join(keys)} is {was} in the file and {needed} in the network")
    more = f"; and {len(wrong) - _MOST} more" if len(wrong) > _MOST else ""
    checks.require(
        not wrong, f"model does not fit the trained parameters: {'; '.join(wrong[:_MOST])}{more}"
    )
    return jax.tree.unflatten(jax.tree.structure(wanted), [theirs[keys] for keys in ours])


def fitted_params(network: Any, params: Params) -> Params:
    """Trained parameters as initial ones of a network: in its structure and its types.

    Raises:
        ValueError: where they do not fit, as in `checked_params`.
    """
    return jax.tree.map(
        lambda value, like: np.asarray(value, like.dtype),
        checked_params(network, params),
        _abstract(network),
    )


_MOST = 3
"""The number of differences that a message names."""


def _abstract(network: Any) -> Any:
    return jax.eval_shape(network.init, jax.random.key(0))


def _leaves(tree: Any, by_name: bool) -> dict[tuple[str, ...], Any]:
    """The leaves of a tree by name, or else by the keys that lead to them."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        (path_of(path),) if by_name else tuple(path_of((key,)) for key in path): leaf
        for path, leaf in leaves
    }


def initial_params(network: Any, key: Key) -> Params:
    """The parameters that ``network.init`` draws, by one compiled program.

    It runs once: on a CPU, XLA's first level of optimisation halves the time to compile it.
    """
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.block_until_ready(jax.jit(network.init, compiler_options=options)(key))
