"""The base of predictors and correctors: frozen values that make one step of a chain."""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float

from score_sde.precision import as_state, wide, wide_score, wide_time
from score_sde.sdes import SDE
from score_sde.typing import Key, SampleLike, ScalarLike, ScoreFn


class Step(NamedTuple):
    """One step of a chain, in float32 at least.

    ``x``: the state at ``t``. ``t_next``: the next time of the grid, less than ``t``.
    """

    key: Key
    sde: SDE
    score_fn: ScoreFn
    x: Float[Array, "*shape"]
    t: ScalarLike
    t_next: ScalarLike

    def noise(self) -> Float[Array, "*shape"]:
        """Standard normal numbers of the shape of the state."""
        return jax.random.normal(self.key, self.x.shape, self.x.dtype)

    def score(self) -> Float[Array, "*shape"]:
        """The score at ``(x, t)``."""
        return self.score_fn(self.x, self.t)


@dataclass(frozen=True)
class StepFunction(abc.ABC):
    """A step of a chain, for a subclass that defines `step`.

    ``evaluations``: the number of evaluations of the score in a step.
    """

    evaluations: ClassVar[int] = 1

    def __call__(
        self,
        key: Key,
        sde: SDE,
        score_fn: ScoreFn,
        x: SampleLike,
        t: ScalarLike,
        t_next: ScalarLike,
        **options: Any,
    ) -> Float[Array, "*shape"]:
        """The state after the step, in the floating-point type of ``x``.

        Args:
            key: the source of the noise.
            sde: the forward SDE.
            score_fn: ``(x, t) -> grad_x log p_t(x)``.
            x: the state at ``t``.
            t: the time of the state.
            t_next: the next time of the grid, less than ``t``.
            options: the keyword arguments of `step`.
        """
        step = Step(
            key, sde, wide_score(score_fn), wide(x), wide_time(t), wide_time(t_next, "t_next")
        )
        return as_state(self.step(step, **options), x)

    @abc.abstractmethod
    def step(self, step: Step, *args: Any, **options: Any) -> Float[Array, "*shape"]:
        """The state after the step."""
