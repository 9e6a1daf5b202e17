"""The map between data, levels or continuous values, and the space that the model lives in."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real, Shaped

from score_sde.data.source import check_num_levels
from score_sde.likelihood.dequantization import Bins
from score_sde.precision import wide
from score_sde.typing import Key


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Scaling of one example between data and model space.

    With ``L`` levels ``l = 0 .. L - 1``, ``y = (l + u) / L`` lies in ``[0, 1)``, and
    model space is ``x = 2y - 1`` if centred, else ``x = y``. ``u`` is uniform on ``[0,
    1)`` (uniform dequantisation: Theis et al. 2016, section 3.1), or 1/2 without it.

    Continuous data (``num_levels=None``) pass unchanged as float32; or standardised,
    ``x = (y - mean) / std``, with one mean and standard deviation for each index of the
    last axis (``data.standardize=True``): each coordinate of a vector, each channel of
    a picture. The density of the data is then ``log p(y) = log p(x) + log_det(shape)``.

    Attributes:
        num_levels: number of levels, 2 to 65536, or None for continuous data.
        centered: model space is ``[-1, 1)`` rather than ``[0, 1)``.
        dequantize: draw ``u`` rather than taking the middle of the level.
        mean: of each channel of continuous data; empty where they are not standardised.
        std: the standard deviation of each channel, as many as there are means.

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
        if self.std and self.num_levels is not None:
            raise ValueError(
                f"data with {self.num_levels} levels are not standardised: centered scales them"
            )
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"{len(self.mean)} means do not belong to {len(self.std)} standard deviations"
            )
        if not all(0.0 < std < math.inf for std in self.std) or not all(
            map(math.isfinite, self.mean)
        ):
            raise ValueError(
                "standard deviations must be positive, and all finite, and means finite, got "
                f"mean={self.mean!s:.100} and std={self.std!s:.100}"
            )

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless examples of this shape have a channel for each mean."""
        channels = shape[-1] if shape else 1
        if self.std and len(self.std) != channels:
            raise ValueError(
                f"{len(self.std)} means and standard deviations do not fit examples of shape "
                f"{shape}"
            )

    @property
    def standardized(self) -> bool:
        """Whether model space is that of standardised data."""
        return bool(self.std)

    def to_model(self, key: Key, levels: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """Return the example in model space, float32; ``key`` is used only to dequantise."""
        levels = wide(levels, "levels").astype(jnp.float32)
        if self.num_levels is None:
            return (levels - _channels(self.mean)) / _channels(self.std) if self.std else levels
        offset = _midpoints(key, levels.shape, self.num_levels) if self.dequantize else 0.5
        unit = (levels + offset) / self.num_levels
        return 2 * unit - 1 if self.centered else unit

    def to_data(self, x: Shaped[ArrayLike, "*shape"]) -> Real[Array, "*shape"]:
        """Return the levels, ``clip(floor(L y), 0, L - 1)``: uint8, or int32 above 256
        levels; or continuous data.

        It undoes ``to_model``: exactly in float32 for levels, up to rounding for
        standardised data.
        """
        x = jnp.asarray(x)
        if self.num_levels is None:
            return wide(x) * _channels(self.std) + _channels(self.mean) if self.std else x
        x = wide(x)
        unit = (x + 1) / 2 if self.centered else x
        levels = jnp.clip(jnp.floor(unit * self.num_levels), 0, self.num_levels - 1)
        return levels.astype(jnp.uint8 if self.num_levels <= 256 else jnp.int32)

    def to_unit(self, x: Shaped[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """Return the example quantised for display: levels ``0 .. L - 1`` become ``0 .. 1``.

        Raises:
            ValueError: for continuous data, which have no levels to display.
        """
        return self.to_data(x).astype(jnp.float32) / (self._levels("to_unit") - 1)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """Nats to add to the log density of an example in model space for that of
        continuous data in their units.

        ``log |det dx/dy| = - sum log std`` over all values of the example; 0 for data
        that are not standardised.
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
        if self.num_levels is None:
            raise ValueError(
                f"{asked} needs data with levels: num_levels is None (continuous data)"
            )
        return self.num_levels


def _channels(values: tuple[float, ...]) -> Float[Array, "..."]:
    """One value for each index of the last axis, float32; a single one for an example
    without axes.
    """
    return jnp.asarray(values, jnp.float32) if len(values) > 1 else jnp.float32(*values)


def _midpoints(key: Key, shape: tuple[int, ...], num_levels: int) -> Float[Array, "..."]:
    """Draw offsets in ``(0, 1)``, uniform over the midpoints of ``2**m`` equal cells.

    ``jax.random.uniform`` would not do: 100 + (1 - 2**-23) is 101 in float32. The
    nearest a midpoint comes to a border is ``2**-(m+1)``, and ``m`` is chosen so that
    this is twice what the arithmetic of ``Scaling`` can lose, which is ``3.5 * 2**-25 *
    L`` levels.
    """
    bits = 21 - (num_levels - 1).bit_length()
    cells = jax.random.bits(key, shape, jnp.uint32) >> (32 - bits)
    return (cells.astype(jnp.float32) + 0.5) * 2.0**-bits
