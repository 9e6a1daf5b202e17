"""Files appear whole or not at all."""

import os

import pytest

from score_sde.runtime.atomic_files import make_folder, replacing


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    target = tmp_path / "new" / "folder" / "a.png"
    for content in ("first", "second"):
        with replacing(target) as temporary:
            assert temporary.parent == target.parent and temporary.suffix == ".png"
            temporary.write_text(content)
        assert target.read_text() == content
    assert [path.name for path in target.parent.iterdir()] == ["a.png"]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "a.png"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    with replacing(tmp_path / "made") as temporary:
        temporary.write_text("")
    assert (tmp_path / "made").stat().st_mode == plain.stat().st_mode


def test_a_folder_to_write_in_is_made_unless_that_is_impossible(tmp_path, monkeypatch):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file is a file where a folder is needed"):
        make_folder(tmp_path / "file")
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # as root, every folder can be written in
    with pytest.raises(PermissionError, match="cannot write in"):
        make_folder(tmp_path / "a")


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    for text in ("first", "second"):  # the file is new, then old
        link.unlink(missing_ok=True)
        link.symlink_to(real)
        with replacing(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink() and real.read_text() == text
    folder = tmp_path / "folder"
    folder.symlink_to(tmp_path)
    with replacing(folder / "real.txt") as temporary:
        temporary.write_text("third")
    assert real.read_text() == "third"


def test_a_link_to_nothing_is_an_error_of_one_line(tmp_path):
    link = tmp_path / "link"
    for end in ("nowhere/file", "link"):
        link.unlink(missing_ok=True)
        link.symlink_to(end)
        wrong = pytest.raises(OSError, match=r"is a link to .*, which is not there")
        with wrong, replacing(link):
            pass
        with pytest.raises(OSError, match=r"is a link to .*, which is not there|symbolic links"):
            make_folder(link)


def test_a_folder_whose_name_is_no_text_is_an_error_of_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"must be a name in the encoding of this system"):
        make_folder(tmp_path / "a\udcff")
    assert not list(tmp_path.iterdir())
