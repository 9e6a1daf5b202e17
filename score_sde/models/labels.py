"""The time labels that a network takes, where not every number is one, and whether a
parameterization gives such.
"""

import abc
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from score_sde.parameterization import Parameterization
from score_sde.sdes import SDE, smld_sigmas
from score_sde.typing import Scalar


@dataclass(frozen=True, kw_only=True)
class Given:
    """The labels that a parameterization gives for an SDE.

    Attributes:
        name: that of the parameterization, for messages.
        at: the label at a time, as the network gets it.
        is_logarithm: whether the parameterization's own label is the logarithm of a
            noise level.
        first: the first time at which the network is evaluated.
        end: the last.
        trained: whether the network is to be trained, rather than to be used as it is.
    """

    name: str
    at: Callable[[float], float]
    is_logarithm: bool
    first: float
    end: float
    trained: bool


@dataclass(frozen=True, kw_only=True)
class Labels(abc.ABC):
    """What a network needs of its time labels; messages call it ``network``."""

    network: str

    def adapted(self, label: Scalar, *, is_logarithm: bool) -> Scalar:
        """The label as the network takes it, from one that is or is not the logarithm
        of a noise level.
        """
        del is_logarithm
        return label

    @abc.abstractmethod
    def check(self, given: Given) -> None:
        """Raise ``ValueError``, in one line that says what would be right, for labels
        that the network cannot take.
        """


@dataclass(frozen=True, kw_only=True)
class PositiveLabels(Labels):
    """Numbers greater than 0, whose logarithm is embedded; with ``divides``, the label
    divides the output too.

    A label that is a logarithm already, as in EDM, is embedded as it is: the network is
    given its exponential.
    """

    divides: bool = False

    def adapted(self, label: Scalar, *, is_logarithm: bool) -> Scalar:
        """The label, or the exponential of a logarithm."""
        return jnp.exp(label) if is_logarithm else label

    def check(self, given: Given) -> None:
        """Raise ``ValueError`` where a label is not positive, or is a logarithm that
        would divide the output.
        """
        if self.divides and given.is_logarithm:
            raise ValueError(
                f"scale_by_sigma divides the output of {self.network} by its time label, and that "
                f"of {given.name} is "
                f"a logarithm: choose scale_by_sigma=False, or time_label='noise_level'"
            )
        for t in (given.first, 0.5 * (given.first + given.end), given.end):
            label = given.at(t)
            if not 0.0 < label < math.inf:
                raise ValueError(
                    f"{self.network} embeds the logarithm of its time label, which must be "
                    f"positive, and {given.name} "
                    f"gives {label:.4g} at t={t:.4g}: choose time_label='noise_level', or "
                    "embedding_type='positional' "
                    f"for indices from 0 on"
                )


@dataclass(frozen=True, kw_only=True)
class LevelLabels(Labels):
    """Indices ``0 .. num_scales - 1`` into a table of noise levels, the greatest noise first."""

    num_scales: int

    def check(self, given: Given) -> None:
        """Raise ``ValueError`` where a label is not in the table, or, to be trained, if
        they do not count it down.
        """
        last = self.num_scales - 1
        start, end = (given.at(t) for t in (0.0 if given.trained else given.first, given.end))
        ends = [round(label) if math.isfinite(label) else -1 for label in (start, end)]
        if ends == [last, 0] or (not given.trained and all(0 <= label <= last for label in ends)):
            return
        raise ValueError(
            f"{self.network} takes as its time label the index of one of {self.num_scales} noise "
            f"levels, from {last} "
            f"at t=0 to 0 at t_max, and {given.name} gives {start:.4g} to {end:.4g}: choose the "
            "parameterization "
            f"discrete_score with num_scales={self.num_scales}"
        )


def descending_sigmas(
    num_scales: int, sigma_min: float, sigma_max: float
) -> tuple[np.float64, ...]:
    """The noise levels in the order of their labels: label 0 is the greatest."""
    return tuple(smld_sigmas(num_scales, sigma_min=sigma_min, sigma_max=sigma_max)[::-1])


def check_labels(
    sde: SDE,
    labels: Labels | None,
    parameterization: Parameterization,
    *,
    first: float,
    trained: bool = False,
) -> None:
    """Check the labels that a parameterization gives from the time ``first`` to the end of the SDE.

    Raises:
        ValueError: in one line, where a network of these ``labels`` cannot take them.
    """
    if labels is None:
        return
    try:
        hash((sde, parameterization))
    except TypeError:  # one of a user's own
        _check.__wrapped__(sde, labels, parameterization, first, trained)
    else:
        _check(sde, labels, parameterization, first, trained)


@functools.lru_cache(maxsize=1024)
def _check(
    sde: SDE, labels: Labels, parameterization: Parameterization, first: float, trained: bool
) -> None:
    is_logarithm = parameterization.label_is_logarithm

    def label_at(t: float) -> float:
        label = jnp.asarray(parameterization.network_input(sde, jnp.zeros(()), t)[1])
        return float(labels.adapted(label, is_logarithm=is_logarithm))

    name, end = type(parameterization).__name__, float(sde.t_max)
    try:
        with jax.ensure_compile_time_eval():
            labels.check(
                Given(
                    name=name,
                    at=label_at,
                    is_logarithm=is_logarithm,
                    first=first,
                    end=end,
                    trained=trained,
                )
            )
    except jax.errors.ConcretizationTypeError:  # an SDE with parameters that are being traced
        return
