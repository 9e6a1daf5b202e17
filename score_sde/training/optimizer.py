"""The optimizer: Adam with warm-up, clipping and decoupled weight decay."""

import numpy as np
import optax

from score_sde.training.precision import in_float32

LARGEST = 1 - 2**-24
"""The float32 next to one: a moment of a larger decay would forget nothing."""


def adam(
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    warmup: int = 5000,
    grad_clip: float | None = 1.0,
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015) as score models are usually trained with.

    The rate is ``lr * min(n / warmup, 1)`` with ``n`` the number of earlier updates, so
    that the first update moves nothing when there is a warm-up. Gradients are scaled to
    a global norm of at most ``grad_clip``. The weight decay is decoupled from the
    gradient (Loshchilov and Hutter, 2019). Moments and updates are of float32 at least,
    whatever the type of the parameters.

    Args:
        lr: The learning rate after the warm-up.
        beta1: Decay of the running mean of the gradient.
        beta2: Decay of the running mean of the squared gradient.
        eps: Added to the root of the second moment.
        weight_decay: Times ``lr``, the fraction of each parameter taken away per step.
        warmup: Over how many steps the rate grows from zero; 0 for none.
        grad_clip: The largest global norm of the gradient; ``None``, zero or less for
            no clipping.

    Returns:
        An optax transformation.

    Raises:
        ValueError: For a value outside its range.
    """
    _require(lr >= 0, f"lr must not be negative, not {lr}")
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        _require(
            0 <= beta <= LARGEST,
            f"{name} must lie in [0, 1), at most {LARGEST:.8f} in float32, not {beta}",
        )
    _require(eps > 0, f"eps must be positive, not {eps}")
    _require(weight_decay >= 0, f"weight_decay must not be negative, not {weight_decay}")
    _require(
        0 <= warmup < 2**31, f"warmup must be a number of steps from 0 to {2**31 - 1}, not {warmup}"
    )
    chain = optax.chain(
        optax.clip_by_global_norm(grad_clip)
        if grad_clip is not None and grad_clip > 0
        else optax.identity(),
        optax.scale_by_adam(b1=_consistent(beta1), b2=_consistent(beta2), eps=eps),
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(optax.linear_schedule(0.0, lr, warmup) if warmup else lr),
    )
    return in_float32(chain)


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
