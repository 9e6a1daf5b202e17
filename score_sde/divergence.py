"""The divergence ``tr(dv / dx)`` of a vector field, exactly or by random probes.

Every estimator uses nothing but products ``p -> (dv / dx) p`` with the Jacobian. One
linearisation of the field gives its value and all these products, so that a drift and
its divergence come from one pass. The result is differentiable, in reverse mode too,
with respect to ``x`` and to all that the field closes over.
"""

import abc
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde import checks
from score_sde.chunking import check_chunk_size, map_in_chunks
from score_sde.precision import unknown, varying, varying_axes, wide, wide_time
from score_sde.typing import Key, SampleLike, Scalar, ScalarLike, VectorField

LinearMap: TypeAlias = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]
"""``p -> J p``, linear."""

ProbeKind: TypeAlias = Literal["rademacher", "gaussian", "sphere"]


class Divergence(abc.ABC):
    """An estimator of the trace of a ``dim x dim`` Jacobian ``J`` from products with it."""

    @abc.abstractmethod
    def num_products(self, dim: int) -> int:
        """The number of products with ``J`` for one divergence, without the evaluation
        of the field itself.
        """

    @abc.abstractmethod
    def probes(self, key: Key, x: SampleLike) -> Float[Array, "probes *shape"]:
        """The random probes, drawn once and then fixed along a trajectory."""

    @abc.abstractmethod
    def estimates(
        self, jacobian: LinearMap, probes: Float[Array, "probes *shape"]
    ) -> Float[Array, " estimates"]:
        """Unbiased estimates of ``tr J``, whose mean is the divergence."""

    def std_error(self, estimates: Shaped[ArrayLike, " estimates"]) -> Scalar | None:
        """The standard error of the mean of ``K`` estimates, ``std / sqrt(K)``; NaN for
        ``K = 1``, where it is unknown (None under ``jax_debug_nans``).

        It holds for estimates integrated along a trajectory as well. Where the
        estimates are nearly normal, Student's distribution with ``K - 1`` degrees of
        freedom gives confidence intervals. Where two or three directions dominate the
        Jacobian, the estimates are skewed: the nominal 95 % interval of 16 estimates
        then covers 91 %.
        """
        estimates = wide(estimates, "estimates")
        if estimates.size == 1:
            return unknown(estimates.dtype)
        return jnp.std(estimates, ddof=1) / math.sqrt(estimates.size)


@dataclass(frozen=True, kw_only=True)
class ExactTrace(Divergence):
    """The sum of all diagonal entries: exact, for ``dim`` products.

    ``chunk_size`` products are computed at a time, all at once with None; the memory
    grows in proportion.

    >>> import score_sde as ss
    >>> ss.ExactTrace().num_products(dim=3072)
    3072
    """

    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_chunk_size(self.chunk_size)

    def num_products(self, dim: int) -> int:
        """``dim``."""
        return dim

    def probes(self, key: Key, x: SampleLike) -> Float[Array, "probes *shape"]:
        """An empty array: nothing is random."""
        del key
        x = wide(x)
        return jnp.zeros((0, *x.shape), x.dtype)

    def estimates(
        self, jacobian: LinearMap, probes: Float[Array, "probes *shape"]
    ) -> Float[Array, " estimates"]:
        """One estimate: the sum of the diagonal."""
        shape, dim = probes.shape[1:], math.prod(probes.shape[1:])

        def entry(index: Array) -> Array:
            basis = (jnp.arange(dim) == index).astype(probes.dtype).reshape(shape)
            return jnp.vdot(basis, jacobian(basis))

        return jnp.sum(map_in_chunks(entry, jnp.arange(dim), self.chunk_size), keepdims=True)

    def std_error(self, estimates: Shaped[ArrayLike, " estimates"]) -> Scalar:
        """Zero."""
        return jnp.zeros((), wide(estimates, "estimates").dtype)


@dataclass(frozen=True, kw_only=True)
class Hutchinson(Divergence):
    """``E[p^T J p]`` over random probes of unit covariance (Hutchinson 1990; Skilling 1989).

    With ``S = (J + J^T) / 2``, the variance of one estimate is

    * ``2 (|S|_F^2 - sum_i S_ii^2)`` for ``rademacher`` probes (random signs), the least
      of all probes with independent entries;
    * ``2 |S|_F^2`` for ``gaussian`` probes;
    * ``2 dim / (dim + 2) (|S|_F^2 - tr(S)^2 / dim)`` for probes uniform on the
      ``sphere`` of radius ``sqrt(dim)``, which is 0 for a multiple of the identity.

    >>> import score_sde as ss
    >>> ss.Hutchinson(num_probes=4, kind="sphere").num_products(dim=3072)
    4
    """

    num_probes: int = 1
    kind: ProbeKind = "rademacher"

    def __post_init__(self) -> None:
        checks.at_least(1, num_probes=self.num_probes)
        checks.one_of(typing.get_args(ProbeKind), kind=self.kind)

    def num_products(self, dim: int) -> int:
        """``num_probes``."""
        del dim
        return self.num_probes

    def probes(self, key: Key, x: SampleLike) -> Float[Array, "probes *shape"]:
        """``num_probes`` independent probes."""
        x = wide(x)
        shape = (self.num_probes, *x.shape)
        if self.kind == "rademacher":
            return jax.random.rademacher(key, shape, x.dtype)
        probes = jax.random.normal(key, shape, x.dtype)
        return probes if self.kind == "gaussian" else _on_sphere(probes, x.size)

    def estimates(
        self, jacobian: LinearMap, probes: Float[Array, "probes *shape"]
    ) -> Float[Array, " estimates"]:
        """``p^T J p`` for every probe ``p``."""
        return _quadratic_forms(jacobian, probes)


@dataclass(frozen=True, kw_only=True)
class HutchPP(Divergence):
    """Hutch++: exact on the range of a sketch of ``J``, Hutchinson on the rest (Meyer
    et al. 2021, algorithm 1).

    ``tr J = tr(Q^T J Q) + tr(P J P)`` with ``Q`` an orthonormal basis of the range of
    ``J S`` for a random sketch ``S`` of ``sketch_size`` columns, and ``P = I - Q Q^T``.
    The second trace is estimated by ``num_probes`` probes, uniform on a sphere in the
    range of ``P`` as in XTrace (Epperly et al. 2024), so that a multiple of the
    identity in ``J`` adds no variance. It is worth its cost where the spectrum of ``J``
    decays.

    One divergence costs ``2 sketch_size + num_probes`` products: ``J S``, ``J Q`` and
    the probes. With None ``sketch_size`` is ``num_probes``, the equal thirds of the
    paper, and the cost equals ``Hutchinson(num_probes=3 * num_probes)``.

    Sketch and probes are fixed along a trajectory, ``Q`` follows the Jacobian. The
    estimate is unbiased for any ``Q`` that does not depend on the probes. Derivatives
    hold ``Q`` fixed: they are unbiased too, but are not the derivatives of the realised
    estimate. The standard error covers the probes given the sketch, which adds none.

    >>> import score_sde as ss
    >>> ss.HutchPP(num_probes=4).num_products(dim=3072)
    12
    """

    num_probes: int = 2
    sketch_size: int | None = None

    def __post_init__(self) -> None:
        checks.at_least(1, num_probes=self.num_probes)
        if self.sketch_size is not None:
            checks.at_least(1, sketch_size=self.sketch_size, because="or None for num_probes")

    def num_products(self, dim: int) -> int:
        """``2 sketch_size + num_probes``."""
        return 2 * self._rank(dim) + self.num_probes

    def probes(self, key: Key, x: SampleLike) -> Float[Array, "probes *shape"]:
        """The columns of the sketch, and after them the probes, all standard normal."""
        x = wide(x)
        return jax.random.normal(key, (self._rank(x.size) + self.num_probes, *x.shape), x.dtype)

    def estimates(
        self, jacobian: LinearMap, probes: Float[Array, "probes *shape"]
    ) -> Float[Array, " estimates"]:
        """``tr(Q^T J Q)`` plus the estimate of the rest by each probe."""
        shape, dim = probes.shape[1:], math.prod(probes.shape[1:])
        rank = self._rank(dim)
        image = jax.lax.stop_gradient(jax.vmap(jacobian)(probes[:rank])).reshape(rank, dim)
        basis = jnp.linalg.qr(image.T)[0].T
        rest = probes[rank:].reshape(self.num_probes, dim)
        rest = _on_sphere(rest - (rest @ basis.T) @ basis, dim - rank)
        in_range = _quadratic_forms(jacobian, basis.reshape(rank, *shape))
        return jnp.sum(in_range) + _quadratic_forms(jacobian, rest.reshape(self.num_probes, *shape))

    def _rank(self, dim: int) -> int:
        return min(self.sketch_size or self.num_probes, dim)


def value_and_divergence(
    field: VectorField,
    x: SampleLike,
    t: ScalarLike,
    divergence: Divergence,
    probes: Float[Array, "..."],
) -> tuple[Float[Array, "*shape"], Float[Array, " estimates"]]:
    """``(field(x, t), estimates of tr(d field / dx))`` for one sample, in one pass of
    forward-mode differentiation.

    The mean of the estimates is the divergence. ``probes`` come from
    ``divergence.probes(key, x)``. The computation is in float32 at least.
    """
    x, t = wide(x), wide_time(t)
    probes = probes.astype(x.dtype)
    value, jacobian = linearized(
        lambda y: wide(field(y, t), "the field").astype(y.dtype), x, probes
    )
    return value, divergence.estimates(jacobian, probes)


def linearized(
    function: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]],
    x: Float[Array, "*shape"],
    probes: Float[Array, "probes *shape"],
) -> tuple[Float[Array, "*shape"], LinearMap]:
    """``(function(x), p -> J p)`` with the Jacobian ``J`` at ``x``, for the ``probes`` and
    for constants.
    """
    # In shard_map, x and p must be arrays that vary over the same devices.
    x = varying(x, varying_axes(probes))
    value, product = jax.linearize(function, x)
    return value, lambda p: product(p + jnp.zeros_like(x))


def _quadratic_forms(
    jacobian: LinearMap, probes: Float[Array, "probes *shape"]
) -> Float[Array, " probes"]:
    """``p^T J p`` for every probe ``p``."""
    return jax.vmap(lambda probe: jnp.vdot(probe, jacobian(probe)))(probes)


def _on_sphere(probes: Float[Array, "probes *shape"], dim: int) -> Float[Array, "probes *shape"]:
    """The probes scaled to the norm ``sqrt(dim)``."""
    squares = jnp.sum(jnp.square(probes), axis=tuple(range(1, probes.ndim)), keepdims=True)
    # In a space of 0 dimensions the probes are rounding errors, or exactly 0.
    return probes * jnp.sqrt(dim / jnp.where(squares > 0.0, squares, 1.0))
