"""The map between data, levels or continuous values, and the space of the model."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Real

from score_sde.checks import positive, require
from score_sde.data.source import check_num_levels
from score_sde.likelihood.dequantization import Bins
from score_sde.precision import wide
from score_sde.typing import Key, SampleLike


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Scaling of one example between data and model space.

    With ``L`` levels ``l = 0 .. L - 1``, ``y = (l + u) / L`` lies in ``[0, 1)``, and
    model space is ``x = 2y - 1`` if centred, else ``x = y``. ``u`` is uniform on ``[0,
    1)`` (uniform dequantisation: Theis et al. 2016, sec. 3.1), or 1/2 without it.

    Continuous data (``num_levels=None``) pass unchanged as float32; or standardised,
    ``x = (y - mean) / std``, with one mean and standard deviation for each index of the
    last axis (``data.standardize=True``): each coordinate of a vector, each channel of
    an image. The density of the data is then ``log p(y) = log p(x) + log_det(shape)``.

    The methods are compiled: outside a program of the caller each is one program.

    >>> scaling = Scaling(num_levels=256, dequantize=False)
    >>> float(scaling.to_model(jax.random.key(0), 127)), int(scaling.to_data(0.5))
    (-0.00390625, 192)

    Attributes:
        num_levels: number of levels, 2 to 65536, or None for continuous data.
        centered: model space is ``[-1, 1)`` rather than ``[0, 1)``.
        dequantize: draw ``u`` rather than take the middle of the level.
        mean: the mean of each channel of continuous data, in their units; empty where
            they are not standardised.
        std: the standard deviation of each channel, in the same units.

    Raises:
        ValueError: where ``num_levels`` is out of range, or ``mean`` and ``std`` do not
            belong to continuous data.
    """

    num_levels: int | None
    centered: bool = True
    dequantize: bool = True
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_num_levels(self.num_levels)
        require(
            not self.std or self.num_levels is None,
            f"data with {self.num_levels} levels are not standardised: centered scales them",
        )
        require(
            len(self.mean) == len(self.std),
            f"{len(self.mean)} means do not belong to {len(self.std)} standard deviations",
        )
        for mean, std in zip(self.mean, self.std, strict=True):
            require(math.isfinite(mean), f"mean={mean} must be finite")
            positive(std=std)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless examples of this shape have a channel for each mean."""
        channels = shape[-1] if shape else 1
        require(
            not self.std or len(self.std) == channels,
            f"{len(self.std)} means and standard deviations do not fit examples of shape {shape}",
        )

    @property
    def standardized(self) -> bool:
        """Whether continuous data are standardised."""
        return bool(self.std)

    @partial(jax.jit, static_argnums=0)
    def to_model(self, key: Key, levels: SampleLike) -> Float[Array, "*shape"]:
        """Return the example in model space, float32; only dequantisation uses ``key``."""
        levels = wide(levels, "levels").astype(jnp.float32)
        if self.num_levels is None:
            return (levels - _channels(self.mean)) / _channels(self.std) if self.std else levels
        offset = _midpoints(key, levels.shape, self.num_levels) if self.dequantize else 0.5
        unit = (levels + offset) / self.num_levels
        return 2 * unit - 1 if self.centered else unit

    @partial(jax.jit, static_argnums=0)
    def to_data(self, x: SampleLike) -> Real[Array, "*shape"]:
        """Return the levels, ``clip(floor(L y), 0, L - 1)``: uint8, or int32 above 256
        levels; or continuous data.

        The inverse of ``to_model``: exact in float32 for levels, up to rounding for
        standardised data.
        """
        x = jnp.asarray(x)
        if self.num_levels is None:
            return wide(x) * _channels(self.std) + _channels(self.mean) if self.std else x
        x = wide(x)
        unit = (x + 1) / 2 if self.centered else x
        levels = jnp.clip(jnp.floor(unit * self.num_levels), 0, self.num_levels - 1)
        return levels.astype(jnp.uint8 if self.num_levels <= 256 else jnp.int32)

    @partial(jax.jit, static_argnums=0)
    def to_unit(self, x: SampleLike) -> Float[Array, "*shape"]:
        """Return the example quantised for display: levels ``0 .. L - 1`` become ``0 .. 1``.

        Raises:
            ValueError: for continuous data, which have no levels to display.
        """
        return self.to_data(x).astype(jnp.float32) / (self._levels("to_unit") - 1)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """The log determinant of standardisation, in nats: ``log p(y) = log p(x) + log_det``.

        ``log |det dx/dy| = - sum log std`` over all values of an example of this shape;
        0 for data that are not standardised.
        """
        self.check(shape)
        return -math.prod(shape[:-1]) * math.fsum(map(math.log, self.std))

    @property
    def bin_width(self) -> float:
        """Width of one level in model units: ``2 / L`` if centred, else ``1 / L``.

        Raises:
            ValueError: for continuous data, whose bins have no width.
        """
        return (2.0 if self.centered else 1.0) / self._levels("bin_width")

    @property
    def bins(self) -> Bins:
        """The bins of the levels in model units.

        Raises:
            ValueError: for continuous data, which have none.
        """
        return Bins(low=-1.0 if self.centered else 0.0, width=self.bin_width)

    def _levels(self, asked: str) -> int:
        if self.num_levels is None:  # not checks.require: pyright narrows the type here
            raise ValueError(
                f"{asked} needs data with levels: num_levels is None (continuous data)"
            )
        return self.num_levels


def _channels(values: tuple[float, ...]) -> Float[Array, "..."]:
    """One value for each index of the last axis, float32; a scalar for a single channel."""
    return jnp.asarray(values, jnp.float32) if len(values) > 1 else jnp.float32(*values)


def _midpoints(key: Key, shape: tuple[int, ...], num_levels: int) -> Float[Array, "..."]:
    """Draw offsets in ``(0, 1)``, uniform over the midpoints of ``2**m`` equal cells.

    ``jax.random.uniform`` would not do: 100 + (1 - 2**-23) is 101 in float32. The
    distance of a midpoint to the edge of the bin is at least ``2**-(m+1)``, and ``m`` is
    chosen so that this is twice the rounding error of ``Scaling``, ``3.5 * 2**-25 * L``
    levels.
    """
    bits = 21 - (num_levels - 1).bit_length()
    cells = jax.random.bits(key, shape, jnp.uint32) >> (32 - bits)
    return (cells.astype(jnp.float32) + 0.5) * 2.0**-bits
