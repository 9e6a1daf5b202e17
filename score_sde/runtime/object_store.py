"""Object storage, ``gs://bucket/key`` and ``s3://bucket/key``, by way of fsspec.

An object is written whole or not at all, and there is neither a rename nor an append. A
lost connection is tried again: first by the library of the storage, then here.
"""

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from score_sde import checks
from score_sde.runtime.unreadable import UnreadableError

LIBRARIES = {"gs": "gcsfs", "s3": "s3fs", "memory": "fsspec"}
"""The schemes of URLs, and the library of each. Objects of ``memory://`` live as long as
the process: it is for tests.
"""

PAUSES = (1.0, 4.0, 15.0)
"""The seconds between the tries of an operation."""

AT_ONCE = 8
"""The number of objects that are read or written at the same time."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
"""A URL, also one that ``pathlib`` has taken for a path: ``s3:/bucket/key``."""

_OPTIONS = {
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60}},
}
"""Further options of a file system, besides that it must not remember what it has listed."""

Pathish: TypeAlias = str | os.PathLike[str]
_Found = TypeVar("_Found")


class StorageError(OSError):
    """An object could not be written, or the storage refuses the access to it."""

    def __str__(self) -> str:
        return str(self.strerror)


class UnreachableError(UnreadableError):
    """An object could not be read: the storage does not answer."""

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True)
class Url:
    """The address of an object, or of all objects below it.

    Attributes:
        scheme: one of ``LIBRARIES``.
        key: the bucket and the path in it: ``bucket/runs/digits``.
    """

    scheme: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"


def url_of(path: Pathish) -> Url | None:
    """The URL that a path stands for; None for a path in the file system.

    >>> str(url_of("s3://bucket/runs/digits/"))
    's3://bucket/runs/digits'
    >>> url_of("runs/digits") is None
    True

    Raises:
        ValueError: where the scheme is not supported, or no bucket is named.
    """
    match = _URL.fullmatch(os.fspath(path))
    if match is None:
        return None
    scheme, parts = match[1].lower(), [part for part in match[2].split("/") if part]
    checks.require(
        scheme in LIBRARIES,
        f"{path}: {scheme}:// is not supported: use gs://, s3:// or a folder of this machine",
    )
    checks.require(parts, f"{path} names no bucket: {scheme}://BUCKET/PATH")
    checks.require(not {".", ".."} & set(parts), f"{path} must not contain . or .. as a part")
    return Url(scheme, "/".join(parts))


@dataclass(frozen=True)
class Entry:
    """An object in a listing.

    Attributes:
        size: its number of bytes.
        version: differs between two contents of the object, as far as the storage tells.
    """

    size: int
    version: str


class ObjectStore:
    """The objects of one scheme.

    Args:
        scheme: one of ``LIBRARIES``.

    Raises:
        ValueError: where its library is not installed.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self._files = _file_system(scheme)

    def listed(self, key: str) -> dict[str, Entry]:
        """The object of a key, if there is one, and all objects below it, by their keys.

        Keys that no folder of this machine can hold, such as ``a//b``, are skipped.
        """

        def find() -> dict[str, Entry]:
            try:
                found = self._files.find(key, detail=True)
            except FileNotFoundError:
                return {}
            entries = {name.lstrip("/"): info for name, info in found.items()}
            return {
                name: _entry(info)
                for name, info in entries.items()
                if info.get("type") == "file"
                and (name == key or name.startswith(f"{key}/"))
                and not {"", ".", ".."} & set(name.split("/"))
            }

        return self._read("list", key, find)

    def read(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            FileNotFoundError: where there is none.
        """
        return self._read("read", key, lambda: self._files.cat_file(key))

    def download(self, key: str, path: Path, size: int) -> None:
        """Copy an object of ``size`` bytes to a file, which appears whole or not at all."""

        def copy() -> None:
            temporary = path.with_name(f".{path.name[:100]}-{os.urandom(4).hex()}")
            try:
                self._files.get_file(key, str(temporary))
                if (found := temporary.stat().st_size) != size:
                    raise ConnectionError(f"{found} of {size} bytes have arrived")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

        path.parent.mkdir(parents=True, exist_ok=True)
        self._read("read", key, copy)

    def write(self, key: str, data: bytes, *, new: bool = False) -> None:
        """Write an object, replacing any other.

        Args:
            key: of the object.
            data: its bytes.
            new: whether it must be new.

        Raises:
            FileExistsError: where there is one and it must be new.
        """
        mode = "create" if new else "overwrite"
        self._write("write", key, lambda: self._files.pipe_file(key, data, mode=mode))

    def upload(self, path: Path, key: str) -> Entry:
        """Copy a file to an object, and return its entry.

        Raises:
            FileNotFoundError: where there is no such file.
        """

        def copy() -> Entry:
            size = path.stat().st_size
            self._files.put_file(str(path), key)
            entry = _entry(self._files.info(key))
            if entry.size != size:  # or the file has grown meanwhile
                raise ConnectionError(f"{entry.size} of {size} bytes have arrived")
            return entry

        return self._write("write", key, copy)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects that may be missing."""

        def remove_one(key: str) -> None:
            with suppress(FileNotFoundError):
                self._write("remove", key, lambda: self._files.rm_file(key))

        in_parallel(remove_one, keys)

    def _read(self, verb: str, key: str, call: Callable[[], _Found]) -> _Found:
        return self._tried(f"cannot {verb} {Url(self.scheme, key)}", call, UnreachableError)

    def _write(self, verb: str, key: str, call: Callable[[], _Found]) -> _Found:
        try:
            return self._tried(f"cannot {verb} {Url(self.scheme, key)}", call, StorageError)
        except FileNotFoundError as error:
            if verb == "remove" or error.filename:  # the name of a file of this machine
                raise
            bucket = Url(self.scheme, key.partition("/")[0])
            reason = f"cannot {verb} {Url(self.scheme, key)}: there is no bucket {bucket}"
            raise StorageError(errno.ENOENT, reason) from error

    def _tried(self, what: str, call: Callable[[], _Found], kind: type[OSError]) -> _Found:
        """The result of a call, tried again after errors of the connection."""
        for pause in (*PAUSES, None):
            try:
                return call()
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:
                reason = f"{what}: {_reason(error)}"
                if _is_refusal(error):
                    raise StorageError(errno.EACCES, reason) from error
                if pause is None:
                    tries = f"{reason} ({len(PAUSES) + 1} tries)"
                    raise kind(errno.EIO, tries) from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


_shown: dict[str, str] = {}


def show_as(path: Path, url: str) -> None:
    """Let `shown` put a URL in place of the path of its copy."""
    _shown[str(path)] = url


def shown(text: str) -> str:
    """A text, for a person, with URLs in place of the paths of copies."""
    for path, url in _shown.items():
        text = text.replace(f"{path}/", f"{url}/")
    return text


def in_parallel(function: Callable[[Any], None], values: Iterable[Any]) -> None:
    """Call a function with each value, ``AT_ONCE`` at a time. After an error, which is
    raised, no further call begins.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for done in [pool.submit(function, value) for value in values]:
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _file_system(scheme: str) -> Any:
    library = LIBRARIES[scheme]
    try:
        import_module(library)
        import fsspec
    except ImportError as error:
        raise ValueError(
            f"{scheme}:// needs the extra cloud: pip install 'score-sde[cloud]' ({error})"
        ) from error
    logging.getLogger(library).setLevel(logging.ERROR)  # its errors are raised besides
    return fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {}))


def _entry(info: dict[str, Any]) -> Entry:
    names = ("generation", "etag", "ETag", "LastModified", "created")
    version = next((info[name] for name in names if info.get(name)), "")
    if isinstance(version, datetime):
        version = version.timestamp()
    return Entry(int(info["size"]), str(version))


def _is_refusal(error: Exception) -> bool:
    """Whether another try would fail as well: credentials are missing or not enough."""
    name = type(error).__name__
    return (
        isinstance(error, PermissionError)
        or "Credentials" in name
        or re.search(r"\b(Forbidden|Unauthorized|AccessDenied|InvalidAccessKeyId)\b", str(error))
        is not None
    )


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0][:300]
    return text or type(error).__name__
