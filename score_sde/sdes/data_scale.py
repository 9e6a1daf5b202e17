"""Whether an SDE suits the scale of the data."""

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from score_sde.sdes.base import SDE

MOST_DIVERGENCE = 0.01
"""Nats per dimension from the marginal at ``t_max`` to the prior."""

MOST_SIZE = 8.0
"""The root mean square of the data, in standard deviations of the prior."""

MOST_NOISE = 0.05
"""The noise-to-signal ratio at ``t_min``, in standard deviations of the data."""


def scale_mismatch(
    sde: SDE, mean: Float[ArrayLike, " channels"], std: Float[ArrayLike, " channels"]
) -> str | None:
    """The channel whose mean and standard deviation suit ``sde`` least, in words; None
    where all suit it.

    Only the marginals are used. Data of mean ``m`` and variance ``v`` arrive at
    ``t_max`` with mean ``M = alpha m`` and variance ``V = alpha^2 v + sigma^2``, and
    samples start from ``N(0, s^2)`` with ``s = prior_std``. Every channel must have

    * ``KL(N(M, V) || N(0, s^2)) <= MOST_DIVERGENCE``: else the prior is not the
      marginal;
    * ``sqrt(m^2 + v) <= MOST_SIZE s``: else a network made for inputs of the size of
      the prior gets far larger ones. The first condition does not show this for an SDE
      with ``alpha(t_max) = 0``;
    * ``sigma / alpha <= MOST_NOISE sqrt(v)`` at ``t_min``: else the noise left at
      ``t_min`` hides the details of the data.

    The limits were measured on shifted and scaled swiss rolls in two dimensions, with a
    small network and the VP, VE, EDM and rectified-flow SDEs: about there the samples
    and the likelihood start to suffer.
    """
    m, v, s = np.asarray(mean, np.float64), np.square(np.asarray(std, np.float64)), sde.prior_std()
    ends = jax.jit(lambda: (sde.marginal(sde.t_max), sde.marginal(sde.t_min)))()
    (alpha, sigma), (first_alpha, first_sigma) = np.asarray(ends, np.float64)
    last_mean, last_variance, noise = alpha * m, alpha**2 * v + sigma**2, first_sigma / first_alpha
    ratio = last_variance / s**2
    with np.errstate(divide="ignore"):  # a constant channel has the standard deviation 0
        parts_of_limits = np.stack([
            0.5 * (ratio + np.square(last_mean / s) - 1.0 - np.log(ratio)) / MOST_DIVERGENCE,
            np.sqrt(np.square(m) + v) / (MOST_SIZE * s),
            noise / (MOST_NOISE * np.sqrt(v)),
        ])  # fmt: skip
    limit, channel = np.unravel_index(np.argmax(parts_of_limits), parts_of_limits.shape)
    if not parts_of_limits[limit, channel] > 1.0:
        return None
    prior = f"the prior N(0, {s:.3g}²)"
    reason = (
        f"they arrive at t_max as N({last_mean[channel]:.3g}, {ratio[channel] ** 0.5 * s:.3g}²), "
        f"not as {prior}",
        f"{prior} assumes a root mean square of at most {MOST_SIZE * s:.3g}",
        f"the noise left at t_min, {noise:.3g}, assumes standard deviations of at least "
        f"{noise / MOST_NOISE:.3g}",
    )[limit]
    return (
        f"column {channel} has mean {m[channel]:.4g} and standard deviation "
        f"{v[channel] ** 0.5:.4g}, but {reason}"
    )
