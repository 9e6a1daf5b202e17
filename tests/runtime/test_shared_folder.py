"""Processes that do not share their folder say so before any work."""

import os
import sys

import pytest
from launched import each, finished

from score_sde.runtime import shared_folder
from score_sde.runtime.processes import text_of
from score_sde.runtime.shared_folder import check_shared

CHECK = """
import sys
from pathlib import Path
from score_sde.runtime import shared_folder
from score_sde.runtime.processes import join_processes
shared_folder.PATIENCE = 1.0
join_processes()
try:
    shared_folder.check_shared(Path(sys.argv[1]))
except ValueError as error:
    print('error:', error)
"""


def checked(*folders):
    """The errors of processes, each with its folder."""
    return errors_of([(sys.executable, "-c", CHECK, str(folder)) for folder in folders])


def errors_of(commands):
    texts = [out for out, _ in finished(each(commands, env={"JAX_PLATFORMS": "cpu"}))]
    return [text.partition("error: ")[2].strip() for text in texts]


def test_one_process_shares_with_nobody(tmp_path):
    check_shared(tmp_path / "none")
    assert not any(tmp_path.iterdir())
    assert text_of(0, "a") == "a"


def test_two_processes_with_one_folder_by_two_paths(tmp_path):
    folder, link = tmp_path / "a" / "run", tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    assert checked(folder, link / "run") == ["", ""]
    assert folder.is_dir() and not any(folder.iterdir())


@pytest.mark.slow
def test_two_processes_with_two_folders(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    expected = (
        f"the workdir of process 1, {second}, is not that of process 0, {first}: give all "
        "processes the same"
    )
    assert checked(first, second) == [expected, expected]
    assert not second.exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts of Linux")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_two_processes_with_one_path_on_two_disks(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    check = f'{sys.executable} -c "$CHECK" {folder}'
    alone = ("unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {folder} && exec {check}")
    monkeypatch.setenv("CHECK", CHECK)
    expected = (
        f"process 1 does not see the workdir {folder} of process 0: all processes need one "
        "folder, on a disk that their hosts share"
    )
    assert errors_of([("sh", "-c", f"exec {check}"), alone]) == [expected, expected]


def test_the_patience_covers_the_caches_of_network_file_systems():
    assert shared_folder.PATIENCE >= 60
