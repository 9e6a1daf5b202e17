r"""Exponential multistep methods, as tables of weights.

In ``y = x / alpha`` with noise level ``s = sigma / alpha`` every member of the reverse
family is linear in ``y`` and in the denoised ``D = E[x_0 | x]``. With an integrating
factor ``phi(s)`` that falls to 0 with ``s`` its solution is

    ``y_1 = m(s_0) y_0 + int_{s_0}^{s_1} D(s) dm(s) + sqrt(s_1^2 - s_0^2 m(s_0)^2) z``,
    ``m(s) = phi(s_1) / phi(s)``

(``phi = s``: the probability-flow ODE; ``phi = s^2``: the reverse SDE; ``phi = s^(1 +
lambda^2)``: the family between). A multistep method replaces ``D`` by the polynomial
through its last values, in some variable ``u(s)``; the integral is then a sum of these
values with weights that depend on the grid alone. This module computes them, once, in
float64.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

Ratios: TypeAlias = Float[np.ndarray, " nodes"]
Points: TypeAlias = Float[np.ndarray | np.float64, "*points"]
Variable: TypeAlias = Callable[[Float[np.ndarray, "*points"]], Float[np.ndarray, "*points"]]
"""The variable ``u(s)`` of the polynomials of a method."""

LARGEST_LAST_SUM, LARGEST_STEP_SUM = 16.0, 64.0
"""The largest amplification of rounding errors by the last step, to the data, and by
the other steps.

The amplification is the sum of the absolute weights over the absolute sum of the
weights. It is 15 for a cubic that is extrapolated by one spacing, 13 for the last step
of `default_sampler` at 50 evaluations, and 23 for a step of order 6 through equal
nodes. More is too much for a network of half precision.
"""
DOUBLE = 1e6
"""A factor of these limits where numbers are float64."""

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(40)


class IntegratingFactor(abc.ABC):
    """``phi(s)``, given by ``log phi`` and its derivative in ``log s``."""

    @abc.abstractmethod
    def log(self, s: Points) -> Points:
        """``log phi(s)``."""

    @abc.abstractmethod
    def slope(self, s: Points) -> Points:
        """``d log phi / d log s``."""


@dataclass(frozen=True)
class Power(IntegratingFactor):
    """``phi(s) = s^(1 + noise_scale^2)``: the family of :mod:`score_sde.sdes.reverse`."""

    noise_scale: float

    def log(self, s: Points) -> Points:
        """``(1 + noise_scale^2) log s``."""
        return (1.0 + self.noise_scale**2) * np.log(s)

    def slope(self, s: Points) -> Points:
        """``1 + noise_scale^2``."""
        return np.full_like(s, 1.0 + self.noise_scale**2)


@dataclass(frozen=True)
class ExtendedReverse(IntegratingFactor):
    """``phi(s) = s (exp(s^0.3) + 10)``: the extended reverse SDE (Cui et al. 2023,
    table 1, ER-SDE 5).

    More noise than the probability flow and, at low noise levels, less than the reverse
    SDE.
    """

    def log(self, s: Points) -> Points:
        """``log s`` and the logarithm of ``exp(s^0.3) + 10``."""
        return np.log(s) + np.logaddexp(s**0.3, np.log(10.0))

    def slope(self, s: Points) -> Points:
        """``1 + 0.3 s^0.3 / (1 + 10 exp(-s^0.3))``."""
        return 1.0 + 0.3 * s**0.3 / (1.0 + 10.0 * np.exp(-(s**0.3)))


class MultistepTable(NamedTuple):
    """``y_{i+1} = decay_i y_i + sum_j weights_ij v_{i-j} + noise_i z_i`` for every step
    ``i``, in ``y = x / alpha``.

    ``v`` is the denoised ``D``, or where ``of_noise`` the noise ``(y - D) / s``. A
    ``correction`` first replaces ``y_i`` by ``decay_{i-1} y_{i-1} + sum_j
    correction_{i-1,j} v_{i-j}``, which uses ``v_i``.
    """

    decay: Float[np.ndarray, " steps"]
    weights: Float[np.ndarray, "steps order"]
    noise: Float[np.ndarray, " steps"]
    of_noise: bool = False
    correction: Float[np.ndarray, "steps order_and_one"] | None = None


def adams_table(
    ratio: Ratios,
    *,
    order: int,
    variable: Variable,
    factor: IntegratingFactor,
    corrected: bool = False,
) -> MultistepTable:
    """The exponential Adams-Bashforth method of an ``order``; ``corrected`` by
    Adams-Moulton, of one order more.

    Args:
        ratio: the noise levels ``s`` from the prior down; the last may be 0, the data.
        order: the number of values of ``D`` that a step uses. The first steps use
            fewer. So does the last, to ``s = 0``, where the variable is infinite, or
            where there is noise and the step is longer than the one before: a
            polynomial that is extrapolated far amplifies the noise. So does any step
            that would amplify rounding by more than ``LARGEST_LAST_SUM`` or
            ``LARGEST_STEP_SUM``.
        variable: ``u(s)``.
        factor: ``phi(s)``.
        corrected: whether the next value of ``D`` corrects a step, as in UniPC.

    >>> import numpy as np
    >>> from score_sde.sampling import Power, adams_table
    >>> log_snr = lambda s: -np.log(s)
    >>> table = adams_table(np.array([4.0, 2.0]), order=1, variable=log_snr, factor=Power(1.0))
    >>> table.decay, table.weights.round(3), table.noise.round(3)
    (array([0.25]), array([[0.75]]), array([1.732]))
    """
    num_steps = len(ratio) - 1
    decay, noise = np.zeros(num_steps), np.zeros(num_steps)
    weights, correction = np.zeros((num_steps, order)), np.zeros((num_steps, order + 1))
    for i, (start, stop) in enumerate(pairwise(ratio)):
        past = ratio[max(0, i - order + 1) : i + 1][::-1]
        if stop == 0.0:
            weights[i] = _to_data(past, variable, order, noisy=bool(noise.any()))
            continue
        decay[i] = np.exp(factor.log(stop) - factor.log(start))
        # Relative to stop^2, where rounding is not mistaken for noise.
        added = 1.0 - (start * decay[i] / stop) ** 2
        noise[i] = stop * np.sqrt(added) if added > 1e-12 else 0.0
        integrals = partial(_integrals, start, stop, variable=variable, factor=factor)
        weights[i] = _bounded(integrals, past, order, LARGEST_STEP_SUM)
        if corrected:
            correction[i] = _bounded(
                integrals, np.concatenate([[stop], past]), order + 1, LARGEST_STEP_SUM
            )
    return MultistepTable(decay, weights, noise, correction=correction if corrected else None)


def noise_adams_table(ratio: Ratios, *, order: int, variable: Variable) -> MultistepTable:
    """Adams-Bashforth for ``dy / ds = (y - D) / s``, the noise: ``y_1 = y_0 + int noise
    ds`` (DEIS, Zhang & Chen 2023).

    The last step, to ``s = 0``, is of order 1: the noise has no limit there.
    """
    num_steps, half_steps = len(ratio) - 1, 0.5 * np.diff(ratio)[:, None]
    weights = np.zeros((num_steps, order))
    # The variable may be costly to compute: once, for all nodes and points.
    nodes, points = variable(ratio[:-1]), variable(ratio[:-1, None] + half_steps * (1.0 + POINTS))
    for i, stop in enumerate(ratio[1:]):
        past = nodes[max(0, i - order + 1) : i + 1][::-1] if stop > 0.0 else nodes[i : i + 1]
        integrals = partial(_weighted, points=points[i], weights=half_steps[i] * WEIGHTS)
        weights[i] = _bounded(integrals, past, order, LARGEST_STEP_SUM)
    return MultistepTable(np.ones(num_steps), weights, np.zeros(num_steps), of_noise=True)


def _integrals(
    start: np.float64,
    stop: np.float64,
    nodes: Ratios,
    *,
    variable: Variable,
    factor: IntegratingFactor,
) -> Float[np.ndarray, " nodes"]:
    """``int L_j(u(s)) dm(s)`` from ``start`` to ``stop`` for the Lagrange polynomial of
    every node, by quadrature in ``log s``.
    """
    log_start, log_stop = np.log(start), np.log(stop)
    points = np.exp(0.5 * (log_start + log_stop) + 0.5 * (log_stop - log_start) * POINTS)
    rate = np.exp(factor.log(stop) - factor.log(points)) * factor.slope(points)
    return (
        0.5
        * (log_start - log_stop)
        * (_lagrange(variable(nodes), variable(points)) @ (WEIGHTS * rate))
    )


def _to_data(
    past: Ratios, variable: Variable, order: int, *, noisy: bool
) -> Float[np.ndarray, " order"]:
    """The weights of the polynomial at ``s = 0``; where that is too far, of the last value
    alone, which is Tweedie's formula.
    """
    with np.errstate(divide="ignore"):
        end = variable(np.zeros(1))
    # Under the reverse SDE D is a martingale: its last value is its expected limit.
    reach = np.abs(np.diff(variable(past[:2]))).sum() if noisy else np.inf
    near = np.isfinite(end[0]) and abs(end[0] - variable(past[:1])[0]) <= reach
    known = past if near else past[:1]
    at_end = partial(_weighted, points=end, weights=np.ones(1))
    return _bounded(at_end, variable(known), order, LARGEST_LAST_SUM)


def _bounded(
    weights_of: Callable[[Ratios], Float[np.ndarray, " known"]],
    known: Ratios,
    order: int,
    largest: float,
) -> Float[np.ndarray, " order"]:
    """The weights of the newest nodes: as many as keep the sum of the absolute weights
    below ``largest`` times their absolute sum.
    """
    largest = largest * DOUBLE if jnp.result_type(float) == jnp.float64 else largest
    num = len(known)
    with np.errstate(invalid="ignore", over="ignore"):
        weights = weights_of(known)
        while num > 1 and not np.abs(weights).sum() <= largest * np.abs(weights.sum()):
            num -= 1
            weights = weights_of(known[:num])
    return np.pad(weights, (0, order - num))


def _weighted(
    nodes: Float[np.ndarray, " n"],
    *,
    points: Float[np.ndarray, " p"],
    weights: Float[np.ndarray, " p"],
) -> Float[np.ndarray, " n"]:
    """The weighted sums of the Lagrange polynomials of the nodes over the points."""
    return _lagrange(nodes, points) @ weights


def _lagrange(
    nodes: Float[np.ndarray, " n"], points: Float[np.ndarray, " p"]
) -> Float[np.ndarray, "n p"]:
    """The polynomials that are 1 at one node and 0 at the others, at the points."""
    basis = np.ones((len(nodes), len(points)))
    for j, k in np.ndindex(len(nodes), len(nodes)):
        if j != k:
            # Far below the scale of a method, its variable has the same value at several
            # nodes: the result is NaN, and _bounded does not use it.
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                basis[j] *= (points - nodes[k]) / (nodes[j] - nodes[k])
    return basis
