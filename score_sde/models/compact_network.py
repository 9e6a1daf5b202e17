"""The base of the compact networks, `MLP` and `UNet`: the embedding of labels and
options.
"""

import abc
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Integer

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.embeddings import ACTIVATIONS, EMBEDDINGS, ConditionEmbedding


class CompactNetwork(nn.Module, kw_only=True):
    """A network conditioned on a time label and a class label.

    Attributes:
        embedding: of the time label, one of `EMBEDDINGS`.
        fourier_scale: the standard deviation of the frequencies of the Fourier
            embedding.
        activation: one of `ACTIVATIONS`.
        dropout: the rate of dropout.
        num_classes: the number of class labels, or None.
        dtype: the type computed in; the parameters are float32.
    """

    embedding: str = "positional"
    fourier_scale: float = 16.0
    activation: str = "silu"
    dropout: float = 0.0
    num_classes: int | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *shape"],
        t: Float[Array, " b"],
        *,
        condition: Integer[Array, " b"] | None = None,
        present: Bool[Array, " b"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b *shape"]:
        """Evaluate the network on a batch; ``train`` switches dropout on."""
        dim, features = self._embedding_sizes
        embedded = ConditionEmbedding(
            dim=dim,
            features=features,
            embedding=self.embedding,
            fourier_scale=self.fourier_scale,
            num_classes=self.num_classes,
            activation=self.activation,
            dtype=self.dtype,
            name="condition",
        )(t, condition, present)
        return self._output_of(x.astype(self.dtype), embedded, train).astype(x.dtype)

    @property
    @abc.abstractmethod
    def _embedding_sizes(self) -> tuple[int, int]:
        """The sizes of the embedding, and of the sines and cosines that it starts from."""

    @abc.abstractmethod
    def _output_of(
        self, x: Float[Array, "b *shape"], embedded: Float[Array, "b d"], train: bool
    ) -> Float[Array, "b *shape"]:
        """The output for a batch, given the embedding of its labels."""


def checked_options(
    *,
    embedding: str,
    fourier_scale: float,
    activation: str,
    dropout: float,
    num_classes: int | None,
    dtype: str,
) -> dict[str, Any]:
    """The fields of a `CompactNetwork`; `class_label` checks the number of classes.

    Raises:
        ValueError: one is out of its range.
    """
    checks.one_of(EMBEDDINGS, embedding=embedding)
    checks.positive(fourier_scale=fourier_scale)
    checks.one_of(ACTIVATIONS, activation=activation)
    arguments.rate(dropout=dropout)
    checks.one_of(arguments.DTYPES, dtype=dtype)
    return {
        "embedding": embedding,
        "fourier_scale": fourier_scale,
        "activation": activation,
        "dropout": dropout,
        "num_classes": num_classes,
        "dtype": dtype,
    }
