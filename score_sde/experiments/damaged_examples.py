"""The list of damaged examples that a training has skipped, in the folder of its run."""

import os
from pathlib import Path

from score_sde.runtime.streams import tell

FILE = "damaged_examples.txt"
"""The name of the list in a workdir: a line for each damaged example."""


class DamagedExamples:
    """Reports each damaged example once, on standard error and in a file; a run that
    resumes continues the file.

    Args:
        path: the file, made with its first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] | None = None

    def __call__(self, line: str) -> None:
        """Report an example by a line that names it, unless it is known."""
        if self._known is None:
            self._known = self._listed()
        if line in self._known:
            return
        self._known.add(line)
        tell(f"damaged example skipped ({len(self._known)} so far, see {self._path}): {line}")
        try:
            # In one write, as other processes of the run append lines too.
            number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(number, f"{line}\n".encode(errors="replace"))
            finally:
                os.close(number)
        except OSError as error:
            tell(f"cannot write {self._path}: {error.strerror}")

    def _listed(self) -> set[str]:
        try:
            return set(self._path.read_text(encoding="utf-8", errors="replace").splitlines())
        except OSError:
            return set()
