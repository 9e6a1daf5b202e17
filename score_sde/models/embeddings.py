"""Embeddings of the time label and of a class label, each ``[b] -> [b, dim]``."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Integer

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "relu": nn.relu,
    "silu": nn.silu,
    "softplus": nn.softplus,
    "tanh": nn.tanh,
}
"""The activations of `MLP` and `UNet`, by name."""

EMBEDDINGS = ("positional", "fourier")
"""The time embeddings of `MLP` and `UNet`, by name."""


def positional_embedding(
    t: Float[Array, " b"],
    dim: int,
    *,
    max_period: float = 10_000.0,
    freq_shift: float = 1.0,
    cosine_first: bool = False,
) -> Float[Array, "b {dim}"]:
    """Sines and cosines of ``t`` at ``dim/2`` frequencies ``max_period^(-i / (dim/2 -
    freq_shift))``.

    The frequencies fall geometrically from 1, with ``freq_shift=1`` to
    ``1/max_period``. ``cosine_first`` puts the cosines before the sines. For labels of
    the order of 0 to 1000, such as the step indices of DDPM. ``dim`` is even and at
    least 4. Source: Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), section
    3.5.
    """
    half = dim // 2
    frequencies = jnp.exp(
        -math.log(max_period) / (half - freq_shift) * jnp.arange(half, dtype=t.dtype)
    )
    angles = t[:, None] * frequencies[None]
    parts = [jnp.sin(angles), jnp.cos(angles)]
    return jnp.concatenate(parts[::-1] if cosine_first else parts, axis=-1)


class FourierEmbedding(nn.Module):
    """``[sin(2 pi w t), cos(2 pi w t)]`` with ``w ~ N(0, scale^2)`` drawn at
    initialisation and never trained.

    For labels of the order of one, such as ``log sigma``. The frequencies are the
    parameter ``frequencies``, so that they are saved with the network, and have no
    gradient. Sources: Tancik et al. 2020 (https://arxiv.org/abs/2006.10739); Song et
    al. 2021 (https://arxiv.org/abs/2011.13456), appendix C.
    """

    dim: int
    scale: float = 16.0

    @nn.compact
    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b dim"]:
        """Embed the labels ``t``."""
        frequencies = self.param(
            "frequencies", nn.initializers.normal(self.scale), (self.dim // 2,)
        )
        angles = 2 * jnp.pi * t[:, None] * jax.lax.stop_gradient(frequencies)[None]
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class ConditionEmbedding(nn.Module):
    """The embedding of the time label and the class label, which every block takes.

    ``Dense(act(Dense(embed(t)))) + table[condition]``, of ``dim`` numbers; see
    `class_embedding`.

    Raises:
        ValueError: a condition is given and ``num_classes`` is None.
    """

    dim: int
    features: int
    embedding: str = "positional"
    fourier_scale: float = 16.0
    num_classes: int | None = None
    activation: str = "silu"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        t: Float[Array, " b"],
        condition: Integer[Array, " b"] | None = None,
        present: Bool[Array, " b"] | None = None,
    ) -> Float[Array, "b dim"]:
        """Embed the time labels ``t`` and the class labels ``condition``."""
        # The angles need float32: bfloat16 cannot tell label 998 from 999.
        t = t.astype(jnp.promote_types(t.dtype, jnp.float32))
        if self.embedding == "fourier":
            features = FourierEmbedding(self.features, self.fourier_scale)(t)
        else:
            features = positional_embedding(t, self.features)
        hidden = ACTIVATIONS[self.activation](
            nn.Dense(self.dim, dtype=self.dtype)(features.astype(self.dtype))
        )
        of_time = nn.Dense(self.dim, dtype=self.dtype)(hidden)
        if condition is None:
            return of_time
        return of_time + class_embedding(
            condition, present, num_classes=self.num_classes, dim=self.dim, dtype=self.dtype
        )


def class_embedding(
    label: Integer[Array, " b"],
    present: Bool[Array, " b"] | None,
    *,
    num_classes: int | None,
    dim: int,
    dtype: DTypeLike,
) -> Float[Array, "b {dim}"]:
    """``table[label]`` where ``present``, 0 where absent; the table is the parameter
    ``label`` of the calling module.

    The time embedding, to which this is added, ends in a bias: for an absent label that
    bias is the learned null embedding of classifier-free guidance (Ho & Salimans 2022,
    https://arxiv.org/abs/2207.12598). ``present`` None means that all are present. A
    present label outside ``0 .. num_classes - 1`` gives NaN, since a traced label
    cannot raise an error.

    Raises:
        ValueError: ``num_classes`` is None.
    """
    if num_classes is None:
        raise ValueError(
            "a condition was given to a network built without classes; build it with num_classes"
        )
    # Types narrower than int32 cannot count all classes.
    label = label.astype(jnp.promote_types(label.dtype, jnp.int32))
    one_hot = jax.nn.one_hot(label, num_classes, dtype=dtype)
    # Not a product with NaN: XLA may turn a product with a one-hot row into a selection.
    in_range = (label >= 0) & (label < num_classes)
    rows = jnp.where(in_range[:, None], one_hot, jnp.nan)
    rows = rows if present is None else jnp.where(present[:, None], rows, 0.0)
    table = nn.Dense(dim, use_bias=False, dtype=dtype, name="label")
    return table(rows)
