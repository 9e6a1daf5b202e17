"""``score-sde sample``: interrupted and resumed, in other batches, on more processes,
as a file and as a folder.
"""

import json
import os
import signal
import time

import numpy as np
import pytest
import tiny
from launched import ROOT, finished, started
from PIL import Image

from score_sde.cli import main
from score_sde.evaluation import samples as runner
from score_sde.experiments.loading import load

TWENTY = ("--num_samples=20", "--batch=8")
"""Three batches: the size is a multiple of the eight devices."""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures and distances take longer than these samples."""
    monkeypatch.setattr(runner, "figure_of_samples", lambda *args, **kwargs: None)
    monkeypatch.setattr(runner, "figures_of_denoising", lambda *args: {})
    monkeypatch.setattr(runner, "distances", lambda *args: {})


@pytest.fixture
def workdir(tmp_path):
    return tiny.copy_of(tiny.toy_run(), tmp_path)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The samples of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.run("sample", f"--workdir={tiny.copy_of(tiny.toy_run(), folder)}", *TWENTY)
    return samples(folder / "toy" / "samples")


def samples(folder):
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        return file["samples"]


def pieces(folder):
    found = (path.name for path in folder.glob(".pieces-*/*.npz"))
    return sorted(name for name in found if not name.startswith("."))


@pytest.fixture
def drawn(monkeypatch):
    """The ranges that are drawn; ``drawn.stop_at = k`` interrupts the batch after ``k``."""

    class Drawn(list):
        stop_at, spoil = None, None

        def __call__(self, draw, params, key, indices, batch_size, conditions_of):
            if len(self) == self.stop_at:
                raise KeyboardInterrupt
            self.append((indices.start, indices.stop))
            batch = real(draw, params, key, indices, batch_size, conditions_of)
            return batch._replace(x=batch.x * np.nan) if indices.start == self.spoil else batch

    real, found = runner.draw_range, Drawn()
    monkeypatch.setattr(runner, "draw_range", found)
    return found


def interrupted(workdir, drawn, *flags, after=2):
    """A run that is interrupted, what is on disk then, and ``drawn`` as new."""
    drawn.stop_at = after
    with tiny.quick_compilation():
        assert main(["sample", f"--workdir={workdir}", *flags]) == 130
    assert len(drawn) == after
    drawn.clear()
    drawn.stop_at = None
    return pieces(workdir / "samples")


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bits(workdir, drawn, wanted):
    left = interrupted(workdir, drawn, *TWENTY)
    assert left == ["00000000-00000008.npz", "00000008-00000016.npz"]
    assert not (workdir / "samples" / "samples.npz").exists()
    text = tiny.run("sample", f"--workdir={workdir}", *TWENTY)
    assert "found 16 of 20 samples in " in text and "sample: 4/4 samples" in text
    assert drawn == [(16, 20)]
    assert (samples(workdir / "samples") == wanted).all()
    assert not list((workdir / "samples").glob(".*"))
    assert json.loads((workdir / "report.json").read_text())["samples"].startswith(
        "20 of Heun, 7 evaluations each"
    )


@pytest.mark.slow
def test_batches_of_another_size_and_another_number_use_the_same_pieces(workdir, drawn, wanted):
    interrupted(workdir, drawn, *TWENTY, after=1)
    interrupted(workdir, drawn, "--num_samples=18", "--batch=3", after=2)
    assert pieces(workdir / "samples")[1:] == ["00000008-00000011.npz", "00000011-00000014.npz"]
    tiny.run("sample", f"--workdir={workdir}", "--num_samples=20", "--batch=16")
    assert drawn == [(14, 20)]
    np.testing.assert_allclose(samples(workdir / "samples"), wanted, rtol=1e-5, atol=1e-5)


def test_fewer_samples_are_taken_from_the_pieces_of_more_and_leave_them(workdir, drawn, wanted):
    left = interrupted(workdir, drawn, *TWENTY)
    tiny.run("sample", f"--workdir={workdir}", "--num_samples=11", "--batch=8")
    assert drawn == [] and (samples(workdir / "samples") == wanted[:11]).all()
    assert pieces(workdir / "samples") == left


@pytest.mark.parametrize(
    "change",
    [
        "--sampler=ddim",
        pytest.param("--seed=1", marks=pytest.mark.slow),
        pytest.param("--checkpoint=20", marks=pytest.mark.slow),
        pytest.param("--config.sampling.num_steps=4", marks=pytest.mark.slow),
        pytest.param("--config.sampling.denoise=False", marks=pytest.mark.slow),
    ],
)
def test_pieces_of_another_request_are_never_taken(change, workdir, drawn, wanted):
    interrupted(workdir, drawn, *TWENTY)
    tiny.run("sample", f"--workdir={workdir}", *TWENTY, change)
    assert [start for start, _ in drawn] == [0, 8, 16]
    assert not np.isclose(samples(workdir / "samples"), wanted).all()
    assert len(pieces(workdir / "samples")) == 2


def test_a_damaged_piece_is_drawn_anew(workdir, drawn, wanted):
    interrupted(workdir, drawn, *TWENTY)
    (damaged,) = (workdir / "samples").glob(".pieces-*/00000000-00000008.npz")
    damaged.write_bytes(damaged.read_bytes()[:200])
    text = tiny.run("sample", f"--workdir={workdir}", *TWENTY)
    assert f"damaged shard, computed again: {damaged}" in text
    assert drawn == [(0, 8), (16, 20)]
    assert (samples(workdir / "samples") == wanted).all()
    assert [path.name for path in damaged.parent.iterdir()] == [f"{damaged.name}.damaged"]


def test_a_sample_that_is_not_finite_fails_and_the_finite_pieces_stay(
    workdir, drawn, wanted, capsys
):
    drawn.spoil = 8
    with tiny.quick_compilation():
        assert main(["sample", f"--workdir={workdir}", *TWENTY]) == 1
    assert (
        "score-sde sample: some samples are not finite: more steps"
        in capsys.readouterr().err.splitlines()[-1]
    )
    assert pieces(workdir / "samples") == ["00000000-00000008.npz"]
    assert not (workdir / "samples" / "samples.npz").exists()
    drawn.spoil = None
    tiny.run("sample", f"--workdir={workdir}", *TWENTY)
    assert (samples(workdir / "samples") == wanted).all()


@pytest.mark.slow
def test_a_run_killed_after_the_last_batch_only_puts_the_pieces_together(
    workdir, drawn, wanted, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(runner, "write_npz", interrupt)
        with tiny.quick_compilation():
            assert main(["sample", f"--workdir={workdir}", *TWENTY]) == 130
    assert not (workdir / "samples" / "samples.npz").exists()
    drawn.clear()
    tiny.run("sample", f"--workdir={workdir}", *TWENTY)
    assert drawn == [] and (samples(workdir / "samples") == wanted).all()


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_static_threshold_cuts_by_either_way_of_naming_it(workdir):
    cut = ("--config.sampling.threshold.name=static", "--config.sampling.threshold.high=0.25")
    tiny.run("sample", f"--workdir={workdir}", "--num_samples=8", *cut)
    found = samples(workdir / "samples")
    assert found.min() >= -1.00001 and found.max() <= 0.25001
    static = ("--config.sampling.threshold=static", "--config.sampling.grid=uniform")
    tiny.run("sample", f"--workdir={workdir}", "--num_samples=8", *static)
    assert 0.9 < abs(samples(workdir / "samples")).max() <= 1.00001


@pytest.mark.slow
def test_another_sampler_by_its_short_name(workdir):
    flags = ("--sampler", "predictor_corrector", "--config.sampling.num_steps=2", "--batch", "4")
    text = tiny.run("sample", f"--workdir={workdir}", "--num_samples=8", *flags)
    assert "8 of PredictorCorrector, 5 evaluations each" in text


def test_results_go_where_they_are_asked_for(workdir, tmp_path, wanted):
    output = tmp_path / "else" / "where"
    tiny.run("sample", f"--workdir={workdir}", *TWENTY, f"--output={output}")
    assert (samples(output) == wanted).all()
    assert not (workdir / "samples").exists()


@pytest.mark.slow
def test_pngs_hold_what_the_npz_holds(tmp_path):
    workdir = tiny.copy_of(tiny.digits_run(), tmp_path)
    tiny.run("sample", f"--workdir={workdir}", "--format=png", "--num_samples=9")
    folder = workdir / "samples" / "samples"
    (folder / "00000009.png").touch()
    tiny.run("sample", f"--workdir={workdir}", "--format=png", "--num_samples=9")
    assert [path.name for path in sorted(folder.iterdir())] == [f"{i:08d}.png" for i in range(9)]
    tiny.run("sample", f"--workdir={workdir}", "--num_samples=9")
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    levels = load(workdir).scaling.num_levels
    whole = samples(workdir / "samples")
    assert (images == np.rint(whole[..., 0] * (255 / (levels - 1)))).all() and images.max() > 200


WRONG = [
    ("--sampler=huen", "unknown sampling 'huen', did you mean 'heun'?; known: euler_maruyama"),
    ("--sampler=", "unknown sampling ''; known: euler_maruyama"),
    (
        "--sampler=json:JSONDecodr",
        "module 'json' has no function or class 'JSONDecodr', did you mean 'JSONDecoder'?",
    ),
    ("--batch=0", "sampling.batch_size=0 must be at least 1"),
    ("--batch=many", "--config.sampling.batch_size=many must be an integer"),
    ("--batc=4", "unknown flag --batc, did you mean 'batch'?"),
    ("--format=jpg", "--format=jpg must be npz or png"),
    (
        "--format=png",
        "--format=png is for images, and samples of this model have shape (2,): use --format=npz",
    ),
    ("--num_samples=0", "--num_samples"),
    ("--output=config.json", "config.json is a file where a folder is needed"),
    (
        "--config.sampling.threshold=statik",
        "unknown sampling.threshold 'statik', did you mean 'static'?",
    ),
    (
        "--config.sampling.threshold.low=0.5",
        "sampling.threshold needs a name: one of static, dynamic",
    ),
]


@pytest.mark.parametrize(("flag", "message"), WRONG)
def test_wrong_flags(flag, message, usage_error, monkeypatch):
    monkeypatch.chdir(tiny.toy_run())
    assert message in usage_error("sample", f"--workdir={tiny.toy_run()}", flag)
    assert not (tiny.toy_run() / "samples").exists()


@pytest.mark.slow
def test_a_folder_of_other_things_is_a_usage_error_before_anything_is_drawn(tmp_path, usage_error):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "thesis.tex").touch()
    flags = (f"--workdir={tiny.digits_run()}", "--format=png", f"--output={tmp_path}")
    assert "samples holds more than samples: choose another folder" in usage_error("sample", *flags)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID must be set too"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES='two' must be a whole number"),
        (
            {"JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID=2 must be at least 0 and less than JAX_NUM_PROCESSES=2",
        ),
    ],
)
def test_a_launcher_that_says_too_little_is_a_usage_error(
    variables, message, monkeypatch, usage_error
):
    whole = {
        "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "0",
    }
    for name, value in (variables if "set too" in message else {**whole, **variables}).items():
        monkeypatch.setenv(name, value)
    assert message in usage_error("sample", f"--workdir={tiny.toy_run()}")


@pytest.mark.slow
def test_two_processes_leave_the_samples_of_one(workdir, wanted):
    texts = finished(started("sample", workdir, *TWENTY, processes=2))
    np.testing.assert_allclose(samples(workdir / "samples"), wanted, rtol=1e-5, atol=1e-5)
    assert "samples of " in texts[0][0] and "samples of " not in texts[1][0]
    assert "process 0 of 2" in texts[0][1] and "process 1 of 2" not in texts[1][1]
    assert not list((workdir / "samples").glob(".*"))


@pytest.mark.slow
def test_processes_killed_in_the_middle_and_resumed_by_another_number_of_them(workdir):
    """Many small batches: 1 process is killed, then 2 of another batch size are, then 1
    of a third ends it.
    """
    folder, many = workdir / "samples", "--num_samples=3000"
    for processes, batch, least in ((1, 4, 40), (2, 6, 300)):
        running = started("sample", workdir, many, f"--batch={batch}", processes=processes)
        deadline = time.monotonic() + 200
        while held(folder) < least and time.monotonic() < deadline:
            assert all(process.poll() is None for process in running), finished(running)
            time.sleep(0.02)
        for process in running:
            process.send_signal(signal.SIGKILL)
        for process in running:
            process.communicate()
        assert least <= held(folder) < 3000
    before = pieces(folder)
    ((_, errors),) = finished(started("sample", workdir, many, "--batch=1000"))
    assert f"found {sum(map(size, before))} of 3000 samples" in errors
    found = samples(folder)
    tiny.run("sample", f"--workdir={workdir}", many, "--batch=512")
    assert found.shape == (3000, 2)
    np.testing.assert_allclose(found, samples(folder), rtol=1e-5, atol=1e-5)


def size(name):
    start, stop = name.removesuffix(".npz").split("-")
    return int(stop) - int(start)


def held(folder):
    return sum(map(size, pieces(folder)))


@pytest.mark.slow
def test_all_processes_fail_where_samples_are_not_finite(workdir):
    """By a sampler from elsewhere, half of whose samples are NaN."""
    (workdir / "spoilt.py").write_text(SPOILT, encoding="utf-8")
    flags = ("--sampler=spoilt:Spoilt", *TWENTY)
    env = {"PYTHONPATH": os.pathsep.join([ROOT, str(workdir)])}
    texts = finished(started("sample", workdir, *flags, processes=2, env=env), code=1)
    assert all(
        "not finite" in errors or "another process has failed" in errors for _, errors in texts
    )
    assert not (workdir / "samples" / "samples.npz").exists()


SPOILT = """
import dataclasses
import jax.numpy as jnp
import score_sde


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spoilt(score_sde.Heun):
    def solve(self, *args, **kwargs):
        found = super().solve(*args, **kwargs)
        return found._replace(x=jnp.where(found.x[0] > 0, jnp.nan, found.x))
"""
