"""Files of data that the system cannot read: its own words, and no claim that they are damaged."""

import re

import pytest

from score_sde.data.images import read_header
from score_sde.data.named.imagenet import _read_npz
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
