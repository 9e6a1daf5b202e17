"""Which code a config may name. Importing a module runs it, so somebody has to trust it first.

A config that a person writes or types may name any code as ``"package.module:Name"``. A
file from elsewhere (a workdir, an exported model) chooses from the tables only, unless
the person who loads it allows more.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

ALL = "*"
"""The pattern of all code."""

Allow: TypeAlias = str | Sequence[str]
"""One pattern, or several: what `Trust.of` takes."""

_LONGEST, _MOST = 100, 5  # of a foreign name, and of such names, that are shown in one line


def is_code(text: Any) -> bool:
    """Whether a value has the form ``"package.module:Name"``, by which code is named."""
    if not isinstance(text, str):
        return False
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), name])


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The code that may be imported.

    Attributes:
        patterns: ``"package"`` or ``"package.*"``: whatever is defined in the package
            or a module below it; ``"package.module:Name"``: this function or class;
            ``"*"``: all code.
    """

    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, allow: Allow) -> "Trust":
        """Trust in what one pattern or several allow.

        Raises:
            ValueError: where one of them is no pattern.
        """
        patterns = (allow,) if isinstance(allow, str) else tuple(allow)
        for pattern in patterns:
            if pattern != ALL and not is_code(pattern) and not _is_package(pattern):
                raise ValueError(
                    "allow takes 'package', 'package.*', 'package.module:Name' or '*' for all "
                    f"code, got {pattern!r}"
                )
        return cls(patterns=patterns)

    def allows(self, name: str) -> bool:
        """Whether ``"package.module:Name"`` may be imported."""
        return name in self.patterns or self._allows_module(name.partition(":")[0])

    def check(self, section: str, name: str) -> None:
        """Raise ``ValueError`` unless a section may name this code."""
        if not self.allows(name):
            raise ValueError(refusal([(section, name)]))

    def check_definition(self, section: str, name: str, found: Any) -> None:
        """Raise ``ValueError`` where an allowed module only re-exports what another
        defines, as ``mypkg:system``.

        A name that is allowed itself may be defined anywhere.
        """
        module = _defining_module(found)
        if name not in self.patterns and not self._allows_module(module):
            raise ValueError(
                f"{section} {name!r} is defined in {module!r}, which is not allowed: to trust it "
                "all the same, allow "
                f"{name!r} itself"
            )

    def _allows_module(self, module: str) -> bool:
        packages = (pattern.removesuffix(".*") for pattern in self.patterns if ":" not in pattern)
        return any(
            package in (ALL, module) or module.startswith(f"{package}.") for package in packages
        )


NOTHING, EVERYTHING = Trust(), Trust(patterns=(ALL,))
"""Trust in tables alone; and in all code, for configs that the caller has written."""


def refusal(found: Iterable[tuple[str, str]], source: str = "a saved config") -> str:
    """The line that says what a file names and how to allow it; ``found`` are sections
    and the code they name.
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
    """A text from a file as an error message shows it: printable, and cut off after a
    hundred characters.
    """
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
