"""Data in object storage: copied once for each version."""

import pytest

from score_sde.runtime import object_cache
from score_sde.runtime.object_cache import cached
from score_sde.runtime.object_store import ObjectStore, UnreachableError, shown


def test_a_path_of_this_machine_stays_as_it_is(tmp_path):
    assert cached(tmp_path) == tmp_path
    assert "~" not in str(cached("~/data"))


def test_a_file_is_copied_once_for_each_version(bucket, failing):
    store = ObjectStore("memory")
    store.write(f"{bucket}/data/a.npz", b"one")
    path = cached(f"memory://{bucket}/data/a.npz")
    assert path.name == "a.npz" and path.read_bytes() == b"one"
    assert shown(f"{path} is damaged") == f"memory://{bucket}/data/a.npz is damaged"
    calls = failing(every=0)
    assert cached(f"memory://{bucket}/data/a.npz") == path
    assert calls() == 1  # a listing
    store.write(f"{bucket}/data/a.npz", b"other")
    assert cached(f"memory://{bucket}/data/a.npz").read_bytes() == b"other"
    assert path.read_bytes() == b"one"


def test_a_folder_is_copied_with_all_below(bucket):
    store = ObjectStore("memory")
    for name in ("0/a.png", "1/b.png", "c.txt"):
        store.write(f"{bucket}/images/{name}", name.encode())
    folder = cached(f"memory://{bucket}/images")
    assert (folder / "1" / "b.png").read_text() == "1/b.png"
    assert [path.name for path in sorted(folder.iterdir())] == ["0", "1", "c.txt"]
    pattern = cached(f"memory://{bucket}/images/*.txt")
    assert [path.name for path in pattern.parent.glob(pattern.name)] == ["c.txt"]


def test_missing_data_are_one_line(bucket):
    with pytest.raises(FileNotFoundError, match=f"no such object or folder: memory://{bucket}/a"):
        cached(f"memory://{bucket}/a.npz")


def test_a_copy_that_was_broken_off_goes_on(bucket, failing, tmp_path):
    store = ObjectStore("memory")
    for number in range(4):
        store.write(f"{bucket}/images/{number}", b"x")
    with pytest.MonkeyPatch.context() as patch:
        from score_sde.runtime import object_store

        patch.setattr(object_store, "PAUSES", ())
        patch.setattr(object_store, "AT_ONCE", 1)
        failing_download(patch, after=2)
        with pytest.raises(UnreachableError, match="cannot read memory://"):
            cached(f"memory://{bucket}/images")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ""]
    calls = failing(every=0)
    assert len(list(cached(f"memory://{bucket}/images").iterdir())) == 4
    assert calls() == 4  # two listings, and the two objects that were missing


def failing_download(patch, after):
    from fsspec.implementations.memory import MemoryFileSystem

    done, operation = [0], MemoryFileSystem.get_file

    def get_file(self, *arguments, **options):
        done[0] += 1
        if done[0] > after:
            raise ConnectionError("the line is dead")
        return operation(self, *arguments, **options)

    patch.setattr(MemoryFileSystem, "get_file", get_file)


def test_data_that_change_while_they_are_copied_are_an_error(bucket, monkeypatch):
    store = ObjectStore("memory")
    store.write(f"{bucket}/a", b"one")
    original = ObjectStore.download

    def download(self, key, path, size):
        original(self, key, path, size)
        store.write(key, b"other")

    monkeypatch.setattr(object_cache.ObjectStore, "download", download)
    with pytest.raises(ConnectionError, match="was changed while it was copied"):
        cached(f"memory://{bucket}/a")
