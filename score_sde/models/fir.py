"""Resampling by two with a finite impulse response filter, an axis at a time.

The filter is separable, so each axis is a short sum of shifted slices: on the CPU
several times faster than a two-dimensional convolution of one channel. Sources: Karras
et al. 2020 (https://arxiv.org/abs/1912.04958), appendix B; Song et al. 2021
(https://arxiv.org/abs/2011.13456), appendix H.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SPACE = (1, 2)
"""The axes of height and width in ``[b, h, w, c]``."""


def fir_filter(
    x: Float[Array, "b h w c"],
    kernel: Sequence[int | float],
    *,
    pad: tuple[int, int],
    gain: float = 1.0,
) -> Float[Array, "b h2 w2 c"]:
    """Pad each axis with ``pad`` zeros and convolve it with ``kernel``, normalised to
    the sum ``gain``.
    """
    for axis in SPACE:
        taps = _taps(kernel, gain)
        padded = _pad(x, axis, pad)
        size = padded.shape[axis] - len(taps) + 1
        x = _weighted(taps, [_take(padded, axis, start, size) for start in range(len(taps))])
    return x


def fir_downsample(
    x: Float[Array, "b h w c"], kernel: Sequence[int | float]
) -> Float[Array, "b h//2 w//2 c"]:
    """Filter, then keep every second pixel of each axis."""
    overlap = len(kernel) - 2
    for axis in SPACE:
        taps, size = _taps(kernel, 1.0), x.shape[axis] // 2
        padded = _pad(x, axis, ((overlap + 1) // 2, overlap // 2))
        x = _weighted(
            taps, [_take(padded, axis, start, size, step=2) for start in range(len(taps))]
        )
    return x


def fir_upsample(
    x: Float[Array, "b h w c"], kernel: Sequence[int | float]
) -> Float[Array, "b 2*h 2*w c"]:
    """Insert a zero after every pixel of each axis, then filter with twice the gain.

    The zeros are never made: the even and the odd pixels of the result are sums of the
    given pixels with different taps.
    """
    overlap = len(kernel) - 2
    before = (overlap + 1) // 2 + 1
    for axis in SPACE:
        taps, size, phases = _taps(kernel, 2.0), x.shape[axis], []
        reach = len(taps)
        padded = _pad(x, axis, (reach, reach))
        for phase in (0, 1):
            used = [j for j in range(len(taps)) if (phase - before + j) % 2 == 0]
            starts = [reach + (phase - before + j) // 2 for j in used]
            phases.append(
                _weighted(
                    [taps[j] for j in used], [_take(padded, axis, start, size) for start in starts]
                )
            )
        shape = [*x.shape[:axis], 2 * size, *x.shape[axis + 1 :]]
        x = jnp.stack(phases, axis=axis + 1).reshape(shape)
    return x


def _taps(kernel: Sequence[int | float], gain: float) -> list[float]:
    """The weights of a sum of slices: the kernel in reverse, normalised."""
    values = np.asarray(kernel, np.float64)[::-1]
    return [float(value) for value in gain * values / values.sum()]


def _pad(x: Array, axis: int, pad: tuple[int, int]) -> Array:
    return jnp.pad(x, [pad if i == axis else (0, 0) for i in range(x.ndim)])


def _take(x: Array, axis: int, start: int, size: int, *, step: int = 1) -> Array:
    slices = [slice(None)] * x.ndim
    slices[axis] = slice(start, start + step * (size - 1) + 1, step)
    return x[tuple(slices)]


def _weighted(taps: Sequence[float], parts: Sequence[Array]) -> Array:
    total = taps[0] * parts[0]
    for tap, part in zip(taps[1:], parts[1:], strict=True):
        total = total + tap * part
    return total
