"""A multilayer perceptron for vectors, as the two-dimensional toys."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Integer

from score_sde.models import options
from score_sde.models.base import ScoreNetwork, from_linen, named
from score_sde.models.conditions import class_label
from score_sde.models.embeddings import ACTIVATIONS, EMBEDDINGS, ConditionEmbedding


class MLP(nn.Module):
    """Layers ``act(Dense(h) + Dense(act(embedded)))``, each added to ``h`` where the
    sizes agree, then a linear map.

    A sample of any shape is flattened, and the output has the shape of the sample.
    ``embedded`` is the embedding of time and class. The last map starts at zero.
    """

    hidden_sizes: tuple[int, ...] = (128, 128, 128)
    embedding_dim: int = 32
    embedding: str = "positional"
    fourier_scale: float = 1.0
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
        act = ACTIVATIONS[self.activation]
        embedded = ConditionEmbedding(
            dim=self.embedding_dim,
            features=self.embedding_dim,
            embedding=self.embedding,
            fourier_scale=self.fourier_scale,
            num_classes=self.num_classes,
            activation=self.activation,
            dtype=self.dtype,
            name="condition",
        )(t, condition, present)
        flat = x.reshape(x.shape[0], -1).astype(self.dtype)
        h = flat
        for i, size in enumerate(self.hidden_sizes):
            shift = nn.Dense(size, use_bias=False, dtype=self.dtype, name=f"condition_{i}")(
                act(embedded)
            )
            new = act(nn.Dense(size, dtype=self.dtype, name=f"hidden_{i}")(h) + shift)
            new = nn.Dropout(self.dropout, deterministic=not train)(new)
            h = h + new if i > 0 and h.shape[-1] == size else new
        out = nn.Dense(
            flat.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.zeros_init(), name="out"
        )(h)
        return out.reshape(x.shape).astype(x.dtype)


@named
def mlp(
    shape: Sequence[int] | None = None,
    *,
    dim: int | None = None,
    hidden_sizes: Sequence[int] = (128, 128, 128),
    embedding_dim: int = 32,
    embedding: str = "positional",
    fourier_scale: float = 1.0,
    activation: str = "silu",
    dropout: float = 0.0,
    num_classes: int | None = None,
    dtype: str = "float32",
) -> ScoreNetwork:
    """Build an `MLP` for samples of ``shape``, or for vectors of ``dim`` numbers.

    Args:
        shape: the shape of one sample; it is flattened.
        dim: short for ``shape=(dim,)``.
        hidden_sizes: the width of each hidden layer.
        embedding_dim: the number of features of the time embedding; even, 4 or more.
        embedding: ``positional`` for time labels of the order of 0 to 1000, ``fourier``
            for labels of the order of one.
        fourier_scale: the standard deviation of the frequencies of the Fourier
            embedding.
        activation: one of `score_sde.models.ACTIVATIONS`.
        dropout: the rate of dropout after each hidden layer.
        num_classes: the number of class labels, or None.
        dtype: the type computed in; the parameters are float32.

    Raises:
        ValueError: an argument is out of its range, or ``shape`` is not ``(dim,)``.
    """
    if shape is None:
        if dim is None:
            raise ValueError("an MLP needs the shape of a sample: mlp(shape), or mlp(dim=2)")
        shape = (options.at_least("dim", dim, 1),)
    elif dim is not None and tuple(shape) != (dim,):
        raise ValueError(f"dim={dim} is for samples of shape ({dim},), got shape={tuple(shape)}")
    module = MLP(
        hidden_sizes=options.all_at_least("hidden_sizes", hidden_sizes, 1),
        embedding_dim=options.even("embedding_dim", embedding_dim, 4),
        embedding=options.one_of("embedding", embedding, EMBEDDINGS),
        fourier_scale=options.positive("fourier_scale", fourier_scale),
        activation=options.one_of("activation", activation, ACTIVATIONS),
        dropout=options.rate("dropout", dropout),
        num_classes=options.at_least_or_none("num_classes", num_classes, 1),
        dtype=options.one_of("dtype", dtype, options.DTYPES),
    )
    return from_linen(
        module, options.all_at_least("shape", shape, 1), condition=class_label(num_classes)
    )
