"""Data files that the system cannot read: its own error, and no claim of damage."""

import io
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from data_sets import write_image

from score_sde.data import arrayrecord, hf, tfds
from score_sde.data.file_tree import file_tree
from score_sde.data.images import read_header
from score_sde.data.listing import files_within, matching, walked
from score_sde.data.named.cifar import cifar10
from score_sde.data.named.faces import ffhq
from score_sde.data.named.image_files import image_names
from score_sde.data.named.imagenet import _read_npz, imagenet32
from score_sde.data.named.places import files_by_name
from score_sde.data.named.svhn import _read_mat


@pytest.mark.parametrize(
    "read",
    [lambda path: read_header(path, "image"), _read_mat, lambda path: _read_npz(path, 32)],
    ids=["png", "mat", "npz"],
)
def test_errors_of_the_system_pass(read, tmp_path):
    path = tmp_path / "file"
    path.symlink_to(path.name)  # a link to itself, which nobody can read
    with pytest.raises(OSError, match=re.escape(f"Too many levels of symbolic links: '{path}'")):
        read(path)
    path.unlink()
    path.write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"cannot be read|is not a PNG"):
        read(path)


@pytest.mark.parametrize("listed", [lambda root: file_tree(root).names, image_names])
def test_a_folder_that_cannot_be_listed_is_not_skipped(listed, tmp_path, monkeypatch):
    """Without its images a model would be trained on other data, and nobody would know."""
    for name in ("a/1.png", "b/2.png", ".hidden/3.png", "b/.4.png", "b/5.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(listed(tmp_path)) == [
        "a/1.png",
        "b/2.png",
    ]
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith(("/b", "/.hidden")):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path}/b'"):
        listed(tmp_path)


def refuse_to_list(monkeypatch, *ends):
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith(ends):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)


def refuse_to_open(monkeypatch, end):
    opened = io.open

    def refusing(path, *arguments, **options):
        if str(path).endswith(end):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(io, "open", refusing)


LISTING = {
    "files_by_name": files_by_name,
    "cifar10": cifar10,
    "faces": lambda place: ffhq(place, image_size=16),
    "imagenet": imagenet32,
    "a pattern": lambda place: matching(place / "*" / "*.array_record"),
    "a pattern of any depth": lambda place: matching(place / "**" / "*.array_record"),
    "arrayrecord": lambda place: arrayrecord(place / "*" / "*.array_record"),
}


@pytest.mark.parametrize("reader", LISTING)
def test_a_folder_below_that_cannot_be_listed_is_an_error(reader, tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data_batch_1").touch()
        (tmp_path / name / "1.array_record").touch()
        (tmp_path / name / "faces-r04.tfrecords").touch()
    refuse_to_list(monkeypatch, "/b")
    with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path}/b'"):
        LISTING[reader](tmp_path)


def test_folders_of_the_file_system_are_skipped(tmp_path, monkeypatch):
    """At the root of a disk; root alone may list it."""
    (tmp_path / "lost+found").mkdir()
    write_image(tmp_path / "a" / "1.png", np.zeros((4, 4, 3), np.uint8))
    refuse_to_list(monkeypatch, "/lost+found")
    assert (
        [file.name for file in files_within(tmp_path, 3)]
        == ["1.png"]
        == image_names(tmp_path / "a")
    )
    assert [folder.name for folder, _ in walked(tmp_path)] == [tmp_path.name, "a"]


def test_patterns_match_as_in_pathlib(tmp_path):
    for name in ("a/1.x", "a/b/2.x", "a/b/[3].x", "c/4.y", "c/.5.x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in (
        "*",
        "*/*",
        "**/*.x",
        "a/b/*",
        "a/b/2.x",
        "a/**",
        "none/*",
        "a/none",
        "*/?.[xy]",
        "**",
        "a/1.x/*",
    ):
        assert matching(tmp_path / pattern) == sorted(set(tmp_path.glob(pattern))), pattern
    (tmp_path / "linked").symlink_to("a")
    assert {"a", "c", "linked"} == {file.parent.name for file in files_within(tmp_path, 2)}
    assert not list(files_within(tmp_path / "none", 2)) and not list(walked(tmp_path / "none"))


def test_links_to_folders_are_followed_as_links_to_files_are(tmp_path):
    for name in ("elsewhere/b/2.png", "root/a/1.png", "root/c/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = tmp_path / "root"
    (root / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (root / "a" / "2.png").symlink_to(root / "c" / "3.png")
    # Circles end: a folder that holds the link is not read again.
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "to_c").symlink_to(root / "c")
    (root / "c" / "to_a").symlink_to(root / "a")
    expected = {"a/1.png", "a/2.png", "b/2.png", "c/3.png", "a/to_c/3.png"}
    expected |= {"c/to_a/1.png", "c/to_a/2.png"}
    assert set(file_tree(root).names) == set(image_names(root)) == expected
    found = matching(root / "**" / "*.png")
    assert {str(file.relative_to(root)) for file in found} == expected


def test_features_in_a_folder_that_cannot_be_listed_are_an_error(tmp_path, monkeypatch):
    """The library opens them by their name all the same."""
    monkeypatch.setattr(
        "score_sde.data.tfds_source.imported_extra", lambda *names: SimpleNamespace()
    )
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "features.json").write_text('{"type": "evil_module.Feature"}')
    refuse_to_list(monkeypatch, "/tiny")
    with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path}/tiny'"):
        tfds(str(tmp_path / "tiny"))


def test_folders_that_the_library_of_hugging_face_would_skip_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "score_sde.data.hugging_face.imported_extra", lambda *names: SimpleNamespace()
    )
    (tmp_path / "data").mkdir()
    refuse_to_list(monkeypatch, "/data")
    with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path}/data'"):
        hf(str(tmp_path))


class _RaisingLibrary(SimpleNamespace):
    """A library that raises an error of its own, whatever it is asked for."""

    def __init__(self, error):
        super().__init__(error=error)

    def fail(self, *arguments, **options):
        raise self.error

    ArrayRecordDataSource = load_dataset = builder_from_directory = fail


def _hugging_face(file):
    return hf(str(file))


def _tensorflow(file):
    return tfds(str(file.parent))


LIBRARIES = {
    "arrayrecord": ("score_sde.data.array_record", arrayrecord, "a.array_record"),
    "hf": ("score_sde.data.hugging_face", _hugging_face, "a.parquet"),
    "tfds": ("score_sde.data.tfds_source", _tensorflow, "dataset_info.json"),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_errors_of_the_system_are_found_behind_the_errors_of_a_library(name, tmp_path, monkeypatch):
    """ArrayRecord raises ``RuntimeError`` of a file that it may not open, as of one
    that is damaged.
    """
    module, read, file = LIBRARIES[name]
    (tmp_path / file).write_bytes(b"{}")
    monkeypatch.setattr(
        f"{module}.imported_extra",
        lambda *names: _RaisingLibrary(RuntimeError("something is wrong")),
    )
    with pytest.raises(
        ValueError, match=r"cannot be (read|loaded).*\(RuntimeError: something is wrong\)"
    ):
        read(tmp_path / file)
    with monkeypatch.context() as patch:
        refuse_to_open(patch, f"/{file}")
        with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path}/{file}'"):
            read(tmp_path / file)
    for cause in (
        OSError(5, "Input/output error", "x"),
        OSError(116, "Stale file handle", "x"),
        MemoryError("x"),
    ):
        error = RuntimeError("something is wrong")
        error.__cause__ = cause
        monkeypatch.setattr(
            f"{module}.imported_extra", lambda *names, error=error: _RaisingLibrary(error)
        )
        with pytest.raises(type(cause), match="x"):
            read(tmp_path / file)
