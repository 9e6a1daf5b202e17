"""The files that a command may overwrite: files of this program, and others only with
``--overwrite``.

All commands check this rule before they do any work. In the folder of a training run,
files with the names of its files and results are its own. Elsewhere a file must carry a
mark of this program, as its images, arrays and batch scripts do.
"""

from collections.abc import Iterable
from pathlib import Path

from score_sde.evaluation.sample_files import check_replaceable
from score_sde.experiments.workdir import is_empty, json_in
from score_sde.runtime.atomic_files import is_marked


def check_results(paths: Iterable[Path], *, own: bool, overwrite: bool) -> None:
    """Raise ``OSError`` where results would overwrite files of other programs.

    Args:
        paths: the files of the results, or folders of sample images.
        own: whether they lie in the folder of a run, where their names are enough.
        overwrite: whether they may overwrite files of other programs.
    """
    for path in paths:
        if path.is_dir():
            if path.suffix:
                raise IsADirectoryError(f"{path} is a folder where a file is needed")
            check_replaceable(path)
        if own or overwrite:
            continue
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not is_empty(file) and not is_marked(file):
                raise FileExistsError(
                    f"{file} exists, and score-sde has not written it: choose another folder, or "
                    "overwrite it by --overwrite"
                )


def check_report(folder: Path, *, own: bool, overwrite: bool) -> None:
    """Raise ``FileExistsError`` where the ``report.json`` of a folder is a file of another
    program.
    """
    path = folder / "report.json"
    if not own and not overwrite and not is_empty(path) and not _is_report(path):
        raise FileExistsError(
            f"{path} exists, and score-sde has not written it: move it away, or overwrite it by "
            "--overwrite"
        )


def _is_report(path: Path) -> bool:
    rows = json_in(path)
    return isinstance(rows, dict) and all(isinstance(value, str) for value in rows.values())
