"""The forms of the condition of a network: a class label, or any arrays.

A condition belongs to ONE example. Networks take the conditions of a batch, stacked
along a first axis.
"""

import abc
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, PyTree, Shaped

from score_sde import checks

_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
"""Types of one kind are interchangeable, whatever their width."""


@dataclass(frozen=True, kw_only=True)
class Condition(abc.ABC):
    """The structure, shapes, types and range of one example's condition."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Its name in messages, with an article."""

    @abc.abstractmethod
    def shapes(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The arrays of one condition."""

    @abc.abstractmethod
    def check(self, condition: PyTree[Any]) -> None:
        """Check the condition of one example, concrete or traced.

        Raises:
            ValueError: its structure, shapes or types differ from `shapes`, or a
                concrete value is out of range.
        """

    @abc.abstractmethod
    def check_all(self, conditions: PyTree[Any], what: str) -> None:
        """Check the conditions ``[n, ...]`` of many examples, called ``what`` in
        messages.

        Raises:
            ValueError: as `check`, or the arrays have unequal numbers of rows.
        """

    def zeros(self, batch: int) -> PyTree[Shaped[Array, "batch ..."]]:
        """Zero conditions of a batch, for the initialisation of a network."""
        return jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), self._rows(batch))

    def stacked(self, conditions: PyTree[Any], batch: int) -> PyTree[Shaped[Array, "batch ..."]]:
        """The conditions of a batch as arrays, in types at least as wide as in
        `shapes`.

        Raises:
            ValueError: their structure, shapes or types are wrong.
        """
        wanted = self._rows(batch)
        _check_form(conditions, wanted, f"the network takes the conditions {_described(wanted)}")

        def wide(given: Any, one: jax.ShapeDtypeStruct) -> Array:
            array = jnp.asarray(given)
            dtype = jnp.promote_types(array.dtype, one.dtype)
            return array.astype(jax.dtypes.canonicalize_dtype(dtype))

        return jax.tree.map(wide, conditions, wanted)

    def _rows(self, batch: int) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.tree.map(
            lambda one: jax.ShapeDtypeStruct((batch, *one.shape), one.dtype), self.shapes()
        )


@dataclass(frozen=True)
class ClassLabel(Condition):
    """A whole number from 0 to ``num_classes - 1``; ``num_classes`` is None where it is
    unknown.

    >>> import score_sde as ss
    >>> ss.ClassLabel(num_classes=10).check(3)
    >>> ss.ClassLabel(num_classes=10).check(10)
    Traceback (most recent call last):
    ValueError: model.num_classes=10 takes a class label from 0 to 9, got 10

    Raises:
        ValueError: there is no class.
    """

    num_classes: int | None

    def __post_init__(self) -> None:
        if self.num_classes is not None:
            checks.whole(1, num_classes=self.num_classes)

    @property
    def name(self) -> str:
        """A class label."""
        return "a class label"

    def shapes(self) -> jax.ShapeDtypeStruct:
        """One whole number."""
        return jax.ShapeDtypeStruct((), jnp.int32)

    def check(self, condition: PyTree[Any]) -> None:
        """Check one class label."""
        takes = self._takes("a class label")
        _check_form(condition, self.shapes(), takes)
        if not isinstance(condition, Tracer) and not self._in_range(condition):
            raise ValueError(f"{takes}, got {int(condition)}")

    def check_all(self, conditions: PyTree[Any], what: str) -> None:
        """Check the class labels ``[n]`` of many examples."""
        takes = self._takes("class labels")
        _check_many(conditions, self.shapes(), takes, what)
        if not self._in_range(conditions):  # there may be no label, which has no minimum
            labels = np.asarray(conditions)
            raise ValueError(f"{takes}, {what} are from {labels.min()} to {labels.max()}")

    def _takes(self, labels: str) -> str:
        if self.num_classes is None:
            return f"the network takes {labels} from 0"
        return f"model.num_classes={self.num_classes} takes {labels} from 0 to " + str(
            self.num_classes - 1
        )

    def _in_range(self, labels: Any) -> bool:
        labels = np.asarray(labels)
        if self.num_classes is None:
            return bool(np.all(labels >= 0))
        return bool(np.all((labels >= 0) & (labels < self.num_classes)))


@dataclass(frozen=True, kw_only=True)
class Arrays(Condition):
    """Any arrays: a vector, an image, a pytree of these.

    >>> import jax, score_sde as ss
    >>> ss.Arrays(like=jax.ShapeDtypeStruct((16,), "float32")).name
    'the arrays float32[16]'

    Attributes:
        like: a pytree of arrays, or of ``jax.ShapeDtypeStruct``, with the shapes and
            types of one example's condition.

    Raises:
        ValueError: ``like`` has no leaves, or a leaf is no array.
    """

    like: PyTree[Any]

    def __post_init__(self) -> None:
        leaves = jax.tree.leaves(self.like)
        checks.require(
            leaves and all(hasattr(one, "shape") and hasattr(one, "dtype") for one in leaves),
            "Arrays(like=...) takes arrays, or jax.ShapeDtypeStruct, of one example's condition, "
            f"got {self.like!r:.200}",
        )
        shapes = jax.tree.map(lambda one: jax.ShapeDtypeStruct(one.shape, one.dtype), self.like)
        object.__setattr__(self, "like", shapes)

    def __hash__(self) -> int:
        # Dictionaries have no hash, but leaves and structure have.
        leaves, structure = jax.tree.flatten(self.like)
        return hash((tuple(leaves), structure))

    @property
    def name(self) -> str:
        """The shapes of the arrays."""
        return f"the arrays {_described(self.like)}"

    def shapes(self) -> PyTree[jax.ShapeDtypeStruct]:
        """The arrays ``like``."""
        return self.like

    def check(self, condition: PyTree[Any]) -> None:
        """Check the arrays of one example."""
        _check_form(
            condition, self.like, f"the network takes the condition {_described(self.like)}"
        )

    def check_all(self, conditions: PyTree[Any], what: str) -> None:
        """Check the arrays ``[n, ...]`` of many examples."""
        takes = f"the network takes the condition {_described(self.like)} of each example"
        _check_many(conditions, self.like, takes, what)


def class_label(num_classes: int | None, conditional: bool = True) -> ClassLabel | None:
    """The condition of a network with ``num_classes``; None without classes, and for a
    network that is not ``conditional``, which has no embedding.

    Raises:
        ValueError: ``num_classes`` is less than 1.
    """
    label = None if num_classes is None else ClassLabel(num_classes=num_classes)
    return label if conditional else None


def conditioned(kind: Condition | None) -> Condition:
    """``kind``, the form of the condition of a network that is given one.

    Raises:
        ValueError: the network has no condition.
    """
    if kind is None:
        raise ValueError(
            "a condition was given to a network built without one; build it with num_classes (and "
            "conditional=True), or from_linen or ScoreNetwork with "
            "condition=ClassLabel(num_classes=...)"
        )
    return kind


def checked_present(
    present: Any, condition: PyTree[Any], shape: tuple[int, ...]
) -> Bool[Array, "..."] | None:
    """``present`` as an array.

    Raises:
        ValueError: it is not Boolean, of another ``shape``, or given without a
            condition.
    """
    if present is None:
        return None
    checks.require(
        condition is not None,
        "present says whether a condition is present, and no condition is given",
    )
    present = jnp.asarray(present)
    wanted = _described(jax.ShapeDtypeStruct(shape, jnp.bool_))
    checks.require(
        present.dtype == jnp.bool_ and present.shape == shape,
        f"present must be {wanted}, got {_described(present)}",
    )
    return present


def _check_form(given: PyTree[Any], wanted: PyTree[Any], takes: str) -> None:
    if not _has_form(given, wanted, batch_axes=0):
        raise ValueError(f"{takes}, got {_described(given)}")


def _check_many(given: PyTree[Any], one: PyTree[Any], takes: str, what: str) -> None:
    counts = {leaf.shape[:1] for leaf in map(_array, jax.tree.leaves(given))}
    if len(counts) != 1 or counts == {()} or not _has_form(given, one, batch_axes=1):
        raise ValueError(f"{takes}, as arrays with a row for each, {what} are {_described(given)}")


def _has_form(given: PyTree[Any], wanted: PyTree[Any], *, batch_axes: int) -> bool:
    if jax.tree.structure(given) != jax.tree.structure(wanted):
        return False
    pairs = zip(map(_array, jax.tree.leaves(given)), jax.tree.leaves(wanted), strict=True)
    return all(a.shape[batch_axes:] == b.shape and _same_kind(a.dtype, b.dtype) for a, b in pairs)


def _array(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)


def _same_kind(a: Any, b: Any) -> bool:
    return a == b or any(jnp.issubdtype(a, kind) and jnp.issubdtype(b, kind) for kind in _KINDS)


def _described(tree: PyTree[Any]) -> str:
    """``{'text': float32[16], 'crop': int32[4]}``."""

    class Form(str):
        __repr__ = str.__str__

    def form(leaf: Any) -> Form:
        array = _array(leaf)
        return Form(f"{array.dtype}[{', '.join(map(str, array.shape))}]")

    return f"{jax.tree.map(form, tree)!r:.200}"
