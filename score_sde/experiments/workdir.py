"""The folder of a training run: its files, and whether a new run may begin in it."""

from pathlib import Path

from score_sde.experiments.sections import WITHOUT_SAMPLES
from score_sde.export.folder import check_trainable
from score_sde.interop.diffusers_folder import is_diffusers
from score_sde.runtime.bounded_reading import read_json
from score_sde.runtime.unreadable import opening

RUN_FILES = (
    *(
        "config.json",
        "init_from.json",
        "metrics.jsonl",
        "report.json",
        "trackers.json",
        "run.lock",
        "run.lock.json",
        "hang_*.txt",
    ),
    *("checkpoints", "snapshots", "samples", "tensorboard"),
)
"""The files and folders that a training run writes."""


def check_run_folder(workdir: Path, *, overwrite: bool) -> None:
    """Raise ``FileExistsError`` where a new run would overwrite files of other programs, or
    the folder holds a model, which all commands would use instead of the run.
    """
    check_trainable(workdir)
    if not workdir.is_dir() or is_run(workdir):
        return
    if is_diffusers(workdir):
        raise FileExistsError(
            f"{workdir} holds a model of diffusers: to fine-tune it, train in another folder, "
            f"--workdir=NEW --init_from={workdir}"
        )
    if overwrite:
        return
    for path in sorted(found for name in RUN_FILES for found in workdir.glob(name)):
        if not is_empty(path) and not (
            path.name == "run.lock.json" and _keys_of(path) == {"process", "host"}
        ):
            raise FileExistsError(
                f"{path} is there, and {workdir} is not the folder of a run: choose another "
                "workdir, or write over it with overwrite=True"
            )


def is_run(workdir: Path) -> bool:
    """Whether a folder is the folder of a training run: it has a config or a checkpoint
    of this program.
    """
    if _keys_of(workdir / "config.json") >= set(WITHOUT_SAMPLES):
        return True
    return any(workdir.glob("checkpoints/*/seal/metadata")) or any(
        workdir.glob("checkpoints/*/config/metadata")
    )


def is_empty(path: Path) -> bool:
    """Whether a file or folder is missing or empty."""
    if path.is_dir():
        return not any(path.iterdir())
    return not path.exists() or not path.stat().st_size


def json_in(path: Path) -> object:
    """The value in a JSON file; None where there is no such file or it is not JSON."""
    try:
        with opening("the file", path):  # an unreadable file may be ours: no None for it
            return read_json(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None


def _keys_of(path: Path) -> set[str]:
    found = json_in(path)
    return set(found) if isinstance(found, dict) else set()
