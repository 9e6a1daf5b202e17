"""Files that a command may overwrite: the ones this program has written, and others
only with ``--overwrite``.

One rule for all commands, checked before any work. In the folder of a training run,
files with the names of a run's files and results are its own. Anywhere else a file must
carry a mark of this program: pictures, arrays and batch scripts are marked.
"""

from collections.abc import Iterable
from pathlib import Path

from score_sde.evaluation.sample_files import check_replaceable
from score_sde.experiments.workdir import is_empty, json_in
from score_sde.runtime.atomic_files import is_marked

OVERWRITE = "write over files of other programs that lie where results go"
"""What ``--help`` says of ``--overwrite``."""


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
            if not is_empty(file) and not is_marked(file):
                raise FileExistsError(
                    f"{file} is there, and not by score-sde: choose another place, or write over "
                    "it by --overwrite"
                )


def check_report(folder: Path, *, own: bool, overwrite: bool) -> None:
    """Raise ``FileExistsError`` where the ``report.json`` of a folder was not written
    by this program.
    """
    path = folder / "report.json"
    if not own and not overwrite and not is_empty(path) and not _is_report(path):
        raise FileExistsError(
            f"{path} is there, and not by score-sde: move it away, or write over it by --overwrite"
        )


def _is_report(path: Path) -> bool:
    rows = json_in(path)
    return isinstance(rows, dict) and all(isinstance(value, str) for value in rows.values())
