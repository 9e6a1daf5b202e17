"""What a workdir holds, in a short table: every verb adds its rows, and the last one shows them all."""

import json
from collections.abc import Mapping
from pathlib import Path


def record(workdir: Path, rows: Mapping[str, str]) -> None:
    """Add rows, each a name and what was found, to ``report.json``."""
    path = workdir / "report.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({**read(workdir), **rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read(workdir: Path) -> dict[str, str]:
    """The rows recorded so far; a damaged file counts as none."""
    try:
        return json.loads((workdir / "report.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def show(title: str, rows: Mapping[str, str]) -> None:
    """Print rows as a table of two columns."""
    width = max(map(len, rows), default=0)
    print("\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in rows.items())]))
