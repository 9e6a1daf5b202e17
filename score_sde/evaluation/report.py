"""The table of results of a folder: every command adds its rows, ``plot`` shows all."""

import json
from collections.abc import Mapping
from pathlib import Path

from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.bounded_reading import read_json
from score_sde.runtime.object_store import shown
from score_sde.runtime.unreadable import set_aside


def record(workdir: Path, rows: Mapping[str, str]) -> None:
    """Add rows, a name and a result each, to ``report.json``; a damaged file is renamed
    to ``report.json.damaged``.
    """
    file = workdir / "report.json"
    if file.exists() and _rows(file) is None:
        set_aside(file)
    rows = {name: shown(value) for name, value in rows.items()}
    with replacing(workdir / "report.json") as temporary:
        text = json.dumps({**read(workdir), **rows}, indent=2, ensure_ascii=False)
        # A file name that is no text is escaped as JSON has it.
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read(workdir: Path) -> dict[str, str]:
    """The rows recorded so far; a damaged file counts as none."""
    try:
        return _rows(workdir / "report.json") or {}
    except FileNotFoundError:
        return {}


def _rows(file: Path) -> dict[str, str] | None:
    """The rows in a file; None where it is damaged."""
    try:
        rows = read_json(file)
    except ValueError:
        return None
    return rows if isinstance(rows, dict) else None


def show(title: str, rows: Mapping[str, str]) -> None:
    """Print rows as a table of two columns."""
    width = max(map(len, rows), default=0)
    table = "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in rows.items())])
    print(shown(table))  # noqa: T201 - the output of the commands
