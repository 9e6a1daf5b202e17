"""An SDE of your own: its marginal checked, trained on two moons, and drawn.

python scripts/own_sde.py --picture=moons.png
"""

import argparse
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

import score_sde as ss
from score_sde.evaluation import plot_samples


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck(ss.SDE):
    """``dx = -rate x dt + sqrt(2 rate) std dw``, which carries any data to ``N(0, std^2)``."""

    rate: float = 5.0
    std: float = 1.0
    t_min: float = 1e-4
    t_max: float = 1.0

    def drift(self, x: ArrayLike, t: ArrayLike) -> jax.Array:
        """``-rate x``."""
        return -self.rate * jnp.asarray(x)

    def diffusion(self, t: ArrayLike) -> jax.Array:
        """``sqrt(2 rate) std``."""
        return jnp.full_like(t, self.std * jnp.sqrt(2 * self.rate), dtype=float)

    def marginal(self, t: ArrayLike) -> ss.Marginal:
        """``x_t = exp(-rate t) x_0 + std sqrt(1 - exp(-2 rate t)) z``."""
        exponent = -self.rate * jnp.asarray(t)
        return ss.Marginal(jnp.exp(exponent), self.std * jnp.sqrt(-jnp.expm1(2 * exponent)))

    def prior_std(self) -> float:
        """``std``."""
        return self.std


def error_of_marginal(sde: ss.SDE) -> float:
    """The relative error of ``alpha' = f alpha`` and ``(sigma^2)' = 2 f sigma^2 + g^2``,
    where ``f`` is the drift at ``x = 1``.
    """

    def error(t: jax.Array) -> jax.Array:
        (alpha, sigma), (d_alpha, d_sigma) = jax.jvp(sde.marginal, (t,), (jnp.ones_like(t),))
        f, g = sde.drift(jnp.ones(()), t), sde.diffusion(t)
        growth = 2 * f * sigma**2 + g**2
        return jnp.maximum(abs(d_alpha / (f * alpha) - 1), abs(2 * sigma * d_sigma / growth - 1))

    return float(jax.vmap(error)(jnp.linspace(0.01, 0.5, 50)).max())


def main(argv: list[str] | None = None) -> None:
    """Check, train and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_steps", type=int, default=3000)
    parser.add_argument("--picture", default="moons.png")
    flags = parser.parse_args(argv)
    sde = OrnsteinUhlenbeck()
    print(f"relative error of the equations of the marginal: {error_of_marginal(sde):.1e}")
    data = np.asarray(ss.data.moons(num_examples=4000, noise=0.07).train)
    model = ss.fit(jax.random.key(1), sde, ss.mlp(dim=2), data, num_steps=flags.num_steps)
    samples = ss.sample_many(jax.random.key(2), model, 1000)
    plot_samples(flags.picture, samples, data)


if __name__ == "__main__":
    main()
