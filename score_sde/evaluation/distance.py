"""Distances between samples and held-out data that need no pretrained network.

All are computed on the host in float64. A point is a row of features: the flattened
data, or the features of any network.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Float64

from score_sde import checks
from score_sde.evaluation.frechet import Points, as_rows, frechet_distance, gaussian_statistics
from score_sde.typing import Key

Kernel: TypeAlias = Callable[
    [Float64[np.ndarray, "n d"], Float64[np.ndarray, "m d"]], Float64[np.ndarray, "n m"]
]
"""``k(x_i, y_j)`` for all pairs of rows."""

_ROWS = 1024
"""Kernel matrices are summed in blocks of so many rows: memory is linear in the samples."""


def polynomial_kernel(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]
) -> Float64[np.ndarray, "n m"]:
    """``(x.y / d + 1)^3``, the kernel of KID (Binkowski et al. 2018).

    >>> polynomial_kernel(np.eye(2), np.eye(2))[0]
    array([3.375, 1.   ])
    """
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def energy_kernel(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]
) -> Float64[np.ndarray, "n m"]:
    """``-|x - y|``, the kernel of the energy distance (Szekely & Rizzo 2013).

    It has no scale to choose, and the distance is zero only for equal distributions.

    >>> energy_kernel(np.zeros((1, 2)), np.array([[3.0, 4.0]]))
    array([[-5.]])
    """
    return -np.sqrt(_squared_distances(x, y))


def gaussian_kernel(bandwidth: float) -> Kernel:
    """``exp(-|x - y|^2 / (2 bandwidth^2))``.

    >>> gaussian_kernel(1.0)(np.zeros((1, 2)), np.array([[0.0, 1.0]])).round(4)
    array([[0.6065]])
    """
    checks.positive(bandwidth=bandwidth)
    return lambda x, y: np.exp(-0.5 * _squared_distances(x, y) / bandwidth**2)


def mmd_squared(x: Points, y: Points, *, kernel: Kernel = polynomial_kernel) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012,
    eq. 3).

    ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` over pairs of different points: KID with
    `polynomial_kernel`, the energy distance with `energy_kernel`. Being unbiased, it is
    negative about half of the time when the distributions are equal.

    >>> mmd_squared(np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]]), kernel=energy_kernel)
    4.0

    Raises:
        ValueError: fewer than two points in a set, a value that is not finite, or
            points of different sizes.
    """
    first, second = _pair(x, y)
    n, m = len(first), len(second)
    within = _off_diagonal_sum(first, kernel) / (n * (n - 1)) + _off_diagonal_sum(
        second, kernel
    ) / (m * (m - 1))
    return float(within - 2 * _block_sum(first, second, kernel) / (n * m))


def sliced_wasserstein(key: Key, x: Points, y: Points, *, num_projections: int = 256) -> float:
    """Sliced 2-Wasserstein distance (Bonneel et al. 2015), in units of the data.

    The root of the mean, over random unit directions ``u``, of the squared
    one-dimensional distance ``int_0^1 (F_x^{-1}(q) - F_y^{-1}(q))^2 dq`` between the
    projections ``u.x`` and ``u.y``. It is exact for sets of different sizes. Between
    equal distributions it is not zero, but falls with the number of points: compare it
    with the distance of a second set of data.

    >>> sliced_wasserstein(jax.random.key(0), np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]]))
    2.0

    Raises:
        ValueError: as `mmd_squared`, or no projection.
    """
    checks.at_least(1, num_projections=num_projections)
    first, second = _pair(x, y)
    # In float32, so that x64 draws the same directions.
    normal = jax.random.normal(key, (first.shape[1], num_projections), np.float32)
    directions = np.asarray(normal, np.float64)
    directions = directions / np.linalg.norm(directions, axis=0)
    levels = np.union1d(
        np.arange(1, len(first) + 1) / len(first), np.arange(1, len(second) + 1) / len(second)
    )
    widths = np.diff(levels, prepend=0.0)
    middles = levels - 0.5 * widths
    quantiles = [
        np.sort(rows @ directions, axis=0)[(middles * len(rows)).astype(int)]
        for rows in (first, second)
    ]
    return float(np.sqrt((widths @ (quantiles[0] - quantiles[1]) ** 2).mean()))


def nearest_neighbour_accuracy(x: Points, y: Points) -> float:
    """Leave-one-out accuracy of a nearest-neighbour classifier between ``x`` and ``y``
    (Lopez-Paz & Oquab 2017).

    One half for samples that are indistinguishable from the data, near one for samples
    that are not; below one half where the samples copy the data. Each set counts for
    one half, but keep the sizes equal: the larger set has more neighbours.

    >>> nearest_neighbour_accuracy(np.array([[0.0], [1.0]]), np.array([[5.0], [6.0]]))
    1.0

    Raises:
        ValueError: as `mmd_squared`.
    """
    first, second = _pair(x, y)
    rows = np.concatenate([first, second])
    from_first = np.arange(len(rows)) < len(first)
    correct = np.empty(len(rows), bool)
    for start in range(0, len(rows), _ROWS):
        distances = _squared_distances(rows[start : start + _ROWS], rows)
        block = np.arange(len(distances))
        distances[block, start + block] = np.inf
        correct[start + block] = from_first[distances.argmin(axis=1)] == from_first[start + block]
    return float(0.5 * (correct[from_first].mean() + correct[~from_first].mean()))


def sample_distances(key: Key, samples: Points, data: Points) -> dict[str, float]:
    """Every distance of this module between samples and held-out data, by name.

    The distances of training data in place of the samples are the values of a perfect
    model.

    >>> x, y = np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]])
    >>> sample_distances(jax.random.key(0), x, y)["frechet"]
    9.0

    Raises:
        ValueError: as `mmd_squared`.
    """
    first, second = gaussian_statistics(samples), gaussian_statistics(data)
    return {
        "frechet": frechet_distance(*first, *second),
        "kernel": mmd_squared(samples, data),
        "energy": mmd_squared(samples, data, kernel=energy_kernel),
        "sliced_wasserstein": sliced_wasserstein(key, samples, data),
        "nearest_neighbour_accuracy": nearest_neighbour_accuracy(samples, data),
    }


def _pair(x: Points, y: Points) -> tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "m d"]]:
    """Two sets of rows of equal length."""
    first, second = as_rows(x), as_rows(y)
    checks.require(
        first.shape[1] == second.shape[1],
        f"points of {first.shape[1]} and of {second.shape[1]} numbers cannot be compared",
    )
    return first, second


def _squared_distances(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]
) -> Float64[np.ndarray, "n m"]:
    """``|x_i - y_j|^2``, after centring: a large common offset would cancel digits."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0.0)


def _block_sum(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"], kernel: Kernel
) -> float:
    """``sum_ij k(x_i, y_j)``."""
    return float(
        sum(kernel(x[start : start + _ROWS], y).sum() for start in range(0, len(x), _ROWS))
    )


def _off_diagonal_sum(x: Float64[np.ndarray, "n d"], kernel: Kernel) -> float:
    """``sum_{i != j} k(x_i, x_j)``."""
    total = 0.0
    for start in range(0, len(x), _ROWS):
        block = kernel(x[start : start + _ROWS], x)
        row = np.arange(len(block))
        block[row, start + row] = 0.0
        total += float(block.sum())
    return total
