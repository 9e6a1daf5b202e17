"""An invertible map of noise, conditioned on an image: affine couplings on a
checkerboard.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from score_sde import checks
from score_sde.models import arguments
from score_sde.typing import Key, Params


class ConditionalFlow(NamedTuple):
    """An invertible map ``z = f(noise | image)`` as two pure functions.

    Attributes:
        init: ``init(key) -> params``.
        apply: ``apply(params, noise, image) -> (z, log |det dz/dnoise|)``, with
            ``noise``, ``image`` and ``z`` ``[b, *shape]`` and the logarithm ``[b]``.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array, Array], tuple[Array, Array]]


class CouplingFlow(nn.Module):
    """Couplings ``z -> exp(s) z + r`` of one half of the numbers, where ``s`` and ``r``
    are functions of the other half and the image.

    The halves, the two colours of a checkerboard in height, width and channels,
    alternate. All couplings start with ``s = r = 0``. A hyperbolic tangent bounds ``s``
    by `MAX_LOG_SCALE`.
    """

    channels: int = 32
    num_couplings: int = 8
    num_blocks: int = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, noise: Float[Array, "b h w c"], image: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, " b"]]:
        """The map of a batch, and the logarithm of its determinant."""
        z, log_det = noise, jnp.zeros(len(noise), noise.dtype)
        for i in range(self.num_couplings):
            kept = checkerboard(noise.shape[1:], i % 2)
            known = jnp.concatenate([jnp.where(kept, z, 0.0), image], axis=-1)
            log_scale, shift = self._coefficients(known, f"coupling{i + 1}")
            log_scale = jnp.where(kept, 0.0, log_scale)
            z = jnp.where(kept, z, jnp.exp(log_scale) * z + shift)
            log_det = log_det + jnp.sum(log_scale, axis=(1, 2, 3))
        return z, log_det

    def _coefficients(
        self, known: Float[Array, "b h w c2"], name: str
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
        """``s`` and ``r`` for all numbers, by a residual network."""
        conv = lambda features, part: nn.Conv(  # noqa: E731
            features, (3, 3), dtype=self.dtype, name=f"{name}_{part}"
        )
        h = conv(self.channels, "in")(known.astype(self.dtype))
        for block in range(self.num_blocks):
            update = conv(self.channels, f"block{block + 1}_1")(nn.silu(h))
            h = h + conv(self.channels, f"block{block + 1}_2")(nn.silu(update))
        zeros = nn.initializers.zeros_init()
        out = nn.Conv(
            known.shape[-1], (3, 3), dtype=self.dtype, kernel_init=zeros, name=f"{name}_out"
        )(nn.silu(h))
        log_scale, shift = jnp.split(out.astype(known.dtype), 2, axis=-1)
        return MAX_LOG_SCALE * jnp.tanh(log_scale / MAX_LOG_SCALE), shift


MAX_LOG_SCALE = 3.0
"""The greatest logarithm of a scale, so that couplings stay in the range of float32."""


def checkerboard(shape: tuple[int, ...], parity: int) -> Bool[Array, "h w c"]:
    """True where the sum of the indices has the given parity."""
    return jnp.asarray(sum(jnp.indices(shape)) % 2 == parity)


def coupling_flow(
    shape: Sequence[int],
    *,
    channels: int = 32,
    num_couplings: int = 8,
    num_blocks: int = 2,
    dtype: str = "float32",
) -> ConditionalFlow:
    """Build a `CouplingFlow`, similar to RealNVP (Dinh et al. 2017,
    https://arxiv.org/abs/1605.08803).

    Args:
        shape: the shape ``(height, width, channels)`` of one image.
        channels: the channels of the hidden layers of each coupling.
        num_couplings: the number of couplings, at least 2, so that every number
            changes.
        num_blocks: residual blocks in each coupling.
        dtype: the type computed in; the parameters are float32.

    Raises:
        ValueError: an argument is out of its range, or ``shape`` is not the shape of an
            image.
    """
    size = arguments.image_shape("the coupling flow", shape)
    checks.whole(1, channels=channels)
    checks.whole(2, num_couplings=num_couplings)
    checks.whole(0, num_blocks=num_blocks)
    checks.one_of(arguments.DTYPES, dtype=dtype)
    module = CouplingFlow(
        channels=int(channels),
        num_couplings=int(num_couplings),
        num_blocks=int(num_blocks),
        dtype=dtype,
    )

    def init(key: Key) -> Params:
        empty = jnp.zeros((1, *size))
        return module.init(key, empty, empty)["params"]

    def apply(params: Params, noise: Array, image: Array) -> tuple[Array, Array]:
        return module.apply({"params": params}, noise, image)  # pyright: ignore[reportReturnType] - nothing is mutable

    return ConditionalFlow(init, apply)
