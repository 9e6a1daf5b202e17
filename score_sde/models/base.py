"""The border between networks, which take a batch, and the mathematics, which takes one sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from score_sde.models.labels import Labels, check_labels
from score_sde.parameterization import Parameterization
from score_sde.precision import real, whole, wide, wide_time
from score_sde.sdes import SDE
from score_sde.solvers import noise_levels
from score_sde.typing import Key, Params, ScalarLike, ScoreFn


class ScoreNetwork(NamedTuple):
    """A network as two pure functions and its time labels; nothing else is known of how
    it was written.

    Attributes:
        init: ``init(key) -> params``.
        apply: ``apply(params, x, t, *, label=None, key=None, train=False) -> output``
            with ``x`` and ``output`` of shape ``[b, *shape]``, ``t`` and ``label`` of
            shape ``[b]``. ``train`` switches dropout on, fed by ``key``.
        labels: what it needs of the time labels ``t``; None where every number is one.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Array]
    labels: Labels | None = None


def from_linen(
    module: nn.Module,
    shape: Sequence[int],
    *,
    conditional: bool = False,
    labels: Labels | None = None,
) -> ScoreNetwork:
    """Make a `ScoreNetwork` of a flax.linen module for samples of ``shape``.

    The module is called as ``module(x, t, label=None, train=False)`` with ``x [b,
    *shape]`` and ``t [b]``. It keeps its state in the collection ``params`` alone, and
    draws dropout from the stream ``dropout``. With ``conditional`` it is initialised
    with a label too, so that the parameters of its label embedding are made. ``labels``
    says which time labels it takes.

    Raises:
        ValueError: at ``init``, if the module has other collections than ``params``; at
            ``apply``, if ``x`` or ``t`` has a wrong shape, or if the module draws
            random numbers and no key is given.
    """
    shape = tuple(shape)

    def init(key: Key) -> Params:
        x, t = jnp.zeros((1, *shape), jnp.float32), jnp.zeros((1,), jnp.float32)
        label = jnp.zeros((1,), jnp.int32) if conditional else None
        variables = module.init(key, x, t, label=label, train=False)
        if extra := sorted(set(variables) - {"params"}):
            raise ValueError(
                "a score network may only have the collection 'params', this module also has "
                f"{extra}"
            )
        return variables["params"]

    def apply(
        params: Params,
        x: Shaped[ArrayLike, "..."],
        t: Shaped[ArrayLike, "..."],
        *,
        label: Int[Array, " b"] | None = None,
        key: Key | None = None,
        train: bool = False,
    ) -> Float[Array, "..."]:
        x, t = real(x), wide(t, "t")
        # The shapes are checked here rather than by the annotations, so that the answer
        # is one line in every setting.
        if x.shape[1:] != shape or t.shape != x.shape[:1]:
            wanted = ", ".join(map(str, ("b", *shape)))
            raise ValueError(
                f"the network takes x [{wanted}] and t [b], got x {x.shape} and t {t.shape}"
            )
        rngs = {"dropout": key} if train and key is not None else None
        try:
            output = module.apply({"params": params}, x, t, label=label, train=train, rngs=rngs)
        except InvalidRngError:
            raise ValueError(
                "this network has dropout: train=True needs a key, as apply(..., key=key)"
            ) from None
        return jnp.asarray(output)

    return ScoreNetwork(init, apply, labels)


def call_order(network: ScoreNetwork) -> tuple[str, ...]:
    """The names of a flax.linen network's own parts that have parameters, in the order
    in which it calls them.
    """
    order: list[str] = []

    def note(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        path = context.module.path
        if len(path) == 1 and context.method_name == "__call__":
            order.append(path[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        # A function of its own: of one that was traced before, nothing would be called.
        params = jax.eval_shape(lambda key: network.init(key), jax.random.key(0))
    return tuple(name for name in dict.fromkeys(order) if name in params)


def make_score_fn(
    sde: SDE,
    network: ScoreNetwork,
    parameterization: Parameterization,
    params: Params,
    *,
    label: Shaped[Array, ""] | int | None = None,
    key: Key | None = None,
    train: bool = False,
) -> ScoreFn:
    """The score ``(x, t) -> grad_x log p_t(x)`` of one sample, from a network and what
    its output means.

    The sample passes through the network as a batch of one; under ``jax.vmap`` the two
    batch axes fuse, and the cost is that of the batched network. ``label``, ``key`` and
    ``train`` go to the network. The score is float32 at least.

    Raises:
        ValueError: in one line, where the network cannot take the time labels of the
            parameterization.
    """
    check_labels(sde, network.labels, parameterization, first=sde.t_min)
    labels = None if label is None else whole(label, "label").astype(jnp.int32)[None]

    def evaluate(x: Float[Array, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        x_in, t_label = parameterization.network_input(sde, x, t)
        if network.labels is not None:
            t_label = network.labels.adapted(
                jnp.asarray(t_label), is_logarithm=parameterization.label_is_logarithm
            )
        output = network.apply(
            params, x_in[None], jnp.asarray(t_label)[None], label=labels, key=key, train=train
        )[0]
        return wide(output, "the output of the network")

    return NetworkScore(sde, parameterization, evaluate)


@dataclass(frozen=True, eq=False)
class NetworkScore:
    """A score function that also computes the denoised image directly, rather than from the score.

    The score of pure noise, ``-x``, says nothing of the image: a discrete sampler that
    begins there needs `denoised`.

    Attributes:
        sde: the forward SDE.
        parameterization: what the network predicts.
        evaluate: ``(x, t) -> output`` of the network for one sample.
    """

    sde: SDE
    parameterization: Parameterization
    evaluate: Callable[..., Array]

    def __call__(self, x: Shaped[ArrayLike, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        """``grad_x log p_t(x)``."""
        x, t = wide(x), wide_time(t)
        return self.parameterization.score(self.sde, self.evaluate(x, t), x, t)

    @property
    def denoised(self) -> Callable[..., Array] | None:
        """``(x, t) -> E[x_0 | x_t = x]``; None where it is undefined at the last level,
        which has no signal.
        """
        return (
            self._denoised if self.parameterization.shows_image or _has_signal(self.sde) else None
        )

    def _denoised(self, x: Shaped[ArrayLike, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        x, t = wide(x), wide_time(t)
        return self.parameterization.denoised(self.sde, self.evaluate(x, t), x, t)


def _has_signal(sde: SDE) -> bool:
    """Whether ``alpha`` is positive at the last step of a discrete process; at
    ``t_max`` it always is.
    """
    times = sde.step_times()
    return times is None or bool(noise_levels(sde, times[-1:]).alpha.all())
