"""Options of a foreign config: each is read with its type, and an unread one is an error.

All errors are one line, ``NAME=VALUE must be …``, without the name of the file.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from score_sde.checks import fail, require
from score_sde.runtime.naming import did_you_mean

UNSUPPORTED = "no other value is supported"


class Options:
    """The options of a config, which record the names that were read.

    >>> options = Options({"beta_start": 1e-4, "steps": 10, "colour": "red"})
    >>> options.number("beta_start"), options.whole("steps", most=1000), options.flag("clip", True)
    (0.0001, 10, True)
    >>> options.finish("this config")
    Traceback (most recent call last):
    ValueError: colour='red' is an unknown option of this config

    Where an option is missing, methods return the entry of ``defaults``, else their
    ``default``; where there is neither, they raise ``ValueError``.

    Args:
        given: the options of the file.
        defaults: the values of missing options.
        any_case: whether `choice` ignores upper and lower case.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any] | None = None,
        any_case: bool = False,
    ) -> None:
        self._given, self._defaults, self._any_case = given, defaults or {}, any_case
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        if name in self._given:
            return self._given[name]
        require(name in self._defaults, f"the config lacks {name}{did_you_mean(name, self._given)}")
        return self._defaults[name]

    def __contains__(self, name: object) -> bool:
        return name in self._given

    def get(self, name: str, default: Any = None) -> Any:
        """An option as it is."""
        self._read.add(name)
        return self._given.get(name, self._defaults.get(name, default))

    def not_null(self, name: str, default: Any = None) -> Any:
        """An option, or ``default`` where the config has none or null."""
        value = self.get(name)
        return default if value is None else value

    def number(self, name: str, default: int | float | None = None) -> int | float:
        """An option that must be a finite number, and no Boolean."""
        value = self[name] if default is None else self.get(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            fail(name, value, "a finite number")
        return value

    def whole(
        self, name: str, default: int | None = None, *, least: int = 0, most: int | None = None
    ) -> int:
        """An option that must be a whole number from ``least`` to ``most``."""
        value = self[name] if default is None else self.get(name, default)
        return whole(name, value, least=least, most=most)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """An option that must be True or False."""
        value = self[name] if default is None else self.get(name, default)
        if not isinstance(value, bool):
            fail(name, value, "True or False")
        return value

    def choice(self, name: str, choices: Collection[str], default: str | None = None) -> str:
        """An option that must be one of some texts."""
        value = self[name] if default is None else self.get(name, default)
        text = str(value).lower() if self._any_case else value
        if not isinstance(text, str) or text not in choices:
            fail(name, value, f"one of {', '.join(choices)}{did_you_mean(str(text), choices)}")
        return text

    def only(self, name: str, *wanted: Any, because: str = UNSUPPORTED) -> Any:
        """An option that must have one of the ``wanted`` values, by default the first."""
        value = self.get(name, wanted[0])
        # In Python True == 1, but not here.
        if not any(
            value == right and isinstance(value, bool) is isinstance(right, bool)
            for right in wanted
        ):
            fail(name, value, " or ".join(map(repr, wanted)), because)
        return value

    def ignore(self, names: Collection[str]) -> None:
        """Count options as read."""
        self._read |= set(names)

    def finish(self, what: str, known: Collection[str] = ()) -> None:
        """Raise ValueError for the first option that was not read and is not ``known``: it
        could change the result unnoticed.

        Args:
            what: the config, for the message.
            known: names of further options, which change nothing.
        """
        known = {*self._read, *known, *self._defaults}
        for name in sorted(map(str, self._given.keys() - known))[:1]:
            value, hint = self._given.get(name), did_you_mean(name, known)
            raise ValueError(f"{name}={value!r:.100} is an unknown option of {what}{hint}")


def whole(name: str, value: Any, *, least: int = 0, most: int | None = None) -> int:
    """``value`` of the option ``name``, if it is a whole number from ``least`` to ``most``.

    Raises:
        ValueError: where it is not.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    limit = math.inf if most is None else most
    if not is_number or not least <= value <= limit or value % 1:
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        fail(name, value, f"a whole number {bounds}")
    return int(value)
