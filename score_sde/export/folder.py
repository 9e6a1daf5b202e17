"""The folder of an exported model: the names of its files."""

from pathlib import Path

WEIGHTS, CARD, README = "model.safetensors", "model.json", "README.md"
"""The averaged parameters by their paths; the resolved config, the step and a fingerprint
of each tensor; and a description for readers, which no program reads.
"""


def is_exported(folder: str | Path) -> bool:
    """Whether a folder holds an exported model."""
    return (Path(folder) / CARD).is_file()


def check_trainable(folder: str | Path) -> None:
    """Raise ``FileExistsError`` where a folder holds an exported model: all commands would
    use that instead of a run beside it.
    """
    if is_exported(folder):
        has_run = (Path(folder) / "checkpoints").is_dir()
        to_resume = f"; to resume the run there, move {CARD} and {WEIGHTS} away" if has_run else ""
        raise FileExistsError(
            f"{folder} holds an exported or imported model: to fine-tune it, train in another "
            f"folder, --workdir=NEW --init_from={folder}{to_resume}"
        )


def check_free(folder: str | Path) -> None:
    """Raise ``FileExistsError`` unless a folder does not exist or is empty."""
    path = Path(folder)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(
            f"{path} is there already: choose another place, nothing is written over"
        )
