"""Random changes of training examples, before they are scaled."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from score_sde.checks import require
from score_sde.typing import Key


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes of an example that leave it as likely, drawn again at each step; none by
    default.

    >>> import jax, jax.numpy as jnp
    >>> image = jnp.arange(2.0).reshape(1, 2, 1)
    >>> Augmentation(flip=True)(jax.random.key(0), image).shape
    (1, 2, 1)

    Attributes:
        flip: mirror the image left to right with probability 1/2.
    """

    flip: bool = False

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless examples of this shape can be changed so."""
        require(
            not self.flip or len(shape) == 3,
            "data.flip=True needs images [height, width, channels], the examples have shape "
            f"{shape}",
        )

    def __call__(self, key: Key, example: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
        """The changed example; ``key``, of this example and step, decides the changes."""
        self.check(example.shape)
        if not self.flip:
            return example
        return jnp.where(jax.random.bernoulli(key), jnp.flip(example, axis=-2), example)
