"""The code that a saved config may name, by the flags."""

from typing import Any

from score_sde.experiments.code_names import leaves
from score_sde.runtime.trust import Trust, is_code


def patterns_of(allow_code: str | None) -> tuple[str, ...]:
    """The patterns in the value of ``--allow_code``.

    Raises:
        ValueError: where one of them is not a pattern.
    """
    patterns = tuple(part.strip() for part in (allow_code or "").split(",") if part.strip())
    try:
        return Trust.of(patterns).patterns
    except ValueError as error:
        raise ValueError(f"--allow_code: {error}") from error


def trust_of(values: Any) -> Trust:
    """The code that the flags allow, and the code that they name themselves, as
    ``--config.sde.name=mypkg:MySDE``.

    Raises:
        ValueError: where a part of ``--allow_code`` is not a pattern.
    """
    overrides = values.overrides if "overrides" in values else {}
    typed = tuple(value for _, value in leaves(overrides) if is_code(value))
    return Trust.of((*patterns_of(values.allow_code), *typed))
