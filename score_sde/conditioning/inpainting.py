"""Inpainting: some numbers of a sample are known."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde import checks
from score_sde.precision import real, wide
from score_sde.sampling import Projection
from score_sde.sdes import SDE, perturb
from score_sde.typing import Key, ScalarLike


@dataclass(frozen=True, kw_only=True)
class Inpainting(Projection):
    """Inpainting of ``y`` where ``mask`` is 0 (Song et al. 2021, appendix I.2).

    After every step the known numbers are replaced by ``alpha(t) y + sigma(t) z`` with
    new noise ``z``, and after the last by ``y`` exactly. Where the mask is 0, ``y`` has
    no effect.

    The unknown numbers depend on the known ones through the joint score only. Their
    distribution is the posterior given ``y`` only in the limit of many corrector steps
    at each noise level.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> y, mask = jnp.array([0.5, jnp.nan]), jnp.array([1, 0])
    >>> projection = ss.Inpainting(sde=ss.VPSDE(), y=y, mask=mask)
    >>> projection.finish(jax.random.key(0), jnp.array([3.0, 4.0]))
    Array([0.5, 4. ], dtype=float32)

    Args:
        sde: the forward SDE.
        y: the known numbers in their places, in model units, in a shape that broadcasts
            to the shape of a sample.
        mask: 1 or True where ``y`` is known, in a shape that broadcasts to ``y``.

    Raises:
        ValueError: where the shapes of ``mask`` and ``y``, or of ``y`` and a sample, do
            not fit.
    """

    y: Shaped[ArrayLike, "*y_shape"]
    mask: Shaped[ArrayLike, "*mask_shape"]
    sde: SDE = field(metadata={"static": True})

    def __post_init__(self) -> None:
        y, mask = jnp.shape(real(self.y, "y")), jnp.shape(self.mask)
        checks.require(
            all(m in (1, n) or n == 1 for m, n in zip(mask[::-1], y[::-1], strict=False)),
            f"mask has shape {mask} and must fit {y}, the shape of y",
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
        checks.require(
            len(shape) <= x.ndim
            and all(n in (1, size) for n, size in zip(shape[::-1], x.shape[::-1], strict=False)),
            f"y has shape {shape} and must fit {x.shape}, the shape of the sample",
        )
        return jnp.broadcast_to(wide(self.y, "y"), x.shape)

    def _replaced(self, x: Float[Array, "*shape"], known: ArrayLike) -> Float[Array, "*shape"]:
        # A selection, not a sum: y may be NaN where it is unknown.
        return jnp.where(jnp.asarray(self.mask, bool), known, x).astype(x.dtype)
