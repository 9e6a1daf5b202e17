"""Variational lower bounds of the log-likelihood, from evaluations of the score alone.

With ``q`` the forward process from ``x_0``, ``log p(x_0)`` is at least minus the sum of
three costs: ``KL(q(x_tmax | x_0) || prior)``, ``1/2 int g^2 E |s(x_t, t) - grad log
q(x_t | x_0)|^2 dt`` from ``t_min`` to ``t_max``, and ``-E log p(x_0 | x_tmin)`` (Song,
Durkan et al. 2021, theorem 3; Kingma et al. 2021; Huang et al. 2021). ``p`` is the
model of the reverse SDE: the likelihood of the probability flow is not bounded.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.chunking import check_chunk_size, map_in_chunks
from score_sde.likelihood.dequantization import FAR, log_interval_probability
from score_sde.precision import unknown, wide, wide_score
from score_sde.sdes import SDE, Marginal
from score_sde.typing import Key, SampleLike, Scalar, ScalarLike, ScoreFn


class VariationalBound(NamedTuple):
    """A bound of one sample in nats over all dimensions, ``log_prob = -(prior +
    diffusion + reconstruction)``.

    ``std_error``: the standard error of ``log_prob`` given the sample, from the times
    (or levels) and noises drawn for the diffusion cost and the noises drawn for the
    reconstruction cost; the prior cost is exact. It is estimated from the differences
    between draws at neighbouring times, which overestimate it on average, and is NaN
    where either cost has a single draw (None under ``jax_debug_nans``).

    >>> import score_sde as ss
    >>> ss.VariationalBound._fields
    ('log_prob', 'std_error', 'prior', 'diffusion', 'reconstruction')
    """

    log_prob: Scalar
    std_error: Scalar | None
    prior: Scalar
    diffusion: Scalar
    reconstruction: Scalar


def variational_bound(
    key: Key,
    sde: SDE,
    score_fn: ScoreFn,
    x: SampleLike,
    *,
    num_times: int = 128,
    num_decodings: int = 4,
    bin_width: float | None = None,
    data_range: tuple[float, float] = (-1.0, 1.0),
    chunk_size: int | None = None,
) -> VariationalBound:
    """An unbiased estimate of the lower bound of ``log p(x)`` for one sample, in nats.

    Since ``g^2 / sigma^2 = -d log_snr / dt``, the diffusion cost is ``1/2 int E |sigma
    s + eps|^2 d log_snr`` (Kingma et al. 2021). One time is drawn from each of
    ``num_times`` strata of equal length in ``log_snr``. The decoder ``p(x | x_tmin)``
    is normal about Tweedie's mean with variance ``sigma^2 / alpha^2``.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> sde, score_fn = ss.VPSDE(), lambda x, t: -x  # of standard normal data
    >>> bound = lambda key, x: ss.variational_bound(key, sde, score_fn, x, num_times=8)
    >>> jax.eval_shape(bound, jax.random.key(0), jnp.zeros((8, 8, 3))).log_prob.shape
    ()

    Args:
        key: draws times and noises.
        sde: the forward SDE. The decoder replaces it below ``t_min``.
        score_fn: ``(x, t) -> grad_x log p_t(x)``.
        x: one sample in model units; with ``bin_width``, the middles of its bins. The
            bound is float32 at least.
        num_times: evaluations of the score for the diffusion cost.
        num_decodings: evaluations of the score for the reconstruction cost.
        bin_width: None for a density. Otherwise the width of one level in model units,
            and the result bounds the log probability of the levels: the decoder is
            integrated over each bin.
        data_range: the lower edge of the first bin and the upper edge of the last,
            which are moved to minus and plus infinity (Ho et al. 2020, eq. 13).
        chunk_size: evaluations at a time; None for all at once.

    Raises:
        ValueError: where a number of draws or ``chunk_size`` is below 1.
    """
    check_draws(chunk_size, num_times=num_times, num_decodings=num_decodings)
    x, score_fn = wide(x), wide_score(score_fn)
    time_key, noise_key, decoding_key = jax.random.split(key, 3)
    least, most = sde.log_snr(sde.t_max), sde.log_snr(sde.t_min)
    places = jnp.arange(num_times, dtype=float)
    quantiles = (places + jax.random.uniform(time_key, (num_times,))) / num_times
    times = jnp.clip(
        jax.vmap(sde.time_at)(least + (most - least) * quantiles), sde.t_min, sde.t_max
    )

    def residual(item: tuple[Key, Scalar]) -> Scalar:
        noise_key, t = item
        return noise_residual(noise_key, score_fn, x, t, sde.marginal(t))

    start = sde.marginal(sde.t_min)

    def reconstruction(key: Key) -> Scalar:
        std = start.sigma / start.alpha
        return decoding_cost(key, score_fn, x, sde.t_min, start, std, bin_width, data_range)

    return bound_of(
        prior_cost(sde.marginal(sde.t_max), sde.prior_std(), x),
        jnp.full(num_times, (most - least) / num_times),
        map_in_chunks(residual, (jax.random.split(noise_key, num_times), times), chunk_size),
        map_in_chunks(reconstruction, jax.random.split(decoding_key, num_decodings), chunk_size),
    )


def noise_residual(
    key: Key, score_fn: ScoreFn, x: Float[Array, "*shape"], t: ScalarLike, marginal: Marginal
) -> Scalar:
    """An unbiased estimate of ``E |sigma s(x_t, t) + eps|^2`` from one noise ``eps``.

    ``c (|eps|^2 - E |eps|^2)`` is a control variate, with ``c = (alpha^2 / (alpha^2 + 4
    sigma^2))^2``. It removes all variance if ``x`` is the mean of normal data with
    standard deviation 1/2, which is typical of images on [-1, 1], and nearly all at
    small noise whatever the data, since the noise is then hardly predictable.
    """
    alpha, sigma = marginal
    noise = jax.random.normal(key, x.shape, x.dtype)
    residual = sigma * score_fn(alpha * x + sigma * noise, t) + noise
    signal = jnp.square(alpha) / (jnp.square(alpha) + 4.0 * jnp.square(sigma))
    return jnp.sum(jnp.square(residual) - jnp.square(signal) * (jnp.square(noise) - 1.0))


def prior_cost(marginal: Marginal, prior_std: float, x: Float[Array, "*shape"]) -> Scalar:
    """``KL(N(alpha x, sigma^2 I) || N(0, prior_std^2 I))`` in nats."""
    alpha, sigma = marginal
    ratio = jnp.square(sigma / prior_std)
    return 0.5 * jnp.sum(jnp.square(alpha * x / prior_std) + ratio - 1.0 - jnp.log(ratio))


def decoding_cost(
    key: Key,
    score_fn: ScoreFn,
    x: Float[Array, "*shape"],
    t: ScalarLike,
    marginal: Marginal,
    std: ScalarLike,
    bin_width: float | None,
    data_range: tuple[float, float],
) -> Scalar:
    """An unbiased estimate of ``-E log p(x | x_t)`` in nats, with a normal decoder of
    standard deviation ``std`` about Tweedie's mean.
    """
    alpha, sigma = marginal
    if bin_width is None:
        squares = jnp.square(sigma / (alpha * std)) * noise_residual(key, score_fn, x, t, marginal)
        return 0.5 * squares + x.size * (jnp.log(std) + 0.5 * math.log(2.0 * math.pi))
    x_t = alpha * x + sigma * jax.random.normal(key, x.shape, x.dtype)
    mean = (x_t + jnp.square(sigma) * score_fn(x_t, t)) / alpha
    (low, high), far = data_range, FAR * jnp.finfo(x.dtype).max
    lower = jnp.where(x < low + bin_width, -far, (x - 0.5 * bin_width - mean) / std)
    upper = jnp.where(x > high - bin_width, far, (x + 0.5 * bin_width - mean) / std)
    return -jnp.sum(log_interval_probability(lower, upper))


def bound_of(
    prior: Scalar,
    weights: Float[Array, " draws"],
    residuals: Float[Array, " draws"],
    decodings: Float[Array, " decodings"],
    constant: float = 0.0,
) -> VariationalBound:
    """The bound whose diffusion cost is ``constant + 1/2 sum_j weights_j residuals_j``,
    with the residuals in order of time.

    Their variances are estimated from the differences between neighbours, as there is
    one draw from each stratum.
    """
    diffusion = constant + 0.5 * jnp.vdot(weights, residuals)
    reconstruction = jnp.mean(decodings)
    log_prob = -(prior + diffusion + reconstruction)
    if min(len(residuals), len(decodings)) == 1:
        std_error = unknown(log_prob.dtype)
    else:
        squares = 0.5 * jnp.square(jnp.diff(residuals))
        variances = 0.5 * (jnp.append(squares[0], squares) + jnp.append(squares, squares[-1]))
        variance = 0.25 * jnp.vdot(jnp.square(weights), variances)
        spread = jnp.mean(jnp.square(decodings - reconstruction)) / (len(decodings) - 1)
        std_error = jnp.sqrt(variance + spread)
    return VariationalBound(log_prob, std_error, prior, diffusion, reconstruction)


def check_draws(chunk_size: int | None, **numbers: int) -> None:
    """Raise ``ValueError`` unless every number of draws is at least 1."""
    check_chunk_size(chunk_size)
    checks.at_least(1, **numbers, because="a bound averages over draws")
