"""Samplers that solve the linear part of the reverse process exactly, with one evaluation a step.

Each is a table of weights of the last denoised images, computed by
:mod:`score_sde.sampling.multistep_weights` and carried out by
:mod:`score_sde.sampling.multistep`. The examples show the tables at noise levels ``s =
sigma / alpha`` of 4, 2 and 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.sampling.base import check_eta
from score_sde.sampling.multistep import ExponentialSampler
from score_sde.sampling.multistep_weights import (
    LARGEST_STEP_SUM,
    ExtendedReverse,
    MultistepTable,
    Power,
    Ratios,
    adams_table,
    noise_adams_table,
)
from score_sde.sdes import SDE
from score_sde.solvers import CauchyGrid, times_of_ratio


@dataclass(frozen=True, kw_only=True)
class DDIM(ExponentialSampler):
    """DDIM (Song, Meng & Ermon 2021, eq. 12): with ``eta=0`` Euler in the noise level,
    with ``eta=1`` the posterior of DDPM.

    ``y_1 = D + sqrt(s_1^2 - n^2) (y_0 - D) / s_0 + n z`` with ``n = eta s_1 / s_0
    sqrt(s_0^2 - s_1^2)``, in ``y = x / alpha``, ``s = sigma / alpha``. Order 1.

    >>> import numpy as np, score_sde as ss
    >>> ss.DDIM().table(ss.VPSDE(), np.array([4.0, 2.0, 1.0])).decay
    array([0.5, 0.5])
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eta(self.eta)

    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """``decay = sqrt(s_1^2 - n^2) / s_0``, and ``1 - decay`` for ``D``."""
        start, stop = ratio[:-1], ratio[1:]
        noise = self.eta * stop / start * np.sqrt(start**2 - stop**2)
        decay = np.sqrt(np.maximum(stop**2 - noise**2, 0.0)) / start
        return MultistepTable(decay, 1.0 - decay[:, None], noise)


@dataclass(frozen=True, kw_only=True)
class AdamsBashforth(ExponentialSampler):
    """Exponential Adams-Bashforth of an ``order`` from 1 to 6, with polynomials in ``u =
    -log(s^2 + scale^2) / 2``, ``s = sigma / alpha``.

    With ``scale=0`` they are polynomials in the log SNR. Below the smallest ``scale``
    of the data, the denoised image depends on the noise level through ``s^2`` alone,
    and so does ``u``: the polynomials then hold down to ``s = 0``, and with
    ``last_ratio`` the last step is of full order too. ``noise_scale`` is the ``lambda``
    of the family in :mod:`score_sde.sdes.reverse`: 0 for the ODE, 1 for the SDE. With
    ``corrected``, a step of the ODE is repeated by Adams-Moulton, of one order more,
    when the next evaluation is known, at no cost (as in UniPC).

    >>> import numpy as np, score_sde as ss
    >>> sampler = ss.AdamsBashforth(order=2, scale=0.0)
    >>> sampler.table(ss.VPSDE(), np.array([4.0, 2.0, 1.0])).weights.round(3)
    array([[ 0.5  ,  0.   ],
           [ 0.779, -0.279]])
    """

    order: int = 3
    scale: float = 0.1
    noise_scale: float = 0.0
    corrected: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between(1, 6, order=self.order)
        checks.not_negative(scale=self.scale, noise_scale=self.noise_scale)
        checks.require(
            not self.corrected or self.noise_scale == 0.0,
            f"noise_scale={self.noise_scale} must be 0 where corrected=True, because only steps of "
            "the ODE can be corrected",
        )

    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """Adams-Bashforth in ``u``."""
        factor, corrected = Power(self.noise_scale), self.corrected
        return adams_table(
            ratio, order=self.order, variable=self.variable, factor=factor, corrected=corrected
        )

    def variable(self, s: Float[np.ndarray, "*points"]) -> Float[np.ndarray, "*points"]:
        """``-log(s^2 + scale^2) / 2``."""
        return -0.5 * np.log(s**2 + self.scale**2)


@dataclass(frozen=True, kw_only=True)
class DPMSolverPP(ExponentialSampler):
    """DPM-Solver++ 2M and 3M (Lu et al. 2022b, algorithm 2): the denoised image,
    extrapolated in the log SNR.

    ``order=2`` is the published ``D = (1 + 1 / 2r) D_0 - 1 / 2r D_1``, with ``r`` the
    ratio of the last step to this one. ``order=3`` integrates the parabola through the
    last three images exactly; the published code of 3M gives its third term half the
    weight, and so has order 2. ``noise_scale`` is the ``lambda`` of the family in
    :mod:`score_sde.sdes.reverse`: 0 for the ODE, 1 for the SDE.

    >>> import numpy as np, score_sde as ss
    >>> ss.DPMSolverPP().table(ss.VPSDE(), np.array([4.0, 2.0, 1.0])).weights
    array([[ 0.5 ,  0.  ],
           [ 0.75, -0.25]])
    """

    order: int = 2
    noise_scale: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between(1, 3, order=self.order)
        checks.not_negative(noise_scale=self.noise_scale)

    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """``y_1 = m y_0 + (1 - m) D + n z``, ``m = (s_1 / s_0)^(1 + noise_scale^2)``;
        the parabola for order 3.
        """
        if self.order == 3:
            return adams_table(
                ratio, order=3, variable=half_log_snr, factor=Power(self.noise_scale)
            )
        table = adams_table(ratio, order=1, variable=half_log_snr, factor=Power(self.noise_scale))
        weights = np.concatenate([table.weights, np.zeros_like(table.weights)], 1)[:, : self.order]
        if self.order == 2:
            with np.errstate(divide="ignore"):
                steps = np.diff(half_log_snr(ratio))
            # From the second step on, and not for the step to the data, whose length is
            # infinite.
            slope = np.where(np.isfinite(steps), steps, 0.0)[1:] / (2.0 * steps[:-1])
            slope = np.where(1.0 + 2.0 * slope <= LARGEST_STEP_SUM, slope, 0.0)
            weights[1:] = weights[1:, :1] * np.stack([1.0 + slope, -slope], 1)
        return table._replace(weights=weights)


@dataclass(frozen=True, kw_only=True)
class SDEDPMSolverPP(DPMSolverPP):
    """SDE-DPM-Solver++ 1, 2M and 3M (Lu et al. 2022b, section 5): DPM-Solver++ for the reverse SDE.

    Strong order 1, because the denoised image does not see the noise within a step.

    >>> import numpy as np, score_sde as ss
    >>> ss.SDEDPMSolverPP().table(ss.VPSDE(), np.array([4.0, 2.0, 1.0])).noise.round(3)
    array([1.732, 0.866])
    """

    noise_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class UniPC(ExponentialSampler):
    """UniPC (Zhao et al. 2023), predicting data: exponential Adams-Bashforth in the log
    SNR, corrected by Adams-Moulton.

    The corrector uses the evaluation of the next step, and so costs none. With
    ``order`` points, from 1 to 4, the method has order ``order + 1``. For three points
    and more the published weights are the same for every function ``B(h)``.

    >>> import numpy as np, score_sde as ss
    >>> table = ss.UniPC(order=1).table(ss.VPSDE(), np.array([4.0, 2.0, 1.0]))
    >>> table.correction.round(3)  # of D at the end and at the start of each step
    array([[0.279, 0.221],
           [0.279, 0.221]])
    """

    order: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between(1, 4, order=self.order)

    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """Polynomials in the log SNR."""
        return adams_table(
            ratio, order=self.order, variable=half_log_snr, factor=Power(0.0), corrected=True
        )


@dataclass(frozen=True, kw_only=True)
class DEIS(ExponentialSampler):
    """DEIS-tAB (Zhang & Chen 2023, eq. 15): the noise, extrapolated by a polynomial in ``t``.

    ``degree`` is from 0 to 4, and the order ``degree + 1``; tAB3 has ``degree=3``.

    >>> import numpy as np, score_sde as ss
    >>> ss.DEIS(degree=0).table(ss.VPSDE(), np.array([4.0, 2.0, 1.0])).weights.round(3)
    array([[-2.],
           [-1.]])
    """

    degree: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between(0, 4, degree=self.degree)

    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """Polynomials in ``t``."""
        return noise_adams_table(
            ratio, order=self.degree + 1, variable=lambda s: times_of_ratio(sde, s)
        )


@dataclass(frozen=True, kw_only=True)
class IPNDM(ExponentialSampler):
    """iPNDM (Zhang & Chen 2023, appendix H.2): the noise, by the Adams-Bashforth
    weights of equal steps.

    ``order=4`` has ``(55 e_0 - 59 e_1 + 37 e_2 - 9 e_3) / 24``. The method has this
    order where steps in ``sigma / alpha`` are equal (``EDMGrid(rho=1)``), and order 2
    on other smooth grids.

    >>> import numpy as np, score_sde as ss
    >>> ss.IPNDM(order=2).table(ss.VPSDE(), np.array([3.0, 2.0, 1.0])).weights
    array([[-1. , -0. ],
           [-1.5,  0.5]])
    """

    order: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between(1, 4, order=self.order)

    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """The weights of equal steps; the first steps know fewer values, and have a
        lower order.
        """
        num_steps = len(ratio) - 1
        weights = np.zeros((num_steps, self.order))
        for i in range(num_steps):
            known = (
                ADAMS_BASHFORTH[min(i + 1, self.order) - 1]
                if ratio[i + 1] > 0.0
                else ADAMS_BASHFORTH[0]
            )
            weights[i, : len(known)] = known
        steps = np.diff(ratio)
        return MultistepTable(
            np.ones(num_steps), weights * steps[:, None], np.zeros(num_steps), of_noise=True
        )


ADAMS_BASHFORTH = (
    np.array([1.0]),
    np.array([3.0, -1.0]) / 2.0,
    np.array([23.0, -16.0, 5.0]) / 12.0,
    np.array([55.0, -59.0, 37.0, -9.0]) / 24.0,
)
"""The weights of Adams-Bashforth with equal steps, the newest value first."""


@dataclass(frozen=True, kw_only=True)
class ERSDE(ExponentialSampler):
    """ER-SDE-Solver-1, 2 and 3 (Cui et al. 2023): an extended reverse SDE with
    polynomials in the noise level.

    >>> import numpy as np, score_sde as ss
    >>> ss.ERSDE().table(ss.VPSDE(), np.array([4.0, 2.0, 1.0])).decay.round(3)
    array([0.461, 0.474])
    """

    order: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.between(1, 3, order=self.order)

    def table(self, sde: SDE, ratio: Ratios) -> MultistepTable:
        """Polynomials in ``s = sigma / alpha``, with the factor ``s (exp(s^0.3) + 10)``."""
        return adams_table(ratio, order=self.order, variable=lambda s: s, factor=ExtendedReverse())


def half_log_snr(s: Float[np.ndarray, "*points"]) -> Float[np.ndarray, "*points"]:
    """``log(alpha / sigma) = -log s``."""
    return -np.log(s)


def default_sampler(*, nfe: int = 20, noise_scale: float = 0.0) -> AdamsBashforth:
    """The recommended sampler for ``nfe`` evaluations, ending with denoised data.

    `AdamsBashforth` at the nodes of `CauchyGrid`, for data of a scale of about one:

    ===============  ============================================  ==========================
    ``noise_scale``  0: the ODE, corrected                        positive: the SDE
    ===============  ============================================  ==========================
    ``order``        2 below 8 evaluations, 3 below 12, 4 beyond  3
    ``location``     ``-1 - 3 / nfe``                             -1
    ``last_ratio``   ``0.5 / nfe``                                ``(0.5 + 3 / nfe) / nfe``
    ``scale``        ``0.5 / sqrt(nfe)``                          ``0.7 / sqrt(nfe)``
    ===============  ============================================  ==========================

    ``docs/benchmarks/samplers.md`` compares it with the other samplers,
    ``docs/benchmarks/diffusers.md`` with the samplers of diffusers.

    >>> import score_sde as ss
    >>> ss.default_sampler(nfe=10).order, ss.default_sampler(nfe=10).last_ratio
    (3, 0.05)
    """
    checks.whole(1, nfe=nfe)
    if noise_scale != 0.0:
        scale, last = 0.7 / nfe**0.5, (0.5 + 3.0 / nfe) / nfe
        return AdamsBashforth(
            num_steps=nfe, grid=CauchyGrid(), scale=scale, noise_scale=noise_scale, last_ratio=last
        )
    return AdamsBashforth(
        num_steps=nfe,
        grid=CauchyGrid(location=-1.0 - 3.0 / nfe),
        order=2 if nfe < 8 else 3 if nfe < 12 else 4,
        scale=0.5 / nfe**0.5,
        corrected=True,
        last_ratio=0.5 / nfe,
    )
