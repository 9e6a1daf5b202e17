"""The code that a config may name. To import a module is to run it, so it must be trusted.

A config that the user writes may name any code as ``"package.module:Name"``. A config in
a file from elsewhere (a workdir, an exported model) may name entries of the tables only,
unless the user who loads it allows more.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from score_sde import checks

ALL = "*"
"""The pattern that allows all code."""

Allow: TypeAlias = str | Sequence[str]
"""One pattern or several, for `Trust.of`."""

_LONGEST, _MOST = 100, 5  # characters of a foreign name, and such names, in one line


def is_code(text: Any) -> bool:
    """Whether a value has the form ``"package.module:Name"``.

    >>> is_code("optax:adam"), is_code("adam")
    (True, False)
    """
    if not isinstance(text, str):
        return False
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), name])


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The code that may be imported.

    >>> trust = Trust.of("mypackage")
    >>> trust.allows("mypackage.networks:Net"), trust.allows("os:system")
    (True, False)

    Attributes:
        patterns: ``"package"`` or ``"package.*"`` for all code of the package and the
            modules below it; ``"package.module:Name"`` for one function or class; ``"*"``
            for all code.
    """

    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, allow: Allow) -> "Trust":
        """Trust in the code of one pattern or several.

        Raises:
            ValueError: where one of them is no pattern.
        """
        patterns = (allow,) if isinstance(allow, str) else tuple(allow)
        for pattern in patterns:
            if pattern != ALL and not is_code(pattern) and not _is_package(pattern):
                right = "'package', 'package.*', 'package.module:Name' or '*' for all code"
                checks.fail("allow", pattern, right)
        return cls(patterns=patterns)

    def allows(self, name: str) -> bool:
        """Whether ``"package.module:Name"`` may be imported."""
        return name in self.patterns or self._allows_module(name.partition(":")[0])

    def check(self, section: str, name: str) -> None:
        """Raise ``ValueError`` unless a section may name this code."""
        checks.require(self.allows(name), untrusted([(section, name)]))

    def check_definition(self, section: str, name: str, found: Any) -> None:
        """Raise ``ValueError`` where an allowed module has the name by import from another,
        such as ``mypackage:system`` from ``os``.

        An object that is itself allowed by name may be defined anywhere.
        """
        module = _defining_module(found)
        checks.require(
            name in self.patterns or self._allows_module(module),
            f"{section} {name!r} is defined in {module!r}, which is not allowed: to trust it all "
            f"the same, allow {name!r} itself",
        )

    def _allows_module(self, module: str) -> bool:
        packages = (pattern.removesuffix(".*") for pattern in self.patterns if ":" not in pattern)
        return any(
            package in (ALL, module) or module.startswith(f"{package}.") for package in packages
        )


NOTHING, EVERYTHING = Trust(), Trust(patterns=(ALL,))
"""Trust in the entries of tables alone; and in all code, for configs written by the caller."""


def untrusted(found: Iterable[tuple[str, str]], source: str = "a saved config") -> str:
    """The message about code that a file names and how to allow it; ``found`` are pairs of a
    section and a dotted name.
    """
    found = list(found)
    shown = ", ".join(
        f"{shortened(section)}={shortened(name)!r}" for section, name in found[:_MOST]
    )
    shown += f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    modules = list(dict.fromkeys(shortened(name.partition(":")[0]) for _, name in found[:_MOST]))
    return (
        f"{source} names code: {shown}; code that a file names is not run: if you trust it, load "
        f"with allow={modules}, "
        f"on the command line --allow_code={','.join(modules)}"
    )


def _is_package(pattern: Any) -> bool:
    return isinstance(pattern, str) and all(
        part.isidentifier() for part in pattern.removesuffix(".*").split(".")
    )


def _defining_module(found: Any) -> str:
    while isinstance(found, functools.partial):
        found = found.func
    return str(getattr(found, "__module__", None) or type(found).__module__)


def shortened(text: str) -> str:
    """A text from a file for a message: printable, and cut off after a hundred characters."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
