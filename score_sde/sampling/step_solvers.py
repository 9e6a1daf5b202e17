"""The bases of our diffrax solvers: a subclass says how a step changes the state, and
nothing else.
"""

import abc
from typing import Any, ClassVar

import diffrax
import jax.numpy as jnp


class StepSolver(diffrax.AbstractSolver):
    """A diffrax solver of fixed steps, for a subclass that defines `advance`.

    Between the steps it hands on a memory, such as the values that a multistep method
    uses once more.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    @abc.abstractmethod
    def advance(self, t0: Any, t1: Any, y: Any, memory: Any) -> tuple[Any, Any]:
        """The state after the step from ``t0`` to ``t1`` of the clock, and the memory."""

    def first_memory(self, y: Any) -> Any:
        """The memory before the first step."""
        del y

    def order(self, terms: Any) -> None:
        """Not used: the steps are fixed."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The memory before the first step."""
        return self.first_memory(y0)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """`advance`, as diffrax wants it."""
        y1, memory = self.advance(t0, t1, y0, solver_state)
        return y1, None, {"y0": y0, "y1": y1}, memory, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The vector field of the first term."""
        return terms.vf(t0, y0, args)


class TableSolver(StepSolver):
    """A `StepSolver` on the clock of `run_table`, which counts the steps."""

    @abc.abstractmethod
    def take(self, step: Any, y: Any, memory: Any) -> tuple[Any, Any]:
        """The state after the step of an index, and the memory."""

    def advance(self, t0: Any, t1: Any, y: Any, memory: Any) -> tuple[Any, Any]:
        """`take`, with the index that the clock shows."""
        return self.take(jnp.rint(t0).astype(jnp.int32), y, memory)
