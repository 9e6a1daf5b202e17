"""Folders in object storage, worked on in a copy on this machine.

``local_path("s3://bucket/run")`` is a folder of this machine with the same files, so that
all other code works on files. Files that are large and rarely read are empty at first:
`fetch` brings them before they are read. What changes is written back: a whole file by
`publish`, a folder by `sync`, all folders of the process by `settle`. For a path that is
no copy, all of these do nothing.

A checkpoint or an exported model counts as there once its last object is, which `sync`
writes after all others and removes before all others (``COMMITS``). So what a killed
process leaves is either whole or ignored.
"""

import atexit
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from score_sde.runtime.object_store import (
    Entry,
    ObjectStore,
    Pathish,
    StorageError,
    in_parallel,
    show_as,
    url_of,
)

COMMITS = ("seal/metadata", "model.json")
"""The ends of the keys that are written last: the manifest of a checkpoint, and the card of
an exported model.
"""

LOCK = "run.lock.json"
"""The object that tells who writes in a folder; see `score_sde.runtime.object_lock`."""

_PREFIX = "score_sde-copies-"
"""The beginning of the name of the folder of a process, in the folder of temporary files."""

_TEMPORARY = re.compile(r"\.[^/]*-[0-9a-f]{8}(\.[^/]*)?(/.*)?|.*\.orbax-checkpoint-tmp.*|run\.lock")
"""The names, and folders' names, of files that are still being written, and of locks."""

_CHECKPOINT = re.compile(r"((?:.*/)?checkpoints/\d+)/.*")
"""The key of an object of a checkpoint, with the key of the checkpoint."""

_LATER = re.compile(
    r"(.*/)?(checkpoints/(damaged/)?[^/]+/(state|ema_params)/.*|snapshots/power_[^/]*\.safetensors"
    r"|\.pieces-[^/]+/.*|events\.out\.tfevents\.[^/]*|(samples|likelihood_\w+|latents|interpolation)\.npz"
    r"|[^/]+\.(png|gif))"
)
"""The keys of objects whose bytes are brought by `fetch`: arrays, and results."""


class _Known(NamedTuple):
    """An object as this process has last seen it.

    Attributes:
        entry: in the storage.
        stamp: the time and size of its file, to see whether that was changed since.
        is_empty: whether the file has only its size so far.
    """

    entry: Entry
    stamp: tuple[int, int]
    is_empty: bool


class _Copy:
    """The copies of all objects of one scheme that this process has asked for."""

    def __init__(self, scheme: str, root: Path) -> None:
        self.store, self.root = ObjectStore(scheme), root
        self.claims: list[str] = []
        self.guards: dict[str, Callable[[], None]] = {}
        self._known: dict[str, _Known] = {}
        self._syncing = threading.RLock()

    def path_of(self, key: str) -> Path:
        return self.root.joinpath(*key.split("/"))

    def key_of(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def claim(self, key: str) -> None:
        """Copy the objects of a key and below it, to be written back by `settle`."""
        self.refresh(key)
        if not any(_within(key, claim) for claim in self.claims):
            self.claims.append(key)

    def refresh(self, key: str) -> None:
        """Make the copy equal to the storage, except for files that were changed here."""
        entries = _whole(self.store.listed(key))
        known = {name: found for name, found in list(self._known.items()) if _within(name, key)}
        for name in known.keys() - entries.keys():
            if self._is_unchanged(name):
                self.path_of(name).unlink(missing_ok=True)
                del self._known[name]
        new = {
            name: entry
            for name, entry in entries.items()
            if name not in known or (known[name].entry != entry and self._is_unchanged(name))
        }
        self._check_room(sum(entry.size for name, entry in new.items() if not _is_later(name)))
        in_parallel(lambda name: self._bring(name, new[name], now=not _is_later(name)), new)

    def fetch(self, key: str) -> None:
        """Bring the bytes of the files at or below a key that have only their sizes."""
        wanted = {
            name: known.entry
            for name, known in list(self._known.items())
            if known.is_empty and _within(name, key) and self._is_unchanged(name)
        }
        self._check_room(sum(entry.size for entry in wanted.values()))
        in_parallel(lambda name: self._bring(name, wanted[name], now=True), wanted)

    def publish(self, key: str) -> None:
        """Write a file to its object, unless it has not changed."""
        path = self.path_of(key)
        stamp = _stamp(path)
        if key not in self._known or self._known[key].stamp != stamp:
            self._known[key] = _Known(self.store.upload(path, key), stamp, is_empty=False)

    def sync(self, key: str) -> None:
        """Write what was changed at or below a key, and remove what was removed."""
        with self._syncing:
            here = {self.key_of(path): path for path in _files_at(self.path_of(key))}
            here = {name: path for name, path in here.items() if not _is_temporary(name)}
            known = [name for name in list(self._known) if _within(name, key)]
            gone = [name for name in known if not self.path_of(name).exists()]
            changed = [name for name in here if not self._is_unchanged(name)]
            if not (gone or changed):
                return
            for claim, guard in list(self.guards.items()):
                if _within(key, claim):
                    guard()
            commits = [name for name in changed if name.endswith(COMMITS)]
            self.store.remove(name for name in commits if name in self._known)
            in_parallel(self._publish_if_there, [n for n in changed if n not in commits])
            in_parallel(self._publish_if_there, commits)
            self._remove([name for name in gone if name.endswith(COMMITS)])
            self._remove([name for name in gone if not name.endswith(COMMITS)])

    def remove_unfinished(self, key: str) -> None:
        """Remove the objects of checkpoints that a killed process has not written, or not
        removed, to the end.
        """
        entries = self.store.listed(key)
        self.store.remove(entries.keys() - _whole(entries).keys() - {f"{key}/{LOCK}"})

    def holds(self, key: str) -> bool:
        """Whether an object is in the storage as its file is here."""
        return key in self._known and self._is_unchanged(key)

    def _bring(self, name: str, entry: Entry, *, now: bool) -> None:
        path = self.path_of(name)
        if now:
            self.store.download(name, path, entry.size)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(entry.size)
        self._known[name] = _Known(entry, _stamp(path), is_empty=not now)

    def _publish_if_there(self, name: str) -> None:
        try:
            self.publish(name)
        except FileNotFoundError:
            if self.path_of(name).exists():
                raise

    def _remove(self, names: list[str]) -> None:
        self.store.remove(names)
        for name in names:
            self._known.pop(name, None)

    def _is_unchanged(self, name: str) -> bool:
        try:
            return name in self._known and self._known[name].stamp == _stamp(self.path_of(name))
        except OSError:
            return False

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise StorageError(
                28, f"the copy takes {needed:,} bytes, and {free:,} are free in {self.root.parent}"
            )


_copies: dict[str, _Copy] = {}
_base: Path | None = None
_owner: Any = None


def local_path(path: Pathish) -> Path:
    """The path itself, with ``~`` expanded; for a URL, the path of its copy.

    Raises:
        ValueError: where the storage is not supported, or its library is missing.
        OSError: where the storage cannot be read, or grants no access.
    """
    url = url_of(path)
    if url is None:
        return Path(path).expanduser()
    if url.scheme not in _copies:
        root = _folder_of_copies() / url.scheme
        root.mkdir(exist_ok=True)
        show_as(root, f"{url.scheme}:/")
        _copies[url.scheme] = _Copy(url.scheme, root)
    copy = _copies[url.scheme]
    copy.claim(url.key)
    return copy.path_of(url.key)


def is_copy(path: Path) -> bool:
    """Whether a path lies in a copy of object storage."""
    return _copy_of(path) is not None


def store_of(path: Path) -> tuple[ObjectStore, str] | None:
    """The storage and the key of which a path is the copy; None for any other path."""
    copy = _copy_of(path)
    return None if copy is None else (copy.store, copy.key_of(path))


def fetch(path: Path) -> None:
    """Bring the bytes of all files at or below a path, before they are read.

    Raises:
        UnreadableError: where the storage cannot be read.
    """
    if copy := _copy_of(path):
        copy.fetch(copy.key_of(path))


def refresh(path: Path) -> None:
    """Bring what other processes have written at or below a path."""
    if copy := _copy_of(path):
        copy.refresh(copy.key_of(path))


def publish(path: Path) -> None:
    """Write a whole file to the storage.

    Raises:
        OSError: where it cannot be written.
    """
    copy = _copy_of(path)
    if copy and not _is_temporary(copy.key_of(path)):
        copy.publish(copy.key_of(path))


def sync(path: Path) -> None:
    """Write what was changed at or below a path to the storage, and remove what was removed.

    Raises:
        OSError: where something cannot be written. A checkpoint is then not there at all,
            and the next call tries again.
    """
    if copy := _copy_of(path):
        copy.sync(copy.key_of(path))


def settle() -> None:
    """`sync` for everything that `local_path` has named in this process."""
    for copy in list(_copies.values()):
        for key in list(copy.claims):
            copy.sync(key)


def remove_unfinished(path: Path) -> None:
    """Remove from the storage the parts of checkpoints that are not whole."""
    if copy := _copy_of(path):
        copy.remove_unfinished(copy.key_of(path))


def is_stored(path: Path) -> bool:
    """Whether a file is in the storage as it is here; True for a file that is no copy."""
    copy = _copy_of(path)
    return copy is None or copy.holds(copy.key_of(path))


def guard(folder: Path, check: Callable[[], None] | None) -> None:
    """Call ``check`` before anything is synchronised in a folder; None for no more."""
    if copy := _copy_of(folder):
        copy.guards.pop(copy.key_of(folder), None)
        if check is not None:
            copy.guards[copy.key_of(folder)] = check


def forget() -> None:
    """Remove all copies of this process from this machine."""
    global _base, _owner
    _copies.clear()
    base, owner, _base, _owner = _base, _owner, None, None
    if base is not None:
        shutil.rmtree(base, ignore_errors=True)
        owner.release()


def _folder_of_copies() -> Path:
    """The folder of this process, whose lock lasts as long as the process."""
    global _base, _owner
    if _base is None:
        from filelock import FileLock

        home = Path(tempfile.gettempdir()).resolve()
        _remove_left_by_killed(home)
        _base = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
        _owner = FileLock(_base / ".owner")
        _owner.acquire()
        atexit.register(forget)
    return _base


def _remove_left_by_killed(home: Path) -> None:
    from filelock import FileLock

    for folder in home.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # its process lives, or it belongs to another user
            if time.time() - folder.stat().st_mtime > 60:  # younger ones may not be locked yet
                with FileLock(folder / ".owner", blocking=False):
                    shutil.rmtree(folder, ignore_errors=True)


def _copy_of(path: Path) -> _Copy | None:
    if _base is None:
        return None
    for copy in _copies.values():
        if path.is_relative_to(copy.root):
            return copy
    return None


def _within(name: str, key: str) -> bool:
    return key in (name, ".") or name.startswith(f"{key}/")


def _is_later(name: str) -> bool:
    return _LATER.fullmatch(name) is not None


def _is_temporary(name: str) -> bool:
    parts = name.split("/")
    return parts[-1] == LOCK or any(_TEMPORARY.fullmatch(part) for part in parts)


def _whole(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The objects without those of checkpoints that lack their last one."""

    def is_whole(name: str) -> bool:
        found = _CHECKPOINT.fullmatch(name)
        return found is None or f"{found[1]}/{COMMITS[0]}" in entries

    return {
        name: entry for name, entry in entries.items() if not _is_temporary(name) and is_whole(name)
    }


def _files_at(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
