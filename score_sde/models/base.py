"""`ScoreNetwork`, the interface of networks, which take a batch; and score functions of
one sample.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError
from jaxtyping import Array, ArrayLike, Float, PyTree, Shaped

from score_sde import checks
from score_sde.models.calls import NEEDS_KEY, Call
from score_sde.models.conditions import Condition, checked_present, conditioned
from score_sde.models.former import former_conditional, former_label
from score_sde.models.labels import TimeLabels, check_labels
from score_sde.parameterization import Parameterization
from score_sde.precision import real, wide, wide_time
from score_sde.sdes import SDE
from score_sde.solvers import marginals_at
from score_sde.typing import Key, Params, SampleLike, ScalarLike, ScoreFn

Options = ParamSpec("Options")


class ScoreNetwork(NamedTuple):
    """A network of any library: two pure functions, its time labels and its condition.

    >>> import score_sde as ss
    >>> network = ss.ScoreNetwork(lambda key: 2.0, lambda params, x, t, **options: params * x)
    >>> network.apply(network.init(None), 3.0, 0.5)
    6.0

    Attributes:
        init: ``init(key) -> params``.
        apply: ``apply(params, x, t, *, condition=None, present=None, key=None,
            train=False) -> output`` with ``x`` and ``output`` of shape ``[b, *shape]``
            and ``t`` of shape ``[b]``. ``condition`` is an array ``[b, ...]``, or a
            pytree of arrays; ``present``, Boolean ``[b]``, is False where the condition
            of a row is absent, and None where all are present. ``train`` switches
            dropout on, with randomness from ``key``.
        labels: the valid time labels ``t``; None for any number.
        condition: the form of its condition; None for an unconditional network.
        section: its name and options in a config, as pairs; None for a network that no
            config can name.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Array]
    labels: TimeLabels | None = None
    condition: Condition | None = None
    section: tuple[tuple[str, Any], ...] | None = None


def named(make: Callable[Options, ScoreNetwork]) -> Callable[Options, ScoreNetwork]:
    """A decorator of functions that build networks: a network remembers its options, so
    that its model can be saved and loaded.
    """

    @functools.wraps(make)
    def wrapped(*args: Options.args, **options: Options.kwargs) -> ScoreNetwork:
        pairs = {"name": make.__name__, **options}
        return make(*args, **options)._replace(
            section=tuple(
                (key, tuple(value) if isinstance(value, list) else value)
                for key, value in pairs.items()
                if key != "shape"  # of the data, not of the config
            )
        )

    return wrapped


def from_linen(
    module: nn.Module,
    shape: Sequence[int],
    *,
    conditional: bool = False,
    labels: TimeLabels | None = None,
    condition: Condition | None = None,
) -> ScoreNetwork:
    """Make a `ScoreNetwork` of a flax.linen module for samples of ``shape``.

    The module is called as ``module(x, t, condition=..., present=..., train=False)``
    with ``x [b, *shape]`` and ``t [b]``; ``condition`` and ``present`` are passed only
    if they are given, so that an unconditional module needs no such arguments. The
    module keeps its state in the collection ``params`` alone, and draws dropout from
    the stream ``dropout``.

    >>> import flax.linen as nn, jax, score_sde as ss
    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, t, *, train=False):
    ...         return nn.Dense(2)(x) * t[:, None]
    >>> network = ss.from_linen(Net(), (2,))
    >>> params = jax.eval_shape(network.init, jax.random.key(0))
    >>> params["Dense_0"]["kernel"].shape
    (2, 2)

    Args:
        module: the module.
        shape: the shape of one sample.
        conditional: deprecated; give ``condition=ClassLabel(num_classes=...)``.
        labels: the valid time labels; None for any number.
        condition: the form of its condition. The parameters are then made by a call
            with a condition, and with ``present`` if the module has that argument.

    Raises:
        ValueError: the module has no argument for the condition; at ``init``, it has
            other collections than ``params``; at ``apply``, an argument has a wrong
            shape or type, or the module draws random numbers and there is no key.
    """
    shape = tuple(shape)
    kind = former_conditional() if conditional and condition is None else condition
    call = Call.of(module, conditional=kind is not None)

    def init(key: Key) -> Params:
        x, t = jnp.zeros((1, *shape), jnp.float32), jnp.zeros((1,), jnp.float32)
        variables = module.init(key, x, t, **call.keywords_of_init(kind), train=False)
        extra = sorted(set(variables) - {"params"})
        checks.require(
            not extra,
            f"a score network may only have the collection 'params', this module also has {extra}",
        )
        return variables["params"]

    @jax.jit
    def evaluate(params: Params, x: Array, t: Array, given: Any) -> Array:
        return apply_linen(module, params, x, t, **given, key=None, train=False)

    def apply(
        params: Params,
        x: Shaped[ArrayLike, "..."],
        t: Shaped[ArrayLike, "..."],
        *,
        condition: PyTree[Any] = None,
        present: Shaped[ArrayLike, "..."] | None = None,
        key: Key | None = None,
        train: bool = False,
        label: Shaped[ArrayLike, "..."] | None = None,
    ) -> Float[Array, "..."]:
        x, t = checked_batch("the network", shape, x, t=t)
        if label is not None:
            condition, present = former_label(kind, label, condition)
        given = call.keywords_of_batch(kind, condition, present, len(x))
        if train:
            return apply_linen(module, params, x, t, **given, key=key, train=True)
        # A sampler calls the network in several places: in its steps, in the checks of their
        # types, and to denoise. They share one trace, where also their types are the same: a
        # time that was a Python number would be "weakly" typed.
        return evaluate(params, x, jnp.asarray(t, t.dtype), given)

    return ScoreNetwork(init, apply, labels, kind)


def checked_batch(
    network: str, shape: tuple[int, ...], x: Shaped[ArrayLike, "..."], **labels: Any
) -> tuple[Float[Array, "b *shape"], Float[Array, " b"]]:
    """``x`` and its one array of labels, which has a name, as floating-point numbers.

    The shapes are checked here rather than by annotations, so that the message is one
    line whether or not annotations are checked.

    Raises:
        ValueError: unless they are ``x [b, *shape]`` and labels ``[b]``.
    """
    ((name, label),) = labels.items()
    x, label = real(x), wide(label, name)
    wanted = ", ".join(map(str, ("b", *shape)))
    checks.require(
        x.shape[1:] == shape and label.shape == x.shape[:1],
        f"{network} takes x [{wanted}] and {name} [b], got x {x.shape} and {name} {label.shape}",
    )
    return x, label


def apply_linen(
    module: nn.Module, params: Params, *arrays: Array, key: Key | None, train: bool, **given: Any
) -> Array:
    """The output of a flax.linen module, with dropout in training alone.

    Raises:
        ValueError: the module draws random numbers and there is no key.
    """
    rngs = {"dropout": key} if train and key is not None else None
    try:
        output = module.apply({"params": params}, *arrays, **given, train=train, rngs=rngs)
    except InvalidRngError:
        raise ValueError(NEEDS_KEY) from None
    return jnp.asarray(output)


def network_of_call(
    call: Call,
    kind: Condition | None,
    labels: TimeLabels | None,
    init: Callable[[Key], Params],
    evaluate: Callable[..., Array],
) -> ScoreNetwork:
    """The network that takes conditions of a ``kind`` and evaluates a batch by
    ``evaluate(params, x, t, keywords, key, train)``.
    """

    def apply(
        params: Params,
        x: Array,
        t: Array,
        *,
        condition: Any = None,
        present: Any = None,
        key: Key | None = None,
        train: bool = False,
    ) -> Array:
        given = call.keywords_of_batch(kind, condition, present, len(x))
        return evaluate(params, x, t, given, key, train)

    return ScoreNetwork(init, apply, labels, kind)


def call_order(network: ScoreNetwork) -> tuple[str, ...]:
    """The names of a flax.linen network's submodules with parameters, in the order of
    their calls.
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
        # A new function: a function that was traced before would not be called again.
        params = jax.eval_shape(lambda key: network.init(key), jax.random.key(0))
    return tuple(name for name in dict.fromkeys(order) if name in params)


def make_score_fn(
    sde: SDE,
    network: ScoreNetwork,
    parameterization: Parameterization,
    params: Params,
    *,
    condition: PyTree[Any] = None,
    present: Shaped[ArrayLike, "..."] | None = None,
    key: Key | None = None,
    train: bool = False,
    label: Shaped[ArrayLike, ""] | None = None,
) -> ScoreFn:
    """The score ``(x, t) -> grad_x log p_t(x)``, or ``grad_x log p_t(x | condition)``,
    of one sample, from a network and its parameterization.

    The sample passes through the network as a batch of one; under ``jax.vmap`` the two
    batch axes fuse, so that it costs no more than the batched network. The score is
    float32 at least.

    >>> import jax, score_sde as ss
    >>> from score_sde.models import from_functions
    >>> network = from_functions(lambda key: {}, lambda params, x, t: x)
    >>> score_fn = ss.make_score_fn(ss.VESDE(), network, ss.ScorePrediction(), {})
    >>> jax.eval_shape(score_fn, jax.numpy.ones(2), 0.5).shape
    (2,)

    Args:
        sde: the forward SDE.
        network: the network.
        parameterization: what the network predicts.
        params: the parameters of the network.
        condition: the condition of ONE example, such as a class label; None for the
            unconditional score. For many examples, map over their conditions too.
        present: one Boolean, which may be traced; False for the unconditional score of
            a network that is given a condition.
        key: the randomness of dropout.
        train: whether dropout is on.
        label: the former name of ``condition``; deprecated.

    Raises:
        ValueError: the network cannot take the time labels of the parameterization, or
            the condition.
    """
    check_labels(sde, network.labels, parameterization, first=sde.t_min)
    if label is not None:
        condition, present = former_label(network.condition, label, condition)
    given = dict[str, Any]()
    if condition is not None:
        conditioned(network.condition).check(condition)
        given["condition"] = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], condition)
    if (present := checked_present(present, condition, ())) is not None:
        given["present"] = present[None]

    def evaluate(x: Float[Array, "*shape"], t: ScalarLike) -> Float[Array, "*shape"]:
        x_in, t_label = parameterization.network_input(sde, x, t)
        if network.labels is not None:
            t_label = network.labels.adapted(
                jnp.asarray(t_label), is_logarithm=parameterization.label_is_logarithm
            )
        output = network.apply(
            params, x_in[None], jnp.asarray(t_label)[None], **given, key=key, train=train
        )[0]
        return wide(output, "the output of the network")

    return NetworkScore(sde, parameterization, evaluate)


@dataclass(frozen=True, eq=False)
class NetworkScore:
    """A score function that also computes the denoised image directly, rather than from
    the score.

    The score of pure noise, ``-x``, has no information about the image: a discrete
    sampler that begins there needs `denoised`.

    Attributes:
        sde: the forward SDE.
        parameterization: what the network predicts.
        evaluate: ``(x, t) -> output`` of the network for one sample.
    """

    sde: SDE
    parameterization: Parameterization
    evaluate: Callable[..., Array]

    def __call__(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        """``grad_x log p_t(x)``."""
        x, t = wide(x), wide_time(t)
        return self.parameterization.score(self.sde, self.evaluate(x, t), x, t)

    @property
    def denoised(self) -> Callable[..., Array] | None:
        """``(x, t) -> E[x_0 | x_t = x]``; None where it is undefined at the last noise
        level, which has no signal.
        """
        return (
            self._denoised if self.parameterization.shows_image or _has_signal(self.sde) else None
        )

    def _denoised(self, x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
        x, t = wide(x), wide_time(t)
        return self.parameterization.denoised(self.sde, self.evaluate(x, t), x, t)


def _has_signal(sde: SDE) -> bool:
    """Whether ``alpha`` is positive at the last step of a discrete process; it always
    is at ``t_max`` of a continuous one.
    """
    times = sde.step_times()
    return times is None or bool(marginals_at(sde, times[-1:]).alpha.all())
