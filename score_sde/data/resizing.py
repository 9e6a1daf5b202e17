"""Antialiased resizing of images by two constant matrices, with the kernels of
``tf.image.resize``.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Shaped

Kernel = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]
"""Weights of input pixels by their distance from an output pixel, in output pixels
where an image shrinks.
"""


def triangle(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The kernel of bilinear resizing, ``max(0, 1 - |x|)``."""
    return np.maximum(0.0, 1.0 - np.abs(x))


def keys_cubic(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The kernel of bicubic resizing: Keys 1981, eq. 15, ``a = -1/2``."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def resize(
    image: Shaped[np.ndarray, "h w c"], size: tuple[int, int], kernel: Kernel = triangle
) -> np.ndarray:
    """Return the image at ``size`` = (height, width), float32 ``[height, width, c]``, not rounded.

    Both axes are resized by `resize_matrix`, as ``tf.image.resize(...,
    antialias=True)`` and ``jax.image.resize`` do.
    """
    (height, width), (old_height, old_width) = size, image.shape[:2]
    rows, columns = (
        resize_matrix(old_height, height, kernel),
        resize_matrix(old_width, width, kernel),
    )
    short = np.einsum("oh,hwc->owc", rows, image.astype(np.float64), optimize=True)
    return np.einsum("ow,hwc->hoc", columns, short, optimize=True).astype(np.float32)


@lru_cache(maxsize=64)
def resize_matrix(old: int, new: int, kernel: Kernel = triangle) -> Float[np.ndarray, "new old"]:
    """Return the matrix that resizes one axis from ``old`` to ``new`` pixels.

    Its row ``o`` is ``k((i + 1/2 - (o + 1/2) s) / max(s, 1))`` over the pixels ``i``,
    divided by its sum, with ``s = old / new``: a shrinking image is smoothed by a
    kernel as wide as an output pixel.
    """
    scale = old / new
    distance = np.arange(old) + 0.5 - (np.arange(new)[:, None] + 0.5) * scale
    weights = kernel(distance / max(scale, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    weights.flags.writeable = False  # shared by every caller of the cache
    return weights
