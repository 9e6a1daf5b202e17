"""Object storage: URLs, whole objects, and what happens when the storage does not answer."""

import subprocess
import sys
from pathlib import Path

import pytest

from score_sde.cli.flags import UsageError, usage_errors
from score_sde.runtime.object_store import ObjectStore, StorageError, UnreachableError, url_of

fsspec = pytest.importorskip("fsspec", reason="the extra cloud is not installed")


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/runs/digits/", "s3://bucket/runs/digits"),
        ("GS://bucket", "gs://bucket"),
        (Path("s3://bucket/run"), "s3://bucket/run"),  # pathlib drops a slash
        ("runs/digits", None),
        ("C:\\runs", None),
        ("C:/runs", None),
        ("runs/a:b", None),
    ],
)
def test_a_path_is_a_url_or_a_path_of_this_machine(path, url):
    found = url_of(path)
    assert (found and str(found)) == url


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ftp://host/run", "ftp://host/run: ftp:// is not supported: use gs://, s3:// or a folder"),
        ("file:///run", "file:// is not supported"),
        ("gs://", "gs:// names no bucket: gs://BUCKET/PATH"),
        ("s3://bucket/../other", "must not contain . or .. as a part"),
    ],
)
def test_other_urls_are_refused_in_one_line(path, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        url_of(path)


def test_a_missing_library_is_one_line_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"s3:// needs the extra cloud: pip install 'score-sde"):
        ObjectStore("s3")


def test_the_library_is_imported_where_it_is_used():
    code = "import score_sde.runtime.working_copy, sys; sys.exit('fsspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_objects_are_written_listed_read_and_removed(bucket, tmp_path):
    store = ObjectStore("memory")
    store.write(f"{bucket}/run/a", b"one")
    store.write(f"{bucket}/run2/b", b"two")
    (tmp_path / "c").write_bytes(b"three")
    entry = store.upload(tmp_path / "c", f"{bucket}/run/c")
    listed = store.listed(f"{bucket}/run")
    assert {name: found.size for name, found in listed.items()} == {
        f"{bucket}/run/a": 3,
        f"{bucket}/run/c": 5,
    }
    assert listed[f"{bucket}/run/c"] == entry
    store.download(f"{bucket}/run/c", tmp_path / "folder" / "c", 5)
    assert (tmp_path / "folder" / "c").read_bytes() == b"three"
    store.remove([f"{bucket}/run/a", f"{bucket}/run/missing"])
    assert list(store.listed(f"{bucket}/run")) == [f"{bucket}/run/c"]
    with pytest.raises(FileNotFoundError):
        store.read(f"{bucket}/run/a")


def test_an_object_that_must_be_new_replaces_none(bucket):
    store = ObjectStore("memory")
    store.write(f"{bucket}/lock", b"one", new=True)
    with pytest.raises(FileExistsError):
        store.write(f"{bucket}/lock", b"two", new=True)
    assert store.read(f"{bucket}/lock") == b"one"


def test_an_operation_that_fails_at_first_is_tried_again(bucket, failing):
    store = ObjectStore("memory")
    failing(every=2)
    for number in range(6):
        store.write(f"{bucket}/{number}", b"x")
    assert len(store.listed(bucket)) == 6


def test_a_storage_that_does_not_answer_is_one_line(bucket, failing):
    store = ObjectStore("memory")
    failing(every=1)
    with pytest.raises(UnreachableError) as reading:
        store.read(f"{bucket}/a")
    assert str(reading.value) == f"cannot read memory://{bucket}/a: the line is dead (4 tries)"
    with pytest.raises(StorageError) as writing:
        store.write(f"{bucket}/a", b"x")
    assert str(writing.value) == f"cannot write memory://{bucket}/a: the line is dead (4 tries)"


def test_refused_access_is_not_tried_again_and_is_a_usage_error(bucket, failing):
    class NoCredentialsError(Exception):
        pass

    store = ObjectStore("memory")
    calls = failing(every=1, error=NoCredentialsError("Unable to locate credentials"))
    with pytest.raises(UsageError, match="Unable to locate credentials"), usage_errors():
        store.listed(bucket)
    assert calls() == 1


def test_a_truncated_download_leaves_no_file(bucket, tmp_path, failing):
    store = ObjectStore("memory")
    store.write(f"{bucket}/a", b"one")
    failing(every=0)  # no pauses
    with pytest.raises(UnreachableError, match="3 of 5 bytes have arrived"):
        store.download(f"{bucket}/a", tmp_path / "a", 5)
    assert list(tmp_path.iterdir()) == []
