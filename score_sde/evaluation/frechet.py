"""Fréchet distance between Gaussians fitted to two sets of points, in float64 on the
host.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import ArrayLike, Float, Float64, Shaped

from score_sde import checks

Points: TypeAlias = Shaped[ArrayLike, "_ ..."]
"""Points of any shape, along the first axis; they are flattened to rows."""


class GaussianStatistics(NamedTuple):
    """Mean and unbiased covariance of a set of points."""

    mean: Float64[np.ndarray, " d"]
    cov: Float64[np.ndarray, "d d"]


def gaussian_statistics(points: Points) -> GaussianStatistics:
    """Mean and unbiased covariance (divided by ``num - 1``) of points, in float64.

    >>> gaussian_statistics([[0.0], [2.0]]).cov
    array([[2.]])

    Raises:
        ValueError: fewer than two points, or a value that is not finite.
    """
    rows = as_rows(points)
    mean = rows.mean(axis=0)
    centred = rows - mean
    return GaussianStatistics(mean, centred.T @ centred / (len(rows) - 1))


def frechet_distance(
    mean1: Float[ArrayLike, " d"],
    cov1: Float[ArrayLike, "d d"],
    mean2: Float[ArrayLike, " d"],
    cov2: Float[ArrayLike, "d d"],
) -> float:
    """Squared 2-Wasserstein distance between two Gaussians (Dowson & Landau 1982), as
    FID has it (Heusel et al. 2017).

    ``|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1^{1/2} S_2 S_1^{1/2})^{1/2})``. The trace of
    the last root is the sum of the square roots of the eigenvalues of a symmetric
    matrix, so covariances may be singular.

    >>> frechet_distance([0.0], [[1.0]], [3.0], [[4.0]])
    10.0
    """
    offset = np.asarray(mean1, np.float64) - np.asarray(mean2, np.float64)
    first, second = np.asarray(cov1, np.float64), np.asarray(cov2, np.float64)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0.0)).sum()
    return max(0.0, float(offset @ offset + np.trace(first) + np.trace(second) - 2 * cross))


def as_rows(points: Points) -> Float64[np.ndarray, "num d"]:
    """The points as rows in float64.

    Raises:
        ValueError: fewer than two points, or a value that is not finite.
    """
    rows = np.asarray(points, np.float64)
    checks.require(len(rows) >= 2, f"a set of points needs at least 2 of them, not {len(rows)}")
    bad = int((~np.isfinite(rows)).sum())
    checks.require(bad == 0, f"{bad} of the {rows.size} numbers of a set of points are not finite")
    return rows.reshape(len(rows), -1)
