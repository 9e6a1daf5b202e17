"""Cropping and resizing of each data set, as in the experiments of Song et al. 2021.

The functions take and return levels, 0 to 255. Resizing leaves fractions of a level:
the published code keeps them, as floats ``v / 255``, and dequantises with ``(v + u) /
256``. Only levels have likelihoods, so here the last step is `to_levels`: a resized
image differs from the published one by at most half a level, a cropped image not at all.
"""

import numpy as np
from jaxtyping import Shaped, UInt8

from score_sde.checks import require
from score_sde.data.images import check_options
from score_sde.data.resizing import keys_cubic, resize

CELEBA_CROP = 140
"""The side, in pixels, of the central square of a CelebA image that has the face."""


def celeba(image: UInt8[np.ndarray, "h w c"], image_size: int) -> UInt8[np.ndarray, "s s c"]:
    """The middle 140 × 140 pixels, resized bilinearly."""
    return to_levels(resize_small(central_crop(image, CELEBA_CROP), image_size))


def lsun(image: UInt8[np.ndarray, "h w c"], image_size: int) -> UInt8[np.ndarray, "s s c"]:
    """The middle square: at 128 resized bilinearly and then cropped, at other sizes
    cropped and then resized bicubically.

    The images of LSUN have a shorter side of 256, so that at 256 nothing is resized. At
    sizes other than 128 and 256 the published code rounds the bicubic image down and
    lets values below 0 and above 255 wrap around; here they are rounded to the nearest
    level and clipped.
    """
    if image_size == 128:
        return to_levels(central_crop(resize_small(image, image_size), image_size))
    return to_levels(_resized_bicubically(middle_square(image), image_size))


def plain(image: UInt8[np.ndarray, "h w c"], image_size: int) -> UInt8[np.ndarray, "s s c"]:
    """The whole image, resized bilinearly unless it has the size: CIFAR-10, SVHN, MNIST."""
    if image.shape[:2] == (image_size, image_size):
        return image
    return to_levels(resize(image, (image_size, image_size)))


def plain_all(
    images: UInt8[np.ndarray, "n h w c"], image_size: int
) -> UInt8[np.ndarray, "n s s c"]:
    """`plain` of every image; raises ``ValueError`` where images cannot have the size."""
    check_options(image_size)
    if images.shape[1:3] == (image_size, image_size):
        return images
    return np.stack([plain(image, image_size) for image in images])


def halved(image: UInt8[np.ndarray, "h w c"], image_size: int) -> UInt8[np.ndarray, "s s c"]:
    """The whole image at 1/2, 1/4, 1/8 … of its size, by repeated means of 2 × 2 pixels.

    Equal to the last bit to the files ``-r08.tfrecords`` of StyleGAN, which are made
    from images of 1024 × 1024.

    Raises:
        ValueError: where the image is no square, or no halving of it has the size.
    """
    height, width = image.shape[:2]
    mean = image.astype(np.float32)
    while height == width and mean.shape[0] > image_size and not mean.shape[0] % 2:
        mean = (
            mean[0::2, 0::2] + mean[0::2, 1::2] + mean[1::2, 0::2] + mean[1::2, 1::2]
        ) * np.float32(0.25)
    require(
        height == width and mean.shape[0] == image_size,
        f"the image is {height} × {width} (height × width) where image_size={image_size} takes "
        f"{image_size} × {image_size}, or 2, 4, 8 … times that",
    )
    return to_levels(mean)


def central_crop(
    image: Shaped[np.ndarray, "h w c"], size: int
) -> Shaped[np.ndarray, "size size c"]:
    """The middle ``size`` × ``size``, up and left by half a pixel where there are two middles.

    Raises:
        ValueError: where the image is smaller.
    """
    height, width = image.shape[:2]
    require(
        min(height, width) >= size,
        f"the image is {height} × {width} (height × width), which has no middle {size} × {size}",
    )
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def middle_square(image: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "s s c"]:
    """The largest square in the middle."""
    return central_crop(image, min(image.shape[:2]))


def resize_small(image: Shaped[np.ndarray, "h w c"], size: int) -> np.ndarray:
    """The image with its shorter side resized bilinearly to ``size`` and the other in
    proportion, float32.

    The longer side is rounded half to even, as by ``tf.round``, which the published code
    intends (it passes a type as its argument ``name``).
    """
    height, width = image.shape[:2]
    ratio = size / min(height, width)
    return resize(image, (round(height * ratio), round(width * ratio)))


def to_levels(image: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """The nearest levels."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _resized_bicubically(image: Shaped[np.ndarray, "s s c"], image_size: int) -> np.ndarray:
    return (
        image
        if image.shape[0] == image_size
        else resize(image, (image_size, image_size), keys_cubic)
    )
