"""Toy distributions in the plane: float32 points with zero mean and roughly unit variance.

All functions have the arguments ``num_examples`` (at least 2, of which a tenth is held
out), ``noise`` (the standard deviation of Gaussian noise that is added, at least 0) and
``seed``, and raise ``ValueError`` for values out of range.
"""

import math

import numpy as np
from jaxtyping import Float, Int

from score_sde.checks import at_least, not_negative
from score_sde.data.source import DataSource, check_seed

_TOY_STREAM = 2**64 - 2  # no number of an epoch: points and shuffling are independent


def mixture(
    *, num_examples: int = 10_000, noise: float = 0.1, seed: int = 0, num_modes: int = 8
) -> DataSource:
    """Return a mixture of equally likely Gaussians ``N(c_k, noise² I)`` with the labels ``k``.

    The centres are ``c_k = √2 (cos 2πk/K, sin 2πk/K)``, ``k = 0 .. K - 1``, with ``K =
    num_modes`` of at least 1, so that each coordinate has variance ``1 + noise²`` (for
    ``K`` of at least 3).

    >>> mixture(num_examples=100, num_modes=3).train.shape
    (90, 2)
    """
    at_least(1, num_modes=num_modes)
    rng = _generator(num_examples, noise, seed)
    mode = rng.integers(num_modes, size=num_examples)
    angle = 2 * math.pi * mode / num_modes
    points = math.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return _source(points, rng, noise, seed, labels=mode)


def swiss_roll(*, num_examples: int = 10_000, noise: float = 0.05, seed: int = 0) -> DataSource:
    """Return points of the spiral ``θ (cos θ, sin θ)``, θ uniform on [1.5π, 4.5π], with
    Gaussian noise.

    >>> swiss_roll(num_examples=100).test.shape
    (10, 2)
    """
    rng = _generator(num_examples, noise, seed)
    low, high = 1.5 * math.pi, 4.5 * math.pi
    theta = rng.uniform(low, high, size=num_examples)
    points = theta[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=-1)
    # ∫θ cos θ = θ sin θ + cos θ and ∫θ sin θ = sin θ − θ cos θ, over an interval of
    # length 3π.
    mean = np.array([2.0, 2 / (3 * math.pi)])
    second_moment = (high**3 - low**3) / (3 * (high - low))
    scale = math.sqrt((second_moment - mean @ mean) / 2)
    return _source((points - mean) / scale, rng, noise, seed)


def checkerboard(*, num_examples: int = 10_000, noise: float = 0.0, seed: int = 0) -> DataSource:
    """Return points uniform on the 8 dark squares of a 4×4 board over [-√3, √3]², with
    Gaussian noise.

    >>> bool(abs(checkerboard(num_examples=100).train).max() <= 3**0.5)
    True
    """
    rng = _generator(num_examples, noise, seed)
    column = rng.integers(4, size=num_examples)
    row = 2 * rng.integers(2, size=num_examples) + column % 2
    corner = np.stack([column, row], axis=-1)
    points = (corner + rng.uniform(size=(num_examples, 2)) - 2) * (math.sqrt(3) / 2)
    return _source(points, rng, noise, seed)


def moons(*, num_examples: int = 10_000, noise: float = 0.1, seed: int = 0) -> DataSource:
    """Return two interleaved half circles with Gaussian noise and the labels 0 (upper)
    and 1 (lower).

    >>> moons(num_examples=100).train_labels.shape
    (90,)
    """
    rng = _generator(num_examples, noise, seed)
    lower = rng.integers(2, size=num_examples)
    angle = rng.uniform(0.0, math.pi, size=num_examples)
    upper_arc = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=-1)
    # The lower arc is the upper one turned by 180° about the centre, which makes the
    # mean zero.
    points = math.sqrt(2) * np.where(lower[:, None] == 1, -upper_arc, upper_arc)
    return _source(points, rng, noise, seed, labels=lower)


def _generator(num_examples: int, noise: float, seed: int) -> np.random.Generator:
    at_least(2, num_examples=num_examples, because="one to train on and one to test on")
    not_negative(noise=noise, because="it is a standard deviation")
    check_seed(seed)
    return np.random.Generator(np.random.Philox(key=np.array([seed, _TOY_STREAM], np.uint64)))


def _source(
    points: Float[np.ndarray, "n 2"],
    rng: np.random.Generator,
    noise: float,
    seed: int,
    labels: Int[np.ndarray, " n"] | None = None,
) -> DataSource:
    noisy = points + noise * rng.standard_normal(points.shape)
    return DataSource.from_examples(
        noisy.astype(np.float32), num_levels=None, labels=labels, seed=seed
    )
