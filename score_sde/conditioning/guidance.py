"""Guidance: another score is made of those of one model, under several conditions or parameters."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from score_sde.sdes import SDE
from score_sde.typing import Params, ScoreFn


@dataclass(frozen=True)
class ScoreFnOf:
    """``(params, condition=None, *, present=None) -> score_fn`` of one sample, and the
    SDE that the scores are of.
    """

    sde: SDE
    function: Callable[..., ScoreFn]

    def __call__(self, params: Params, condition: Any = None, *, present: Any = None) -> ScoreFn:
        """The score of one sample; without its condition where ``present`` is False."""
        return self.function(params, condition, present=present)


@dataclass(frozen=True, kw_only=True)
class Guidance(abc.ABC):
    """What is made of the score of a model before it is drawn from, as a value: the
    ``guidance`` of a draw, or of the section ``sampling`` of a config.
    """

    @abc.abstractmethod
    def __call__(self, score_fn_of: ScoreFnOf, params: Params, condition: Any) -> ScoreFn:
        """The guided score of one sample with its condition."""
