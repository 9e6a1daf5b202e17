"""The versions of the code that made a file."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path


def versions() -> dict[str, str]:
    """The versions of Python, of this package and of the packages that its numbers depend on;
    in a clone also the commit.
    """
    names = ("score-sde", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
    found = {name: importlib.metadata.version(name) for name in names}
    commit = _commit(Path(__file__).parents[2])
    return {"python": platform.python_version(), **found, **({"commit": commit} if commit else {})}


def _commit(root: Path) -> str | None:
    """The commit of a clone, with ``-dirty`` where files have changed since; None where the
    package is installed.
    """
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
        return (
            subprocess.run(
                command, capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            or None
        )
    except (OSError, subprocess.SubprocessError):
        return None
