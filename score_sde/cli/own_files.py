"""Files that a command may overwrite: the ones this program has written, and others
only with ``--overwrite``.

One rule for all commands, checked before any work. In the folder of a training run,
files with the names of a run's files and results are its own. Anywhere else a file must
carry a mark of this program: pictures, arrays and batch scripts are marked.
"""

from collections.abc import Iterable
from pathlib import Path

from score_sde.evaluation.sample_files import check_replaceable
from score_sde.experiments.sections import SECTIONS_OF
from score_sde.runtime.atomic_files import is_marked
from score_sde.runtime.bounded_reading import read_json
from score_sde.runtime.unreadable import opening

OVERWRITE = "write over files of other programs that lie where results go"
"""What ``--help`` says of ``--overwrite``."""

RUN_FILES = (
    *(
        "config.json",
        "metrics.jsonl",
        "report.json",
        "trackers.json",
        "run.lock",
        "run.lock.json",
        "hang_*.txt",
    ),
    *("checkpoints", "snapshots", "samples", "tensorboard"),
)
"""What a training run writes in its folder."""


def check_run_folder(workdir: Path, *, overwrite: bool) -> None:
    """Raise ``FileExistsError`` where a new run would overwrite files that no run has written."""
    if overwrite or not workdir.is_dir() or is_run(workdir):
        return
    for path in sorted(found for name in RUN_FILES for found in workdir.glob(name)):
        if not _is_empty(path) and not (
            path.name == "run.lock.json" and _keys_of(path) == {"process", "host"}
        ):
            raise FileExistsError(
                f"{path} is there, and {workdir} is not the folder of a run: choose another "
                "--workdir, or write over "
                f"it by --overwrite"
            )


def check_results(paths: Iterable[Path], *, own: bool, overwrite: bool) -> None:
    """Raise ``OSError`` where results would replace files that this program has not written.

    Args:
        paths: the files of the results; or folders, of pictures of samples.
        own: whether they lie in the folder of a run, where their names are enough.
        overwrite: whether they may replace other files too.
    """
    for path in paths:
        if path.is_dir():
            if path.suffix:
                raise IsADirectoryError(f"{path} is a folder where a file is needed")
            check_replaceable(path)
        if own or overwrite:
            continue
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not _is_empty(file) and not is_marked(file):
                raise FileExistsError(
                    f"{file} is there, and not by score-sde: choose another place, or write over "
                    "it by --overwrite"
                )


def check_report(folder: Path, *, own: bool, overwrite: bool) -> None:
    """Raise ``FileExistsError`` where the ``report.json`` of a folder was not written
    by this program.
    """
    path = folder / "report.json"
    if not own and not overwrite and not _is_empty(path) and not _is_report(path):
        raise FileExistsError(
            f"{path} is there, and not by score-sde: move it away, or write over it by --overwrite"
        )


def is_run(workdir: Path) -> bool:
    """Whether a folder belongs to a training run: it has a config or a checkpoint of
    this program.
    """
    if _keys_of(workdir / "config.json") >= set.intersection(*map(set, SECTIONS_OF.values())):
        return True
    return any(workdir.glob("checkpoints/*/seal/metadata")) or any(
        workdir.glob("checkpoints/*/config/metadata")
    )


def _is_empty(path: Path) -> bool:
    """Whether a file or folder is missing or empty."""
    if path.is_dir():
        return not any(path.iterdir())
    return not path.exists() or not path.stat().st_size


def _is_report(path: Path) -> bool:
    rows = _json_of(path)
    return isinstance(rows, dict) and all(isinstance(value, str) for value in rows.values())


def _keys_of(path: Path) -> set[str]:
    found = _json_of(path)
    return set(found) if isinstance(found, dict) else set()


def _json_of(path: Path) -> object:
    try:
        with opening("the file", path):  # what cannot be read may be ours
            return read_json(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
