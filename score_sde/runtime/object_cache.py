"""Data in object storage, copied to this machine before they are read.

The copy of a folder or file is of one version of all its objects, and lies in a folder
that the listing names. So an equal listing means that nothing is copied again, and data
that have changed are copied anew, beside the former ones.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from score_sde.checks import require
from score_sde.runtime.object_store import (
    Entry,
    ObjectStore,
    Pathish,
    Url,
    in_parallel,
    show_as,
    url_of,
)

ROOT_VARIABLE = "SCORE_SDE_CACHE"
"""The environment variable with the folder of the copies, by default
``~/.cache/score_sde/data``.
"""

_MAGIC = "*?["


def cached(path: Pathish) -> Path:
    """A path with ``~`` expanded; for a URL, the path of its copy, which is made first.

    A URL may end with a pattern, as in ``gs://bucket/data/part-*``: then all objects of
    the folder above it are copied.

    Raises:
        FileNotFoundError: where there is no such object.
        OSError: where the storage cannot be read, or the disk has no room.
    """
    url = url_of(path)
    if url is None:
        return Path(path).expanduser()
    store = ObjectStore(url.scheme)
    parts = url.key.split("/")
    depth = next((n for n, part in enumerate(parts) if set(_MAGIC) & set(part)), len(parts))
    key, pattern = "/".join(parts[:depth]), parts[depth:]
    require(key, f"{path} names no bucket")
    entries = store.listed(key)
    if not entries:
        raise FileNotFoundError(f"no such object or folder: {url}")
    place, (above, _, name) = _copy(store, key, entries), key.rpartition("/")
    show_as(place, f"{url.scheme}://{above}" if above else f"{url.scheme}:/")
    return place.joinpath(name, *pattern)


def _copy(store: ObjectStore, key: str, entries: dict[str, Entry]) -> Path:
    """The folder with the copy of a key and of all below it; made unless it is there."""
    from filelock import FileLock

    listing = {name: [entry.size, entry.version] for name, entry in sorted(entries.items())}
    text = json.dumps([store.scheme, key, listing])
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    place = root / hashlib.sha256(text.encode()).hexdigest()[:24]
    if place.is_dir():
        return place
    draft = place.with_name(f"{place.name}.part")
    with FileLock(f"{place}.lock"):  # of several processes, one copies
        if place.is_dir():
            return place
        above = key.rpartition("/")[0]

        def path_of(name: str) -> Path:
            return draft.joinpath(*name.removeprefix(above).lstrip("/").split("/"))

        missing = [name for name, entry in entries.items() if _size(path_of(name)) != entry.size]
        _check_room(root, sum(entries[name].size for name in missing), Url(store.scheme, key))
        in_parallel(lambda name: store.download(name, path_of(name), entries[name].size), missing)
        if store.listed(key) != entries:
            shutil.rmtree(draft)
            raise ConnectionError(f"{store.scheme}://{key} was changed while it was copied")
        draft.replace(place)
    return place


def _root() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    named = os.environ.get(ROOT_VARIABLE)
    return Path(named).expanduser() if named else cache / "score_sde" / "data"


def _check_room(root: Path, needed: int, url: Url) -> None:
    free = shutil.disk_usage(root).free
    require(
        needed <= free,
        f"a copy of {url} takes {needed:,} bytes, and {free:,} are free in {root}: set "
        f"{ROOT_VARIABLE} to another folder",
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
