"""Inpainting: some numbers of a sample are known."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde.precision import real, wide
from score_sde.sampling import Projection
from score_sde.sdes import SDE, perturb
from score_sde.typing import Key, ScalarLike


@dataclass(frozen=True, kw_only=True)
class Inpainting(Projection):
    """The numbers of ``y`` where ``mask`` is 1 are known (Song et al. 2021, appendix I.2).

    After every step the known numbers are replaced by what the forward SDE makes of
    them, ``alpha(t) y + sigma(t) z`` with new ``z``, and at the end by ``y`` itself,
    exactly. Where the mask is 0, ``y`` is not looked at.

    The unknown numbers follow the known ones by the joint score alone, so that their
    distribution is that given ``y`` only in the limit of many steps of the corrector at
    each noise level.

    Args:
        sde: the forward SDE.
        y: the known numbers in their places, as the score function sees them; the shape
            of a sample, or one that is broadcast to it.
        mask: 1 or True where ``y`` is known; as ``y``.
    """

    y: Shaped[ArrayLike, "*y_shape"]
    mask: Shaped[ArrayLike, "*mask_shape"]
    sde: SDE = field(metadata={"static": True})

    def __post_init__(self) -> None:
        y, mask = jnp.shape(real(self.y, "y")), jnp.shape(self.mask)
        if any(m not in (1, n) and n != 1 for m, n in zip(mask[::-1], y[::-1], strict=False)):
            raise ValueError(
                f"the mask has shape {mask} and y {y}: give a mark to each number of y"
            )

    def project(self, key: Key, x: Float[Array, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """``alpha(t) y + sigma(t) z`` where the mask is 1, else ``x``."""
        noise = jax.random.normal(key, x.shape, x.dtype)
        return self._replaced(x, perturb(self.sde, self._known(x), t, noise))

    def finish(self, key: Key, x0: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """``y`` where the mask is 1, else ``x0``."""
        return self._replaced(x0, self._known(x0))

    def _known(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """``y`` in the shape of a sample."""
        shape = jnp.shape(self.y)
        if len(shape) > x.ndim or any(
            n not in (1, size) for n, size in zip(shape[::-1], x.shape[::-1], strict=False)
        ):
            raise ValueError(f"y has shape {shape}, and the sample {x.shape}: give y that shape")
        return jnp.broadcast_to(wide(self.y, "y"), x.shape)

    def _replaced(self, x: Float[Array, "*shape"], known: ArrayLike) -> Float[Array, "*shape"]:
        # A choice, not a sum: y may be NaN where it is not known.
        return jnp.where(jnp.asarray(self.mask, bool), known, x).astype(x.dtype)
