"""What training does to its examples before it scales them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from score_sde.typing import Key


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes of an example that leave it as likely, drawn anew whenever it is trained
    on; nothing by default.

    ``flip``: the image is turned left to right with probability 1/2, its pixels moved
    and not changed.
    """

    flip: bool = False

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless examples of this shape can be changed so."""
        if self.flip and len(shape) != 3:
            raise ValueError(
                "data.flip=True needs images [height, width, channels], the examples have shape "
                f"{shape}"
            )

    def __call__(self, key: Key, example: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
        """The example, or another that is as good; it depends on ``key`` alone, which
        belongs to the example.
        """
        self.check(example.shape)
        if not self.flip:
            return example
        return jnp.where(jax.random.bernoulli(key), jnp.flip(example, axis=-2), example)
