"""A wide residual network that classifies noisy images, conditioned on their noise
level.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Shaped

from score_sde import checks
from score_sde.models import arguments
from score_sde.models.base import apply_linen, checked_batch
from score_sde.models.embeddings import FourierEmbedding
from score_sde.models.layers import GroupNorm, avg_pool
from score_sde.precision import wide, wide_time
from score_sde.sdes import SDE
from score_sde.typing import Key, LogProbFn, Params, SampleLike, ScalarLike


class Classifier(NamedTuple):
    """A classifier of noisy images as two pure functions.

    Attributes:
        init: ``init(key) -> params``.
        apply: ``apply(params, x, sigma, *, key=None, train=False) -> logits`` with ``x
            [b, *shape]``, the noise levels ``sigma [b]`` and ``logits [b,
            num_classes]``. ``train`` switches dropout on, with randomness from ``key``.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Array]


class WideBlock(nn.Module):
    """``skip(x) + conv(drop(relu(norm(conv(relu(norm(x))) +
    Dense(silu(condition))))))``.

    Where the channels grow, ``skip`` averages over the strides and pads the channels
    with zeros. With ``activate_skip``, it starts from ``relu(norm(x))`` instead of
    ``x``.
    """

    channels: int
    stride: int = 1
    activate_skip: bool = False
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], condition: Float[Array, "b d"], train: bool
    ) -> Float[Array, "b h2 w2 channels"]:
        """Transform ``x``."""
        h = norm_relu(x, "norm1", self.dtype)
        skip = h if self.activate_skip else x
        h = conv3x3(h, self.channels, "conv1", self.dtype, self.stride)
        h = (
            h
            + nn.Dense(self.channels, dtype=self.dtype, name="condition")(nn.silu(condition))[
                :, None, None, :
            ]
        )
        h = nn.Dropout(self.dropout, deterministic=not train)(norm_relu(h, "norm2", self.dtype))
        h = conv3x3(h, self.channels, "conv2", self.dtype)
        if skip.shape[-1] != self.channels:
            skip = avg_pool(skip, (self.stride, self.stride), (self.stride, self.stride))
            skip = jnp.pad(skip, [(0, 0), (0, 0), (0, 0), (0, self.channels - skip.shape[-1])])
        return h + skip


def norm_relu(x: Float[Array, "b h w c"], name: str, dtype: DTypeLike) -> Float[Array, "b h w c"]:
    """``relu(GroupNorm(x))``, by a layer ``name`` of the module under construction."""
    return nn.relu(GroupNorm(epsilon=1e-5, dtype=dtype, name=name)(x))


def conv3x3(
    x: Float[Array, "b h w c"], channels: int, name: str, dtype: DTypeLike, stride: int = 1
) -> Float[Array, "b h2 w2 {channels}"]:
    """Convolve ``x`` without bias by a layer ``name``, initialised as in He et al.
    2015, by the fan out.
    """
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    return nn.Conv(
        channels, (3, 3), stride, use_bias=False, dtype=dtype, kernel_init=init, name=name
    )(x)


def standardize(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """``(x - mean) / max(std, n^-1/2)`` of each image, of ``n`` numbers."""
    space = (1, 2, 3)
    # The bound is inside the root, whose gradient is not finite at a constant image.
    variance = jnp.maximum(jnp.var(x, axis=space, keepdims=True), 1 / x[0].size)
    return (x - jnp.mean(x, axis=space, keepdims=True)) * jax.lax.rsqrt(variance)


class WideResNet(nn.Module):
    """Three groups of `WideBlock`, of 16, 32 and 64 channels times
    ``channel_multiplier``, at falling resolution.

    ``6 blocks_per_group + 4`` layers deep. The noise level enters every block as an
    embedding of ``log sigma``.
    """

    num_classes: int = 10
    blocks_per_group: int = 4
    channel_multiplier: int = 10
    fourier_scale: float = 16.0
    embedding_dim: int = 128
    dropout: float = 0.0
    remat: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], sigma: Float[Array, " b"], *, train: bool = False
    ) -> Float[Array, "b num_classes"]:
        """The logits of a batch."""
        block = nn.remat(WideBlock, static_argnums=(3,)) if self.remat else WideBlock
        condition = self._condition(sigma)
        if self.mean is not None:
            x = x - jnp.asarray(self.mean, x.dtype)
        if self.std is not None:
            x = x / jnp.asarray(self.std, x.dtype)
        h = conv3x3(standardize(x).astype(self.dtype), 16, "conv_in", self.dtype)
        for group in range(3):
            for i in range(self.blocks_per_group):
                h = block(
                    2**group * 16 * self.channel_multiplier,
                    stride=2 if group > 0 and i == 0 else 1,
                    activate_skip=group == 0 and i == 0,
                    dropout=self.dropout,
                    dtype=self.dtype,
                    name=f"group{group + 1}_{i + 1}",
                )(h, condition, train)
        h = jnp.mean(norm_relu(h, "norm_out", self.dtype), axis=(1, 2))
        bound = self.num_classes**-0.5
        init = nn.initializers.uniform(2 * bound)
        out = nn.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=lambda key, shape, dtype=jnp.float32: init(key, shape, dtype) - bound,
            name="out",
        )
        return out(h).astype(x.dtype)

    def _condition(self, sigma: Float[Array, " b"]) -> Float[Array, "b d"]:
        features = FourierEmbedding(2 * self.embedding_dim, self.fourier_scale, name="fourier")(
            jnp.log(sigma)
        )
        hidden = nn.Dense(4 * self.embedding_dim, dtype=self.dtype, name="condition1")(
            features.astype(self.dtype)
        )
        return nn.Dense(4 * self.embedding_dim, dtype=self.dtype, name="condition2")(
            nn.silu(hidden)
        )


def wideresnet(
    shape: Sequence[int],
    *,
    num_classes: int = 10,
    blocks_per_group: int = 4,
    channel_multiplier: int = 10,
    fourier_scale: float = 16.0,
    embedding_dim: int = 128,
    dropout: float = 0.0,
    dtype: str = "float32",
    remat: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Classifier:
    """Build a `WideResNet`, by default the WRN-28-10 of Zagoruyko & Komodakis 2016 with
    GroupNorm, conditioned on the noise level.

    ``x_t = alpha x_0 + sigma eps`` is standardised image by image, so its noise level
    is best given as ``sigma / alpha``: ``sigma`` for a VE process. Sources: Zagoruyko &
    Komodakis 2016 (https://arxiv.org/abs/1605.07146); Song et al. 2021
    (https://arxiv.org/abs/2011.13456), appendix I.

    Args:
        shape: the shape ``(height, width, channels)`` of one image; height and width
            must be divisible by 4.
        num_classes: the number of classes.
        blocks_per_group: the number of blocks in each of the three groups.
        channel_multiplier: the channels of the groups as a multiple of 16, 32 and 64.
        fourier_scale: the standard deviation of the frequencies of the embedding.
        embedding_dim: the number of these frequencies.
        dropout: the rate of dropout in each block.
        dtype: the type computed in; the parameters are float32.
        remat: whether to recompute the blocks in the backward pass, for less memory.
        mean: the mean of each channel of the data, subtracted first; None for no mean.
        std: the standard deviation of each channel, divided by then; None for no scale.

    Raises:
        ValueError: an argument is out of its range, or the image cannot be halved
            twice.
    """
    size = arguments.image_shape("the classifier", shape, divisor=4)
    checks.whole(1, num_classes=num_classes, blocks_per_group=blocks_per_group)
    checks.whole(1, channel_multiplier=channel_multiplier, embedding_dim=embedding_dim)
    checks.positive(fourier_scale=fourier_scale)
    arguments.rate(dropout=dropout)
    checks.one_of(arguments.DTYPES, dtype=dtype)
    for name, values in {"mean": mean, "std": std}.items():
        if values is not None and len(values) != size[-1]:
            checks.fail(name, values, f"a number for each of the {size[-1]} channels")
    if std is not None and not all(value > 0 for value in std):
        checks.fail("std", std, "positive")
    module = WideResNet(
        num_classes=int(num_classes),
        blocks_per_group=int(blocks_per_group),
        channel_multiplier=int(channel_multiplier),
        embedding_dim=int(embedding_dim),
        fourier_scale=fourier_scale,
        dropout=dropout,
        dtype=dtype,
        remat=remat,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )
    return _classifier(module, size)


def make_log_prob_fn(
    sde: SDE, classifier: Classifier, params: Params, *, key: Key | None = None, train: bool = False
) -> LogProbFn:
    """``(x, t) -> log p(y | x_t = x)`` for every class ``y``, of one example, from a
    classifier conditioned on the noise level.

    The classifier is conditioned on ``sigma(t) / alpha(t)``, the noise level of ``x /
    alpha(t)``: it standardises its input, and so does not depend on ``alpha``.
    """

    def log_prob_fn(x: SampleLike, t: ScalarLike) -> Float[Array, " classes"]:
        x, t = wide(x), wide_time(t)
        alpha, sigma = sde.marginal(t)
        noise_level = jnp.asarray(sigma / alpha, x.dtype)
        return jax.nn.log_softmax(
            classifier.apply(params, x[None], noise_level[None], key=key, train=train)[0]
        )

    return log_prob_fn


def _classifier(module: WideResNet, shape: tuple[int, ...]) -> Classifier:
    def init(key: Key) -> Params:
        return module.init(key, jnp.zeros((1, *shape)), jnp.ones((1,)))["params"]

    def apply(
        params: Params,
        x: Shaped[ArrayLike, "..."],
        sigma: Shaped[ArrayLike, "..."],
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> Float[Array, "b classes"]:
        x, sigma = checked_batch("the classifier", shape, x, sigma=sigma)
        return apply_linen(module, params, x, sigma, key=key, train=train)

    return Classifier(init, apply)
