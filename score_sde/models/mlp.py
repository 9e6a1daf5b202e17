"""A multilayer perceptron for vectors, such as two-dimensional toy data."""

from collections.abc import Sequence
from dataclasses import field

import flax.linen as nn
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.base import ScoreNetwork, from_linen, named
from score_sde.models.compact_network import CompactNetwork, checked_options
from score_sde.models.conditions import class_label
from score_sde.models.embeddings import ACTIVATIONS


class MLP(CompactNetwork):
    """Layers ``act(Dense(h) + Dense(act(embedded)))``, each added to ``h`` where the
    sizes agree, then a linear map.

    A sample of any shape is flattened, and the output has the shape of the sample.
    ``embedded`` is the embedding of time and class. The last map starts at zero.

    Attributes:
        hidden_sizes: the width of each hidden layer.
        embedding_dim: the size of the time embedding.
    """

    hidden_sizes: tuple[int, ...] = (128, 128, 128)
    embedding_dim: int = 32
    fourier_scale: float = field(default=1.0, kw_only=True)

    @property
    def _embedding_sizes(self) -> tuple[int, int]:
        return self.embedding_dim, self.embedding_dim

    def _output_of(
        self, x: Float[Array, "b *shape"], embedded: Float[Array, "b d"], train: bool
    ) -> Float[Array, "b *shape"]:
        act = ACTIVATIONS[self.activation]
        h = flat = x.reshape(x.shape[0], -1)
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
        return out.reshape(x.shape)


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

    >>> import jax, score_sde as ss
    >>> network = ss.mlp(dim=2, hidden_sizes=(8, 8))
    >>> jax.eval_shape(network.init, jax.random.key(0))["out"]["kernel"].shape
    (8, 2)

    Args:
        shape: the shape of one sample; it is flattened.
        dim: short for ``shape=(dim,)``.
        hidden_sizes: the width of each hidden layer.
        embedding_dim: the size of the time embedding; even, 4 or more.
        embedding: ``positional`` for time labels of the order of 0 to 1000, ``fourier``
            for labels of the order of one.
        fourier_scale: the standard deviation of the frequencies of the Fourier
            embedding.
        activation: one of `score_sde.models.ACTIVATIONS`.
        dropout: the rate of dropout after each hidden layer.
        num_classes: the number of class labels, or None.
        dtype: the type computed in; the parameters are float32.

    Raises:
        ValueError: an argument is out of its range, or ``shape`` and ``dim`` disagree.
    """
    if shape is None:
        if dim is None:
            raise ValueError("an MLP needs the shape of a sample: mlp(shape), or mlp(dim=2)")
        checks.whole(1, dim=dim)
        shape = (dim,)
    size = arguments.example_shape(shape)
    checks.require(
        dim is None or size == (dim,),
        f"dim={dim} is for samples of shape ({dim},), got shape={size}",
    )
    arguments.not_empty(hidden_sizes=hidden_sizes)
    arguments.each_whole(1, hidden_sizes=hidden_sizes)
    arguments.even(4, embedding_dim=embedding_dim)
    options = checked_options(
        embedding=embedding,
        fourier_scale=fourier_scale,
        activation=activation,
        dropout=dropout,
        num_classes=num_classes,
        dtype=dtype,
    )
    module = MLP(
        hidden_sizes=tuple(map(int, hidden_sizes)),
        embedding_dim=int(embedding_dim),
        **options,
    )
    return from_linen(module, size, condition=class_label(num_classes))
