"""A toy problem: a tiny network that removes noise from vectors of three numbers."""

import gc
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.data.loader import Loader
from score_sde.training import EMA, TrainState, adam, init_state, make_eval_step, make_train_step


def loss_fn(params, key, u, example, context):
    """Squared error of a one-layer network that sees ``x`` under noise."""
    del u, context
    x = example.x
    prediction = (
        jnp.tanh((x + jax.random.normal(key, x.shape)) @ params["layer"]["w"]) + params["b"]
    )
    return jnp.mean((prediction - x) ** 2), {"prediction": jnp.mean(prediction)}


def optimizer():
    return adam(lr=0.05, warmup=3, weight_decay=0.01)


@cache  # one function, so that jax compiles it once for all tests
def step(axis_name=None):
    return make_train_step(loss_fn, optimizer(), EMA(decay=0.9), axis_name=axis_name)


@cache
def eval_step():
    return make_eval_step(loss_fn)


@dataclass(frozen=True, kw_only=True, eq=False)
class Toy:
    """The parts of a small training run."""

    loader: Loader
    held_out: Loader
    key: jax.Array

    loss_fn = staticmethod(loss_fn)
    optimizer = staticmethod(optimizer)
    step = staticmethod(step)
    eval_step = staticmethod(eval_step)

    def params(self):
        return {"b": jnp.zeros(3), "layer": {"w": 0.5 * jnp.ones((3, 3)) - jnp.eye(3)}}

    def state(self) -> TrainState:
        return init_state(self.params(), self.optimizer())


@pytest.fixture(scope="session")
def toy() -> Toy:
    data = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    return Toy(
        loader=Loader(array=data[:32], batch_size=8, seed=1),
        held_out=Loader(array=data[32:], batch_size=8, seed=1),
        key=jax.random.key(7),
    )


@pytest.fixture(scope="module")
def collected():
    """What orbax has left unfinished complains as it is collected: here, where that is
    expected, not in other tests.
    """
    yield
    gc.collect()
