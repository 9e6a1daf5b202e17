"""Files of other programs that lie where a command writes: a usage error, and they stay
as they are.
"""

import errno
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from score_sde.cli import main
from score_sde.cli.own_files import check_report, check_results
from score_sde.evaluation import report
from score_sde.evaluation.plots.figure import save_figure
from score_sde.evaluation.plots.images import save_gif, save_png
from score_sde.evaluation.sample_files import write_npz, write_pngs
from score_sde.experiments.loading import load
from score_sde.experiments.workdir import check_run_folder
from score_sde.export.model import export_model
from score_sde.runtime.atomic_files import MARK, is_marked, write_arrays
from score_sde.runtime.unreadable import UnreadableError

IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def listing(folder):
    return {
        path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def toy_file(tmp_path_factory):
    return tiny.config_file(tiny.TOY, tmp_path_factory.mktemp("toy"))


def test_a_file_that_cannot_be_read_is_not_called_that_of_another_program(tmp_path, monkeypatch):
    """Else ``--overwrite`` would be advised, for a run or a report that may be ours."""
    for name in ("config.json", "report.json"):
        (tmp_path / name).write_text("{}")
    stale = OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(stale))
    for check in (
        check_run_folder,
        lambda folder, overwrite: check_report(folder, own=False, overwrite=overwrite),
    ):
        with pytest.raises(
            UnreadableError, match=r"cannot read the file .*\.json: Stale file handle"
        ):
            check(tmp_path, overwrite=False)


def test_training_leaves_files_of_others_alone(tmp_path, toy_file, usage_error):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    before = listing(tmp_path)
    line = usage_error("train", f"--config={toy_file}", f"--workdir={tmp_path}")
    assert f"{tmp_path}/config.json is there, and {tmp_path} is not the folder of a run" in line
    assert "overwrite=True" in line and listing(tmp_path) == before


@pytest.mark.slow
def test_training_writes_over_them_where_it_is_told_to(tmp_path, toy_file):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    flags = f"--config={toy_file}", f"--workdir={tmp_path}", "--config.training.num_steps=10"
    assert main(["train", *flags]) == 2
    tiny.run("train", *flags, "--overwrite")
    assert '"loss": 0.1}' not in (tmp_path / "metrics.jsonl").read_text()
    tiny.run("train", *flags[:2], "--config.training.num_steps=20")


def marked_files(folder):
    """A file of each kind that results are, as they are written."""
    from matplotlib.figure import Figure

    save_png(folder / "a.png", IMAGE)
    save_figure(folder / "b.png", Figure(figsize=(1, 1)))
    save_gif(folder / "c.gif", np.stack([IMAGE[None], 255 - IMAGE[None]]) / 255.0)
    write_arrays(folder / "d.npz", latent=IMAGE)
    write_npz(folder / "e.npz", [IMAGE[None]], 1)
    write_pngs(folder / "f", [IMAGE[None]], 256)
    return [
        folder / name for name in ("a.png", "b.png", "c.gif", "d.npz", "e.npz", "f/00000000.png")
    ]


def test_results_are_marked_and_are_as_readable_as_before(tmp_path):
    paths = marked_files(tmp_path)
    assert all(map(is_marked, paths))
    with Image.open(paths[0]) as image, Image.open(paths[2]) as animation:
        assert (np.asarray(image) == IMAGE).all() and animation.n_frames == 2
    for path, name in ((paths[3], "latent"), (paths[4], "samples")):
        with np.load(path, allow_pickle=False) as file:
            assert file.files == [name] and (file[name] == IMAGE).all()
    check_results([*paths[:5], paths[5].parent], own=False, overwrite=False)


def test_files_of_others_are_not_marked(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    Image.fromarray(IMAGE).save(tmp_path / "b.gif")
    np.savez(tmp_path / "c.npz", samples=IMAGE)
    (tmp_path / "d.txt").write_text(MARK)
    (tmp_path / "e.sbatch").write_text(f"#!/bin/bash\nsrun {MARK}\n")
    for path in tmp_path.iterdir():
        assert not is_marked(path), path
        with pytest.raises(
            FileExistsError,
            match=r"exists, and score-sde has not written it: choose another folder, or .*--overw",
        ):
            check_results([path], own=False, overwrite=False)
        for options in ({"own": True, "overwrite": False}, {"own": False, "overwrite": True}):
            check_results([path], **options)
    (tmp_path / "samples").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "samples" / "00000000.png")  # a data set, say
    with pytest.raises(FileExistsError, match=r"00000000\.png exists, and score-sde has not"):
        check_results([tmp_path / "samples"], own=False, overwrite=False)
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(IsADirectoryError, match=r"x\.npz is a folder where a file is needed"):
        check_results([tmp_path / "x.npz"], own=True, overwrite=True)


RESULTS = {
    "sample": ("samples.npz", "samples.png", "denoising.gif"),
    "encode": ("latents.npz", "latents.png"),
    "interpolate": ("interpolation.npz", "interpolation.png"),
    "plot": ("sde.png", "loss.png", "loss_by_level.png"),
}


@pytest.mark.parametrize(
    ("command", "name"), [(command, name) for command, names in RESULTS.items() for name in names]
)
def test_results_elsewhere_take_no_place_of_other_files(command, name, tmp_path, usage_error):
    (tmp_path / name).write_text("mine")
    before = listing(tmp_path)
    line = usage_error(command, f"--workdir={tiny.toy_run()}", f"--output={tmp_path}")
    assert (
        f"{tmp_path / name} exists, and score-sde has not written it" in line
        and "--overwrite" in line
    )
    assert listing(tmp_path) == before


def test_the_picture_of_every_sde_takes_no_place_of_another_file(tmp_path, usage_error):
    for name, flags in (("sdes.png", ()), ("sde.png", ("--config=digits/vp",))):
        (tmp_path / name).write_text("mine")
        assert f"{name} exists, and score-sde has not written it" in usage_error(
            "plot", f"--output={tmp_path}", *flags
        )
        assert (tmp_path / name).read_text() == "mine"


@pytest.fixture
def exported(tmp_path):
    model = load(tiny.toy_run())
    export_model(tmp_path / "model", model.params, model.config, step=model.step)
    return tmp_path / "model"


def test_the_folder_of_an_exported_model_may_hold_files_of_others(exported, usage_error):
    (exported / "report.json").write_text('["of another program"]')
    (exported / "likelihood_test.npz").write_text("mine")
    (exported / "sde.png").write_text("mine")
    before = listing(exported)
    assert "report.json exists, and score-sde has not written it: move it away, or" in usage_error(
        "plot", f"--workdir={exported}"
    )
    (exported / "report.json").unlink()
    assert "sde.png exists, and score-sde has" in usage_error("plot", f"--workdir={exported}")
    assert "likelihood_test.npz exists, and score-sde has not" in usage_error(
        "likelihood", f"--workdir={exported}"
    )
    assert listing(exported).items() <= before.items()


def test_a_report_is_known_by_its_rows(tmp_path):
    check_report(tmp_path, own=False, overwrite=False)
    report.record(tmp_path, {"trained": "3 steps"})
    check_report(tmp_path, own=False, overwrite=False)
    for text in ("[1]", '{"a": 1}', "no JSON", "3"):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(FileExistsError, match=r"report\.json exists, and score-sde has not"):
            check_report(tmp_path, own=False, overwrite=False)
        check_report(tmp_path, own=True, overwrite=False)
        check_report(tmp_path, own=False, overwrite=True)


def test_an_exported_sampler_takes_the_place_of_no_file(tmp_path, usage_error, monkeypatch):
    monkeypatch.setenv("EQX_ON_ERROR", "nan")
    file = tmp_path / "thesis.tex"
    file.write_text("mine")
    line = usage_error("export", f"--workdir={tiny.toy_run()}", f"--sampler={file}")
    assert line.endswith(
        "thesis.tex exists: choose another --sampler, or overwrite it by --overwrite"
    )
    assert file.read_text() == "mine"


def test_a_batch_script_takes_the_place_of_its_own_alone(tmp_path, capsys, usage_error):
    command = ["launch", "slurm", "--dry_run", "--", "train", f"--workdir={tmp_path}"]
    for _ in range(2):
        assert main(command) == 0
    file = tmp_path / "launch.sbatch"
    file.write_text("#!/bin/bash\nsrun python -m score_sde train\n")
    assert "launch.sbatch exists, and score-sde has not written it" in usage_error(*command)
    assert main([*command[:3], "--overwrite", *command[3:]]) == 0
    assert is_marked(file)
    capsys.readouterr()


@pytest.mark.slow
def test_own_results_are_replaced_wherever_they_are(tmp_path):
    workdir = f"--workdir={tiny.toy_run()}"
    for command, names in RESULTS.items():
        for _ in range(2):
            tiny.run(command, workdir, f"--output={tmp_path}")
        made = [name for name in names if (tmp_path / name).exists()]
        assert made, command
        (tmp_path / made[0]).write_text("mine")
        assert main([command, workdir, f"--output={tmp_path}"]) == 2
        tiny.run(command, workdir, f"--output={tmp_path}", "--overwrite")
        assert (tmp_path / made[0]).read_bytes() != b"mine"
