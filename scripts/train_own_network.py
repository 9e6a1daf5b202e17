"""Train a network of your own on two moons, and draw samples.

python scripts/train_own_network.py --library=nnx --picture=moons.png
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

import score_sde as ss


def features(t: jax.Array) -> jax.Array:
    """Six features of the noise level; t is its logarithm / 4."""
    angles = t * jnp.array([1.0, 2.0, 4.0])
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])


class NnxNetwork(nnx.Module):
    """A network of a batch: x is [b, 2] and t is [b]."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, 256, rngs=rngs)
        self.second = nnx.Linear(256, 256, rngs=rngs)
        self.third = nnx.Linear(256, 256, rngs=rngs)
        self.last = nnx.Linear(256, 2, rngs=rngs)

    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """The prediction."""
        h = nnx.silu(self.first(jnp.concatenate([x, jax.vmap(features)(t)], axis=1)))
        return self.last(nnx.silu(self.third(nnx.silu(self.second(h)))))


class EquinoxNetwork(eqx.Module):
    """A network of one sample: x is [2] and t is a number."""

    layers: eqx.nn.MLP

    def __init__(self, key: jax.Array) -> None:
        self.layers = eqx.nn.MLP(8, 2, width_size=256, depth=3, activation=jax.nn.silu, key=key)

    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """The prediction."""
        return self.layers(jnp.concatenate([x, features(t)]))


def main(argv: list[str] | None = None) -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["nnx", "equinox"], default="nnx")
    parser.add_argument("--num_steps", type=int, default=3000)
    parser.add_argument("--picture", default="moons.png")
    flags = parser.parse_args(argv)
    nnx_chosen = flags.library == "nnx"
    network = ss.from_nnx(NnxNetwork) if nnx_chosen else ss.from_equinox(EquinoxNetwork)
    data = np.asarray(ss.data.moons(num_examples=4000, noise=0.07).train)
    model = ss.fit(jax.random.key(0), ss.VPSDE(), network, data, num_steps=flags.num_steps)
    samples = ss.sample_many(jax.random.key(1), model, 1000)
    _, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
    for ax, points, title in zip(axes, (data[:1000], samples), ("data", "samples"), strict=True):
        ax.scatter(*points.T, s=2)
        ax.set_title(title)
    plt.savefig(flags.picture, dpi=120)
    plt.close()


if __name__ == "__main__":
    main()
