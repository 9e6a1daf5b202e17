"""Optimizers of optax, each with the same learning-rate schedule and gradient clipping."""

from typing import Any

import jax
import numpy as np
import optax
from optax import contrib

from score_sde import checks
from score_sde.training.precision import in_float32

LARGEST = 1 - 2**-24
"""The largest float32 below one: with a decay of one a moment would forget nothing."""

MOST_STEPS = 2**31 - 1
"""Optax counts updates in int32."""

DECAYS = ("none", "cosine", "linear")
"""How a learning rate may fall after its warm-up."""


def adam(
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    warmup: int = 5000,
    grad_clip: float | None = 1.0,
    decay: str = "none",
    decay_steps: int | None = None,
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015), the usual optimizer of score models.

    Gradients are first scaled to a global norm of at most ``grad_clip``. The weight decay
    is decoupled from the gradient (Loshchilov & Hutter 2019). Moments and updates are in
    float32 at least, whatever the type of the parameters.

    >>> import score_sde.training as st
    >>> optimizer = st.adam(lr=0.1, warmup=0)
    >>> updates, _ = optimizer.update({"w": 0.3}, optimizer.init({"w": 1.0}), {"w": 1.0})
    >>> updates["w"].round(3)
    Array(-0.1, dtype=float32)

    Args:
        lr: The learning rate after the warm-up.
        beta1: Decay of the running mean of the gradient, in [0, 1).
        beta2: Decay of the running mean of the squared gradient, in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Each update subtracts ``rate * weight_decay`` of a parameter from it.
        warmup: Number of updates over which the rate grows linearly from zero, so that
            the first update changes nothing; 0 for no warm-up.
        grad_clip: The largest global norm of the gradient; ``None``, zero or less for
            no clipping.
        decay: How the rate falls to zero after the warm-up: ``none``, ``cosine`` or
            ``linear``.
        decay_steps: Number of updates, warm-up included, after which the rate is zero; a
            config without it takes ``training.num_steps``.

    Returns:
        An optax transformation.

    Raises:
        ValueError: For a value outside its range.
    """
    b1, b2 = _decays(beta1=beta1, beta2=beta2)
    checks.positive(eps=eps)
    scaled = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)
    rate = schedule(lr, warmup, decay, decay_steps)
    return in_float32(_chain(grad_clip, scaled, weight_decay, rate))


def adamw(
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
    warmup: int = 5000,
    grad_clip: float | None = 1.0,
    decay: str = "none",
    decay_steps: int | None = None,
) -> optax.GradientTransformation:
    """`adam` with the weight decay that ``optax.adamw`` has by default (Loshchilov &
    Hutter 2019). The arguments are those of `adam`.

    Raises:
        ValueError: For a value outside its range.
    """
    return adam(
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        warmup=warmup,
        grad_clip=grad_clip,
        decay=decay,
        decay_steps=decay_steps,
    )


def lion(
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    weight_decay: float = 1e-3,
    warmup: int = 5000,
    grad_clip: float | None = 1.0,
    decay: str = "none",
    decay_steps: int | None = None,
) -> optax.GradientTransformation:
    """Lion (Chen et al. 2023, https://arxiv.org/abs/2302.06675), which updates a parameter
    ``p`` by ``-rate (sign(beta1 m + (1 - beta1) g) + weight_decay p)``.

    The authors recommend a rate 3 to 10 times smaller than Adam's, and a weight decay
    larger by the same factor.

    Args:
        lr: The learning rate after the warm-up.
        beta1: The weight of the running mean ``m`` in the update.
        beta2: Decay of the running mean ``m`` of the gradient ``g``.
        weight_decay: See `adam`.
        warmup: See `adam`.
        grad_clip: See `adam`.
        decay: See `adam`.
        decay_steps: See `adam`.

    Raises:
        ValueError: For a value outside its range.
    """
    b1, b2 = _decays(beta1=beta1, beta2=beta2)
    scaled = optax.scale_by_lion(b1=b1, b2=b2)
    rate = schedule(lr, warmup, decay, decay_steps)
    return in_float32(_chain(grad_clip, scaled, weight_decay, rate))


def muon(
    *,
    lr: float,
    beta: float = 0.95,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    adam_lr: float | None = None,
    warmup: int = 5000,
    grad_clip: float | None = 1.0,
    decay: str = "none",
    decay_steps: int | None = None,
) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for matrices,
    Adam with Nesterov momentum for all other arrays, as ``optax.contrib.muon``.

    The update of a matrix is its momentum with all singular values set to about one, times
    ``sqrt(max(1, out / in))``. Its learning rate is therefore larger than Adam's, often
    0.02. As in optax, every array of two axes is a matrix, embedding tables of classes
    included; Adam updates biases and kernels of convolutions, which have one or four axes.

    Args:
        lr: The learning rate of matrices after the warm-up.
        beta: Decay of the momentum of matrices, in [0, 1).
        beta1: See `adam`; for all other arrays.
        beta2: See `adam`; for all other arrays.
        eps: Added to the denominators of both methods.
        weight_decay: See `adam`; for all arrays.
        adam_lr: The learning rate of all other arrays; ``lr`` unless given.
        warmup: See `adam`.
        grad_clip: See `adam`.
        decay: See `adam`.
        decay_steps: See `adam`.

    Raises:
        ValueError: For a value outside its range.
    """
    matrix_beta, b1, b2 = _decays(beta=beta, beta1=beta1, beta2=beta2)
    checks.positive(eps=eps)
    checks.not_negative(weight_decay=weight_decay)
    if adam_lr is not None:
        checks.not_negative(adam_lr=adam_lr)
    chain = optax.chain(
        _clipping(grad_clip),
        contrib.muon(
            schedule(lr, warmup, decay, decay_steps),
            beta=matrix_beta,
            eps=eps,
            weight_decay=weight_decay,
            adam_b1=b1,
            adam_b2=b2,
            adam_weight_decay=weight_decay,
            adam_learning_rate=(
                None if adam_lr is None else schedule(adam_lr, warmup, decay, decay_steps)
            ),
        ),
    )
    return in_float32(chain)


def schedule_free(
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    warmup: int = 5000,
    grad_clip: float | None = 1.0,
) -> optax.GradientTransformation:
    """Schedule-free AdamW (Defazio et al. 2024, https://arxiv.org/abs/2405.15682): averages
    the iterates instead of decaying the learning rate.

    Gradients are taken at the trained parameters ``y = (1 - beta1) z + beta1 x``, where
    ``z`` are the iterates and ``x`` is their average. The moving averages of a run are
    averages of ``x`` (`evaluation_params`).

    Args:
        lr: The learning rate after the warm-up.
        beta1: The weight of ``x`` in ``y``, in (0, 1).
        beta2: See `adam`.
        eps: See `adam`.
        weight_decay: See `adam`; decays ``y``.
        warmup: See `adam`.
        grad_clip: See `adam`.

    Raises:
        ValueError: For a value outside its range.
    """
    _, b2 = _decays(beta1=beta1, beta2=beta2)
    checks.positive(beta1=beta1, because="the average is (y - (1 - beta1) z) / beta1")
    checks.positive(eps=eps)
    scaled = optax.scale_by_rms(decay=b2, eps=eps, eps_in_sqrt=False, bias_correction=True)
    rate = schedule(lr, warmup)
    base = _chain(grad_clip, scaled, weight_decay, rate)
    return in_float32(contrib.schedule_free(base, rate, b1=beta1))


def schedule(
    lr: float, warmup: int = 0, decay: str = "none", decay_steps: int | None = None
) -> optax.ScalarOrSchedule:
    """The learning rate after ``n`` updates: ``lr min(n / warmup, 1)`` during the warm-up,
    then falling to zero at ``decay_steps`` along half a cosine or a line.

    >>> rate = schedule(0.1, warmup=10, decay="linear", decay_steps=30)
    >>> [round(float(rate(n)), 3) for n in (0, 5, 10, 20, 30)]
    [0.0, 0.05, 0.1, 0.05, 0.0]

    Raises:
        ValueError: For a value outside its range, or a decay without ``decay_steps``.
    """
    checks.not_negative(lr=lr)
    checks.one_of(DECAYS, decay=decay)
    if not 0 <= warmup <= MOST_STEPS:
        checks.fail("warmup", warmup, f"a number of steps from 0 to {MOST_STEPS}")
    if decay == "none":
        if decay_steps is not None:
            checks.fail("decay_steps", decay_steps, "None without a decay", "cosine or linear")
        return optax.linear_schedule(0.0, lr, warmup) if warmup else lr
    if decay_steps is None or not warmup < decay_steps <= MOST_STEPS:
        checks.fail(
            "decay_steps",
            decay_steps,
            "the number of updates of the run",
            f"at most {MOST_STEPS} and greater than warmup={warmup}",
        )
    length = (decay_steps or 0) - warmup
    falling = (
        optax.cosine_decay_schedule(lr, length)
        if decay == "cosine"
        else optax.linear_schedule(lr, 0.0, length)
    )
    if not warmup:
        return falling
    return optax.join_schedules([optax.linear_schedule(0.0, lr, warmup), falling], [warmup])


def evaluation_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    """The parameters to evaluate: the average ``x = (y - (1 - beta1) z) / beta1`` of a
    schedule-free optimizer with parameters ``y``; of every other, ``params`` themselves.

    The state of the schedule-free optimizer is also found inside the state of another
    transformation, such as ``optax.chain`` or ``optax.partition``.
    """

    def is_ours(node: Any) -> bool:
        return isinstance(node, contrib.ScheduleFreeState)

    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    for state in filter(is_ours, jax.tree.leaves(opt_state, is_leaf=is_ours)):
        b1 = state.b1

        def average(z: Any, y: Any, b1: Any = b1) -> Any:
            return y if is_masked(z) else (y - (1.0 - b1) * z) / b1

        params = jax.tree.map(average, state.z, params, is_leaf=is_masked)
    return params


def _chain(
    grad_clip: float | None,
    scaled: optax.GradientTransformation,
    weight_decay: float,
    rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """Clipping, the scaling of a method, decoupled weight decay, and the learning rate."""
    checks.not_negative(weight_decay=weight_decay)
    return optax.chain(
        _clipping(grad_clip),
        scaled,
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(rate),
    )


def _clipping(grad_clip: float | None) -> optax.GradientTransformation:
    if grad_clip is not None and grad_clip > 0:
        return optax.clip_by_global_norm(grad_clip)
    return optax.identity()


def _decays(**betas: float) -> list[float]:
    """The decays of moments, checked, each as `_consistent` makes it."""
    for name, beta in betas.items():
        if not 0 <= beta <= LARGEST:
            limit = f"which in float32 is at most {LARGEST:.8f}"
            checks.fail(name, beta, "at least 0 and less than 1", limit)
    return [_consistent(beta) for beta in betas.values()]


def _consistent(beta: float) -> float:
    """A decay whose float32 value is consistent with ``1 - beta``, the weight of the new term.

    Optax multiplies the moment by the float32 of ``beta`` and computes ``1 - beta`` in
    float64. Close to one, their relative difference would be a bias of the moment. Where
    it is more than 1e-3, the decay is therefore the float32 nearest to ``beta``.
    """
    rounded = float(np.float32(beta))
    return rounded if abs(rounded - beta) > 1e-3 * (1.0 - beta) else beta
