"""How the published networks are told the noise level, and how VE networks divide by it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde.models.blocks import Style, dense
from score_sde.models.embeddings import FourierEmbedding, positional_embedding
from score_sde.sdes.discretization import smld_sigmas


def tell(
    style: Style,
    t: Float[Array, " b"],
    label: Int[Array, " b"] | None,
    *,
    nf: int,
    fourier_scale: float | None,
    num_classes: int | None,
    freq_shift: float = 1.0,
    cosine_first: bool = False,
) -> Float[Array, "b d"]:
    """The embedding, of ``4 nf`` numbers, of time label and class label, its layers
    made in the module that calls.

    ``fourier_scale`` None embeds ``t`` itself by sines and cosines of fixed
    frequencies; a number embeds ``log t`` by random ones. A class outside ``0 ..
    num_classes - 1`` adds nothing. ``freq_shift`` and ``cosine_first`` are those of
    `positional_embedding`.

    Raises:
        ValueError: a label is given and ``num_classes`` is None.
    """
    t = t.astype(jnp.promote_types(t.dtype, jnp.float32))
    if fourier_scale is None:
        features = positional_embedding(t, nf, freq_shift=freq_shift, cosine_first=cosine_first)
    else:
        features = FourierEmbedding(2 * nf, fourier_scale, name="fourier")(jnp.log(t))
    hidden = dense(4 * nf, style, "time_0")(features.astype(style.dtype))
    condition = dense(4 * nf, style, "time_1")(style.act(hidden))
    if label is None:
        return condition
    if num_classes is None:
        raise ValueError(
            "a label was given to a network built without classes; build it with num_classes"
        )
    one_hot = jax.nn.one_hot(label, num_classes, dtype=style.dtype)
    return condition + nn.Dense(4 * nf, use_bias=False, dtype=style.dtype, name="label")(one_hot)


def descending_sigmas(
    num_scales: int, sigma_min: float, sigma_max: float
) -> Float[np.ndarray, " levels"]:
    """The noise levels in the order of their labels: label 0 is the greatest."""
    return np.ascontiguousarray(
        smld_sigmas(num_scales, sigma_min=sigma_min, sigma_max=sigma_max)[::-1]
    )
