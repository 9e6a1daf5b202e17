"""Optimizers by name: optax's, with one learning-rate schedule and one clipping."""

from typing import Any

import jax
import numpy as np
import optax
from optax import contrib

from score_sde.training.precision import in_float32

LARGEST = 1 - 2**-24
"""The float32 next to one: a moment of a larger decay would forget nothing."""

DECAYS = ("none", "cosine", "linear")
"""What may follow the warm-up of a learning rate."""


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
    """Adam (Kingma and Ba, 2015) as score models are usually trained with.

    The rate is that of `schedule`, so that the first update moves nothing when there is
    a warm-up. Gradients are scaled to a global norm of at most ``grad_clip``. The weight
    decay is decoupled from the gradient (Loshchilov and Hutter, 2019). Moments and
    updates are of float32 at least, whatever the type of the parameters.

    Args:
        lr: The learning rate after the warm-up.
        beta1: Decay of the running mean of the gradient.
        beta2: Decay of the running mean of the squared gradient.
        eps: Added to the root of the second moment.
        weight_decay: Times the rate, the fraction of each parameter taken away per step.
        warmup: Over how many steps the rate grows from zero; 0 for none.
        grad_clip: The largest global norm of the gradient; ``None``, zero or less for
            no clipping.
        decay: How the rate falls to zero after the warm-up: ``none``, ``cosine`` or
            ``linear``.
        decay_steps: After how many updates, those of the warm-up included, the rate is
            zero; a config without it takes ``training.num_steps``.

    Returns:
        An optax transformation.

    Raises:
        ValueError: For a value outside its range.
    """
    rate = schedule(lr, warmup, decay, decay_steps)
    _check(betas={"beta1": beta1, "beta2": beta2}, eps=eps, weight_decay=weight_decay)
    scaled = optax.scale_by_adam(b1=_consistent(beta1), b2=_consistent(beta2), eps=eps)
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
    """`adam` by the name under which its decoupled weight decay is known (Loshchilov and
    Hutter, 2019), with the weight decay of ``optax.adamw``; its arguments are those of
    `adam`.

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
    """Lion (Chen et al. 2023, https://arxiv.org/abs/2302.06675): each parameter moves by
    the rate, ``-rate (sign(beta1 m + (1 - beta1) g) + weight_decay p)``.

    The authors take a rate 3 to 10 times smaller than Adam's, and a weight decay as many
    times larger.

    Args:
        lr: The learning rate after the warm-up.
        beta1: The weight of the running mean ``m`` in the update.
        beta2: Decay of the running mean of the gradient.
        weight_decay: As of `adam`.
        warmup: As of `adam`.
        grad_clip: As of `adam`.
        decay: As of `adam`.
        decay_steps: As of `adam`.

    Raises:
        ValueError: For a value outside its range.
    """
    rate = schedule(lr, warmup, decay, decay_steps)
    _check(betas={"beta1": beta1, "beta2": beta2}, weight_decay=weight_decay)
    scaled = optax.scale_by_lion(b1=_consistent(beta1), b2=_consistent(beta2))
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

    A matrix moves by its momentum with all singular values set to about one, times
    ``sqrt(max(1, out / in))``: its rate is another than Adam's, often 0.02. By the rule
    of optax every array of two axes is a matrix, tables of classes included; biases and
    kernels of convolutions, which have one or four, are left to Adam.

    Args:
        lr: The learning rate of matrices after the warm-up.
        beta: Decay of the momentum of matrices.
        beta1: As of `adam`, for all other arrays.
        beta2: As of `adam`, for all other arrays.
        eps: Added to the denominators of both.
        weight_decay: As of `adam`, for all arrays.
        adam_lr: The learning rate of all other arrays; ``lr`` unless given.
        warmup: As of `adam`.
        grad_clip: As of `adam`.
        decay: As of `adam`.
        decay_steps: As of `adam`.

    Raises:
        ValueError: For a value outside its range.
    """
    rate = schedule(lr, warmup, decay, decay_steps)
    if adam_lr is not None:
        _require(adam_lr >= 0, f"adam_lr must not be negative, not {adam_lr}")
    adam_rate = None if adam_lr is None else schedule(adam_lr, warmup, decay, decay_steps)
    betas = {"beta": beta, "beta1": beta1, "beta2": beta2}
    _check(betas=betas, eps=eps, weight_decay=weight_decay)
    chain = optax.chain(
        _clipping(grad_clip),
        contrib.muon(
            rate,
            beta=_consistent(beta),
            eps=eps,
            weight_decay=weight_decay,
            adam_b1=_consistent(beta1),
            adam_b2=_consistent(beta2),
            adam_weight_decay=weight_decay,
            adam_learning_rate=adam_rate,
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
    """Schedule-free AdamW (Defazio et al. 2024, https://arxiv.org/abs/2405.15682): an
    average of the iterates takes the place of a decay, which it therefore has not.

    Gradients are taken at ``y = (1 - beta1) z + beta1 x``, the parameters being trained,
    where ``z`` are the iterates and ``x`` their average. The moving averages of a run are
    of ``x`` (`evaluation_params`).

    Args:
        lr: The learning rate after the warm-up.
        beta1: The weight of ``x`` in ``y``, in (0, 1).
        beta2: As of `adam`.
        eps: As of `adam`.
        weight_decay: As of `adam`, at ``y``.
        warmup: As of `adam`.
        grad_clip: As of `adam`.

    Raises:
        ValueError: For a value outside its range.
    """
    rate = schedule(lr, warmup)
    _check(betas={"beta1": beta1, "beta2": beta2}, eps=eps, weight_decay=weight_decay)
    _require(beta1 > 0, f"beta1 must be positive in schedule-free training, not {beta1}")
    scaled = optax.scale_by_rms(
        decay=_consistent(beta2), eps=eps, eps_in_sqrt=False, bias_correction=True
    )
    base = _chain(grad_clip, scaled, weight_decay, rate)
    return in_float32(contrib.schedule_free(base, rate, b1=beta1))


def schedule(
    lr: float, warmup: int = 0, decay: str = "none", decay_steps: int | None = None
) -> optax.ScalarOrSchedule:
    """The rate at ``n`` earlier updates: ``lr min(n / warmup, 1)``, then falling to zero
    at ``decay_steps``, along half a cosine or a line.

    Raises:
        ValueError: For a value outside its range, or a decay of unknown length.
    """
    _require(lr >= 0, f"lr must not be negative, not {lr}")
    _require(
        0 <= warmup < 2**31, f"warmup must be a number of steps from 0 to {2**31 - 1}, not {warmup}"
    )
    _require(decay in DECAYS, f"decay must be one of {', '.join(DECAYS)}, not {decay!r:.200}")
    if decay == "none":
        _require(
            decay_steps is None,
            f"decay_steps must be left out without a decay (cosine or linear), not {decay_steps}",
        )
        return optax.linear_schedule(0.0, lr, warmup) if warmup else lr
    _require(
        decay_steps is not None and warmup < decay_steps < 2**31,
        f"decay_steps must be the number of updates of the run, greater than warmup={warmup}, "
        f"not {decay_steps}",
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
    """The parameters to evaluate: those of a schedule-free optimizer are the average
    ``x = (y - (1 - beta1) z) / beta1``, those of any other ``params`` themselves.

    The state may lie within that of another transformation, as of ``optax.chain`` or
    ``optax.partition``.
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
    """Clipping, the scaling of a method, decoupled weight decay, and the rate."""
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


def _check(*, betas: dict[str, float], weight_decay: float, eps: float = 1.0) -> None:
    for name, beta in betas.items():
        _require(
            0 <= beta <= LARGEST,
            f"{name} must lie in [0, 1), at most {LARGEST:.8f} in float32, not {beta}",
        )
    _require(eps > 0, f"eps must be positive, not {eps}")
    _require(weight_decay >= 0, f"weight_decay must not be negative, not {weight_decay}")


def _consistent(beta: float) -> float:
    """A decay whose float32, by which the moment is multiplied, belongs to the weight
    ``1 - beta`` of what is added.

    That weight is computed in float64. Next to one, where the two differ by more than
    1e-3, the moment would be too small or too large by as much, for good; there the
    decay is the float32 next to ``beta``.
    """
    rounded = float(np.float32(beta))
    return rounded if abs(rounded - beta) > 1e-3 * (1.0 - beta) else beta


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
