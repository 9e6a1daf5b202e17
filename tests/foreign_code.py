"""Configs from elsewhere that name code in every place, and modules that write down
whether they were run.
"""

import contextlib
import copy
import io
import itertools
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from score_sde.cli import main
from score_sde.experiments.code_names import CHOICES
from score_sde.export.folder import CARD, is_exported
from score_sde.runtime.fingerprints import digest

MODULE = """
from pathlib import Path

def note(what):
    with (Path(__file__).parents[{up}] / "marks").open("a") as file:
        file.write(f"{{what}}\\n")

def make(*arguments, **values):
    note(f"{{__name__}} called with {{arguments}} {{values}}")

note(f"{{__name__}} imported")
"""

NAMES = ("foreign_module:make", "foreign_package.inner:make", "loaded_module:make")
"""Code that must not be run; the module of the last is imported already, so that only a
call would show.
"""


class Witness:
    """Modules that write down when they are imported or called.

    Args:
        folder: an empty folder for them, to be searched for modules.
    """

    def __init__(self, folder: Path) -> None:
        self._marks = folder / "marks"
        (folder / "foreign_package").mkdir(parents=True)
        for name, up in (("foreign_module", 0), ("loaded_module", 0), ("foreign_package/inner", 1)):
            (folder / f"{name}.py").write_text(MODULE.format(up=up))
        (folder / "foreign_package" / "__init__.py").write_text(
            "from foreign_package.inner import make\n"
        )

    def found(self) -> str:
        """What has run since it was asked last."""
        text = self._marks.read_text() if self._marks.exists() else ""
        self._marks.unlink(missing_ok=True)
        for name in [
            name
            for name in sys.modules
            if name.partition(".")[0] in ("foreign_module", "foreign_package")
        ]:
            text += f"{sys.modules.pop(name).__name__} is imported\n"
        return text


def witness(folder: Path, monkeypatch: Any) -> Witness:
    """A `Witness` whose modules can be imported."""
    monkeypatch.syspath_prepend(folder)
    found = Witness(folder)
    __import__("loaded_module")
    found.found()
    return found


def spoilt(config: dict[str, Any], *, shapes: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """The config with code named in each place: what was done, and the config.

    Every value and every section is replaced by a name, and each key by which something
    is looked up is added to every section. With ``shapes``, also ``{"name": NAME}`` and
    ``[NAME]`` in place of ``NAME``.
    """
    names = itertools.cycle(NAMES)
    for path in places(config):
        name = next(names)
        for value in (name, {"name": name}, [name], {"name": name, "x": 1.0})[
            : None if shapes else 1
        ]:
            changed = copy.deepcopy(config)
            section = changed
            for key in path[:-1]:
                section = section[key]
            section[path[-1]] = value
            yield f"{'.'.join(path)}={value!r}", changed


def spoilt_at_random(config: dict[str, Any], seed: int) -> tuple[str, dict[str, Any]]:
    """The config with code named in one to four places at random, for a fuzz as long as
    one likes.
    """
    rng = random.Random(seed)
    done = []
    for _ in range(rng.randint(1, 4)):
        what, config = rng.choice(list(spoilt(config)))
        done.append(what)
    return ", ".join(done), config


def places(tree: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a config, and of each section also those that it lacks, by which
    something would be looked up.
    """
    found = [(*path, key) for key in (dict.fromkeys((*tree, *(sorted(CHOICES) if path else ()))))]
    inner = [places(value, (*path, key)) for key, value in tree.items() if isinstance(value, dict)]
    return [*found, *itertools.chain.from_iterable(inner)]


def config_of(folder: Path) -> dict[str, Any]:
    """The config in an exported model, or in the newest checkpoint of a workdir."""
    if is_exported(folder):
        return json.loads((folder / CARD).read_text())["config"]
    return json.loads((_newest(folder) / "config" / "metadata").read_text())


def put_config(folder: Path, config: dict[str, Any]) -> None:
    """Write another config there, as whoever sends a model may: with the checksums that
    belong to it.
    """
    if is_exported(folder):
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps({**card, "config": config}))
        return
    checkpoint = _newest(folder)
    (checkpoint / "config" / "metadata").write_text(json.dumps(config))
    path = checkpoint / "seal" / "metadata"
    seal = {**json.loads(path.read_text()), "config": digest(config)}
    del seal["sum"]
    path.write_text(json.dumps({**seal, "sum": digest(seal)}))


def runs_nothing(witness: Witness, what: str, call: Callable[[], Any]) -> Any:
    """What a call returns or, where it refuses, its error: one line; fails where
    anything foreign has run.
    """
    try:
        found = call()
    except (ValueError, FileNotFoundError) as error:
        found = error
        assert str(error).strip() and "\n" not in str(error), f"{what}: {error!r}"
    ran = witness.found()
    assert not ran, f"{what}: {ran}"
    return found


def command_runs_nothing(witness: Witness, what: str, *argv: str) -> tuple[int, str]:
    """The exit code of a command and what it printed as errors; fails where anything
    foreign has run.
    """
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = main(argv)
    ran = witness.found()
    assert not ran, f"{what}: {ran}"
    assert code in (0, 1, 2) and "Traceback" not in errors.getvalue(), (
        f"{what}: {errors.getvalue()}"
    )
    return code, errors.getvalue()


def _newest(folder: Path) -> Path:
    return max(
        (path for path in (folder / "checkpoints").iterdir() if path.name.isdigit()),
        key=lambda p: int(p.name),
    )
