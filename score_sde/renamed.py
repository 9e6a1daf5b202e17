"""Keyword arguments that still work under their former names, for one version."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from score_sde import checks

Target = TypeVar("Target", bound=Callable[..., Any])


def renamed(**present: str) -> Callable[[Target], Target]:
    """A decorator for a function or a dataclass whose keywords were renamed.

    ``@renamed(num_levels="num_scales")`` accepts ``num_levels=`` for ``num_scales=``,
    with a ``DeprecationWarning``; of a dataclass it is a readable attribute too. The
    signature shows the present names only. Configs use
    `score_sde.experiments.tables.FORMER_KEYS` instead, without a warning.

    >>> @renamed(n="num_steps")
    ... def steps(num_steps: int) -> range:
    ...     return range(num_steps)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     steps(n=2)
    range(0, 2)
    """

    def decorate(target: Any) -> Any:
        if not isinstance(target, type):
            return _accepting(target, present)
        setattr(target, "__init__", _accepting(target.__init__, present))  # noqa: B010 - for pyright
        for former, name in present.items():
            setattr(target, former, property(_reader(former, name)))
        return target

    return decorate


def _accepting(function: Any, present: dict[str, str]) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for former in present.keys() & kwargs.keys():
            name = present[former]
            checks.require(
                name not in kwargs,
                f"{former}= is the former name of {name}=: give {name}= alone",
            )
            _warn(f"{former}= is now {name}=")
            kwargs[name] = kwargs.pop(former)
        return function(*args, **kwargs)

    return wrapped


def _reader(former: str, name: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        _warn(f"{type(value).__name__}.{former} is now {name}")
        return getattr(value, name)

    return read


def _warn(message: str) -> None:
    warnings.warn(
        f"{message}; the former name goes with version 0.3", DeprecationWarning, stacklevel=3
    )
