"""Folders in which a run may begin, and those of runs."""

import json

import pytest
import tiny

from score_sde.experiments.workdir import RUN_FILES, check_run_folder, is_run


@pytest.mark.parametrize("name", [*RUN_FILES[:6], "hang_0.txt", *RUN_FILES[-4:], "run.lock.json"])
def test_a_new_run_takes_no_file_for_its_own(name, tmp_path):
    workdir = tmp_path / "run"
    check_run_folder(workdir, overwrite=False)
    path = workdir / name
    path = path / "x" if name in RUN_FILES[-4:] else path
    path.parent.mkdir(parents=True)
    path.touch()
    if path.parent == workdir:
        check_run_folder(workdir, overwrite=False)  # nothing is lost with what is empty
    path.write_text('{"name": "of another program"}')
    (workdir / "notes.txt").write_text("mine")
    with pytest.raises(
        FileExistsError, match=rf"/{name} is there, and .*run is not the folder of a run: choose"
    ):
        check_run_folder(workdir, overwrite=False)
    check_run_folder(workdir, overwrite=True)


def test_the_folder_of_a_run_is_known_by_its_config_or_its_checkpoints(tmp_path):
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    assert is_run(workdir)
    (workdir / "config.json").write_text('{"model_type": "bert"}')
    assert is_run(workdir)
    check_run_folder(workdir, overwrite=False)
    early = tmp_path / "early"  # killed before its first checkpoint
    early.mkdir()
    (early / "run.lock").touch()
    (early / "run.lock.json").write_text(json.dumps({"process": 1, "host": "x"}))
    check_run_folder(early, overwrite=False)  # and before it has written anything
    (early / "config.json").write_bytes((tiny.toy_run() / "config.json").read_bytes())
    (early / "metrics.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    assert is_run(early)
    check_run_folder(early, overwrite=False)
    for folder in ("checkpoints/100", "checkpoints/seal"):  # of another program
        (tmp_path / "other" / folder).mkdir(parents=True)
    assert not is_run(tmp_path / "other") and not is_run(tmp_path / "none")


def test_the_run_beside_a_model_is_resumed_once_that_is_moved_away(tmp_path):
    """Version 0.1 began such runs."""
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    (workdir / "model.json").write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"move model\.json and model\.safetensors away$"):
            check_run_folder(workdir, overwrite=overwrite)
    (workdir / "model.json").unlink()
    check_run_folder(workdir, overwrite=False)
