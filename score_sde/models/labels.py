"""The valid time labels of a network, and the check of a parameterization's labels."""

import abc
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from score_sde import checks
from score_sde.parameterization import Parameterization
from score_sde.sdes import SDE, smld_sigmas
from score_sde.typing import Scalar


@dataclass(frozen=True, kw_only=True)
class GivenLabels:
    """The labels of a parameterization for an SDE.

    Attributes:
        name: the name of the parameterization, for messages.
        at: the label at a time, as the network takes it.
        is_logarithm: whether the label of the parameterization is the logarithm of a
            noise level.
        first: the first time at which the network is evaluated.
        end: the last time.
        trained: whether the network will be trained, rather than only evaluated.
    """

    name: str
    at: Callable[[float], float]
    is_logarithm: bool
    first: float
    end: float
    trained: bool


@dataclass(frozen=True, kw_only=True)
class TimeLabels(abc.ABC):
    """The valid time labels of a network.

    Attributes:
        network: the name of the network in messages.
    """

    network: str

    def adapted(self, label: Scalar, *, is_logarithm: bool) -> Scalar:
        """The label as the network takes it, from a label that may be the logarithm of
        a noise level.
        """
        del is_logarithm
        return label

    @abc.abstractmethod
    def check(self, given: GivenLabels) -> None:
        """Check the labels that a parameterization gives.

        Raises:
            ValueError: the network cannot take them.
        """


@dataclass(frozen=True, kw_only=True)
class PositiveLabels(TimeLabels):
    """Numbers greater than 0, whose logarithm is embedded.

    A label that is a logarithm already, as in EDM, is embedded unchanged: the network
    takes its exponential.

    Attributes:
        divides: whether the label also divides the output.
    """

    divides: bool = False

    def adapted(self, label: Scalar, *, is_logarithm: bool) -> Scalar:
        """The label, or the exponential of a logarithm."""
        return jnp.exp(label) if is_logarithm else label

    def check(self, given: GivenLabels) -> None:
        """Check that labels are positive, and that no logarithm divides the output.

        Raises:
            ValueError: otherwise.
        """
        checks.require(
            not (self.divides and given.is_logarithm),
            f"scale_by_sigma divides the output of {self.network} by its time label, and the label "
            f"of {given.name} is a logarithm: choose scale_by_sigma=False, or "
            "time_label='noise_level'",
        )
        for t in (given.first, 0.5 * (given.first + given.end), given.end):
            label = given.at(t)
            checks.require(
                0.0 < label < math.inf,
                f"{self.network} embeds the logarithm of its time label, which must be positive, "
                f"and {given.name} gives {label:.4g} at t={t:.4g}: choose "
                "time_label='noise_level', or embedding_type='positional' for indices from 0",
            )


@dataclass(frozen=True, kw_only=True)
class LevelLabels(TimeLabels):
    """Indices ``0 .. num_scales - 1`` into a table of noise levels, the greatest noise
    first.
    """

    num_scales: int

    def check(self, given: GivenLabels) -> None:
        """Check that labels are in the table and, for a training, count it down.

        Raises:
            ValueError: otherwise.
        """
        last = self.num_scales - 1
        start, end = (given.at(t) for t in (0.0 if given.trained else given.first, given.end))
        ends = [round(label) if math.isfinite(label) else -1 for label in (start, end)]
        in_table = all(0 <= label <= last for label in ends)
        checks.require(
            ends == [last, 0] or (not given.trained and in_table),
            f"{self.network} takes as its time label the index of one of {self.num_scales} noise "
            f"levels, from {last} at t=0 to 0 at t_max, and {given.name} gives {start:.4g} to "
            f"{end:.4g}: choose the parameterization discrete_score with "
            f"num_scales={self.num_scales}",
        )


def descending_sigmas(
    num_scales: int, sigma_min: float, sigma_max: float
) -> tuple[np.float64, ...]:
    """The noise levels in the order of their labels, the greatest first."""
    return tuple(smld_sigmas(num_scales, sigma_min=sigma_min, sigma_max=sigma_max)[::-1])


def check_labels(
    sde: SDE,
    labels: TimeLabels | None,
    parameterization: Parameterization,
    *,
    first: float,
    trained: bool = False,
) -> None:
    """Check the labels of a parameterization from the time ``first`` to the end of the
    SDE.

    Raises:
        ValueError: a network of these ``labels`` cannot take them.
    """
    if labels is None:
        return
    try:
        hash((sde, parameterization))
    except TypeError:  # a user's own class may have no hash
        _check.__wrapped__(sde, labels, parameterization, first, trained)
    else:
        _check(sde, labels, parameterization, first, trained)


@functools.lru_cache(maxsize=1024)
def _check(
    sde: SDE, labels: TimeLabels, parameterization: Parameterization, first: float, trained: bool
) -> None:
    is_logarithm = parameterization.label_is_logarithm

    def label_at(t: float) -> float:
        label = jnp.asarray(parameterization.network_input(sde, jnp.zeros(()), t)[1])
        return float(labels.adapted(label, is_logarithm=is_logarithm))

    name, end = type(parameterization).__name__, float(sde.t_max)
    try:
        with jax.ensure_compile_time_eval():
            labels.check(
                GivenLabels(
                    name=name,
                    at=label_at,
                    is_logarithm=is_logarithm,
                    first=first,
                    end=end,
                    trained=trained,
                )
            )
    except jax.errors.ConcretizationTypeError:  # the parameters of the SDE are traced
        return
