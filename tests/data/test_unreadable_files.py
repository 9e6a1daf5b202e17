"""Files of data that the system cannot read: its own words, and no claim that they are damaged."""

import os
import re

import pytest

from score_sde.data.folder import _image_files
from score_sde.data.images import read_header
from score_sde.data.named.imagenet import _read_npz
from score_sde.data.named.pictures import picture_names
from score_sde.data.named.svhn import _read_mat


@pytest.mark.parametrize(
    "read",
    [lambda path: read_header(path, "image"), _read_mat, lambda path: _read_npz(path, 32)],
    ids=["png", "mat", "npz"],
)
def test_what_the_system_says_is_passed_on(read, tmp_path):
    path = tmp_path / "file"
    path.symlink_to(path.name)  # a link to itself, which nobody can read
    with pytest.raises(OSError, match=re.escape(f"Too many levels of symbolic links: '{path}'")):
        read(path)
    path.unlink()
    path.write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"cannot be read|is not a PNG"):
        read(path)


@pytest.mark.parametrize("listed", [_image_files, picture_names])
def test_a_folder_that_cannot_be_listed_is_not_passed_over(listed, tmp_path, monkeypatch):
    """Without its pictures a model would be trained on other data, and nobody would know."""
    for name in ("a/1.png", "b/2.png", ".hidden/3.png", "b/.4.png", "b/5.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(name).removeprefix(f"{tmp_path}/") for name in listed(tmp_path)] == ["a/1.png", "b/2.png"]
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith(("/b", "/.hidden")):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path}/b'"):
        listed(tmp_path)
