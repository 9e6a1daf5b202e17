"""A convolution whose kernel gradient is quick on CPUs."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

NHWC = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(x: Array, kernel: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """``lax.conv_general_dilated`` for `flax.linen.Conv`; at stride 1 with zero padding it is `conv_same`."""
    plain = all(set(options.get(key) or (1,)) == {1} for key in ("lhs_dilation", "rhs_dilation"))
    plain = plain and all(options.get(key) is None for key in ("precision", "preferred_element_type"))
    sizes = kernel.shape[:-2]
    same = padding == "SAME" or tuple(map(tuple, padding)) == tuple((size // 2, size // 2) for size in sizes)
    groups = options.get("feature_group_count", 1)
    odd = all(size % 2 for size in sizes)
    if len(sizes) == 2 and sizes != (1, 1) and odd and plain and same and groups == 1 and set(window_strides) == {1}:
        return conv_same(x, kernel)
    return lax.conv_general_dilated(x, kernel, window_strides, padding, **options)


@jax.custom_jvp
def conv_same(x: Float[Array, "b h w c"], kernel: Float[Array, "m n c d"]) -> Float[Array, "b h w d"]:
    """Convolve with zero padding at stride 1, for a kernel of odd sizes.

    What differs from ``lax.conv_general_dilated`` is the gradient of the kernel on CPUs, which sums over all pixels.
    XLA takes it for a convolution by a window as large as the image, with the samples as channels: few channels. Here
    it is one convolution along the rows for each row of the kernel, with samples times rows as channels, some two
    times as fast at 32 x 32.
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)


def _conv_same_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Any]:
    (x, kernel), (dx, dkernel) = primals, tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(conv_same(dx, kernel))
    if not isinstance(dkernel, SymbolicZero):
        terms.append(lax.platform_dependent(x, dkernel, cpu=_conv_by_rows, default=conv_same))
    y = conv_same(x, kernel)
    return y, sum(terms) if terms else SymbolicZero(jax.typeof(y))


conv_same.defjvp(_conv_same_jvp, symbolic_zeros=True)


def _conv_by_rows(x: Float[Array, "b h w c"], kernel: Float[Array, "m n c d"]) -> Float[Array, "b h w d"]:
    """`conv_same`, written so that its transpose in the kernel is quick; it is not meant to be evaluated."""
    b, h, w, c = x.shape
    m, n, _, d = kernel.shape
    rows = jnp.pad(x, ((0, 0), (m // 2, m // 2), (0, 0), (0, 0)))
    total = jnp.zeros((d, w, b * h), x.dtype)
    for i in range(m):
        # A convolution flips what it slides: the image slides over the kernel, whose flip is undone by flipping it too.
        image = rows[:, i : i + h, ::-1].transpose(2, 3, 0, 1).reshape(w, c, b * h)
        flipped = kernel[i, ::-1].transpose(2, 0, 1)
        total += lax.conv_general_dilated(
            flipped, image, (1,), ((w - 1 - n // 2, w - 1 - n // 2),), dimension_numbers=("NWC", "WIO", "NWC")
        )
    return total.reshape(d, w, b, h).transpose(2, 3, 1, 0)
