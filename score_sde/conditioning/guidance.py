"""Guidance: a score made from several scores of one model, which differ in their
conditions or parameters.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from score_sde.sdes import SDE
from score_sde.typing import Params, ScoreFn


@dataclass(frozen=True)
class ScoreFnOf:
    """``(params, condition=None, *, present=None) -> score_fn`` of one sample, with the
    SDE of the scores.
    """

    sde: SDE
    function: Callable[..., ScoreFn]

    def __call__(self, params: Params, condition: Any = None, *, present: Any = None) -> ScoreFn:
        """The score function of one sample; unconditional where ``present`` is False."""
        return self.function(params, condition, present=present)


@dataclass(frozen=True, kw_only=True)
class Guidance(abc.ABC):
    """A transformation of the score that sampling uses, as a value: the argument
    ``guidance`` of a draw, or the key ``guidance`` of the section ``sampling``.
    """

    @abc.abstractmethod
    def __call__(self, score_fn_of: ScoreFnOf, params: Params, condition: Any) -> ScoreFn:
        """The guided score function of one sample, given its condition."""
