"""``score-sde likelihood``: interrupted and resumed, in other batches, on more
processes, for more examples.
"""

import json
import signal
import time

import numpy as np
import pytest
import tiny
from launched import finished, started

from score_sde.cli import main
from score_sde.evaluation import likelihoods as runner

BATCH = ("--batch=8",)
"""Two batches: 12 examples are held out."""


@pytest.fixture
def workdir(tmp_path):
    return tiny.copy_of(tiny.toy_run(), tmp_path)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The likelihoods of a run that nothing interrupts."""
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path_factory.mktemp("whole"))
    tiny.run("likelihood", f"--workdir={workdir}", *BATCH)
    return likelihoods(workdir)


def likelihoods(workdir, split="test"):
    with np.load(workdir / f"likelihood_{split}.npz", allow_pickle=False) as file:
        return dict(file)


def pieces(workdir):
    found = (path.name for path in workdir.glob(".pieces-*/*.npz"))
    return sorted(name for name in found if not name.startswith("."))


def size(name):
    start, stop = name.removesuffix(".npz").split("-")
    return int(stop) - int(start)


def held(workdir):
    return sum(map(size, pieces(workdir)))


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


@pytest.fixture
def evaluated(monkeypatch):
    """The ranges that are evaluated; ``stop_at = k`` interrupts the batch after ``k``,
    ``spoil`` makes one NaN.
    """

    class Evaluated(list):
        stop_at, spoil = None, None

        def __call__(self, evaluate, params, key, examples, scaling, indices, *rest):
            if len(self) == self.stop_at:
                raise KeyboardInterrupt
            self.append((indices.start, indices.stop))
            found = real(evaluate, params, key, examples, scaling, indices, *rest)
            return (
                found._replace(log_prob=found.log_prob * np.nan)
                if indices.start == self.spoil
                else found
            )

    real, found = runner.evaluate_range, Evaluated()
    monkeypatch.setattr(runner, "evaluate_range", found)
    return found


def interrupted(workdir, evaluated, *flags):
    """A run that is interrupted after its first batch."""
    evaluated.stop_at = 1
    with tiny.quick_compilation():
        assert main(["likelihood", f"--workdir={workdir}", *flags]) == 130
    evaluated.clear()
    evaluated.stop_at = None


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bits(workdir, evaluated, wanted):
    interrupted(workdir, evaluated, *BATCH)
    assert (
        pieces(workdir) == ["00000000-00000008.npz"]
        and not (workdir / "likelihood_test.npz").exists()
    )
    text = tiny.run("likelihood", f"--workdir={workdir}", *BATCH)
    assert "found 8 of 12 examples in " in text and "likelihood: 4/4 examples" in text
    assert evaluated == [(8, 12)]
    assert_equal(likelihoods(workdir), wanted)
    assert not list(workdir.glob(".*"))
    row = json.loads((workdir / "report.json").read_text())["likelihood, test"]
    assert row.startswith(f"{wanted['log_prob'].mean():.4f} ± ") and row in text


@pytest.mark.slow
def test_more_examples_make_use_of_fewer_and_of_other_batches(workdir, evaluated, wanted):
    text = tiny.run("likelihood", f"--workdir={workdir}", "--num_examples=5", "--batch=3")
    assert " nats over 5 examples, " in text and pieces(workdir) == [
        "00000000-00000003.npz",
        "00000003-00000005.npz",
    ]
    evaluated.clear()
    tiny.run("likelihood", f"--workdir={workdir}", *BATCH)
    assert evaluated == [(5, 12)] and pieces(workdir) == []
    found = likelihoods(workdir)
    np.testing.assert_allclose(found["log_prob"], wanted["log_prob"], rtol=1e-4, atol=1e-4)
    assert (found["nfe"] == wanted["nfe"]).mean() > 0.8


@pytest.mark.parametrize(
    "change",
    [
        "--seed=1",
        *(
            pytest.param(change, marks=pytest.mark.slow)
            for change in (
                "--checkpoint=20",
                "--config.eval.rtol=1e-4",
                "--config.data.seed=2",
                "--split=train",
            )
        ),
    ],
)
def test_pieces_of_another_request_are_never_taken(change, workdir, evaluated):
    interrupted(workdir, evaluated, *BATCH)
    tiny.run("likelihood", f"--workdir={workdir}", *BATCH, change)
    assert evaluated[:2] == [(0, 8), (8, 16 if "train" in change else 12)]
    assert pieces(workdir) == ["00000000-00000008.npz"]


@pytest.mark.slow
def test_a_likelihood_that_is_not_finite_fails_and_the_finite_pieces_stay(
    workdir, evaluated, wanted, capsys
):
    evaluated.spoil = 8
    with tiny.quick_compilation():
        assert main(["likelihood", f"--workdir={workdir}", *BATCH]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith(
        "score-sde likelihood: some likelihoods are not finite: the adaptive solve did not"
    )
    assert (
        pieces(workdir) == ["00000000-00000008.npz"]
        and not (workdir / "likelihood_test.npz").exists()
    )
    evaluated.spoil = None
    tiny.run("likelihood", f"--workdir={workdir}", *BATCH)
    assert_equal(likelihoods(workdir), wanted)


WRONG = [
    ("--split=tset", "--split=tset must be test or train"),
    ("--num_examples=0", "eval.max_examples=0 must be at least 1"),
    ("--num_examples=some", "eval.max_examples='some' must be a whole number or None"),
    ("--batch=0", "eval.batch_size=0 must be at least 1"),
    ("--batch=many", "--config.eval.batch_size=many must be an integer"),
]


@pytest.mark.parametrize(("flag", "message"), WRONG)
def test_wrong_flags(flag, message, usage_error):
    assert message in usage_error("likelihood", f"--workdir={tiny.toy_run()}", flag)
    assert not (tiny.toy_run() / "likelihood_test.npz").exists()


@pytest.mark.slow
def test_two_processes_leave_the_likelihoods_of_one(workdir, wanted):
    texts = finished(started("likelihood", workdir, *BATCH, processes=2))
    np.testing.assert_allclose(
        likelihoods(workdir)["log_prob"], wanted["log_prob"], rtol=1e-4, atol=1e-4
    )
    assert "likelihood of " in texts[0][0] and "likelihood of " not in texts[1][0]
    assert "process 0 of 2" in texts[0][1] and "process 1 of 2" not in texts[1][1]
    assert not list(workdir.glob(".*"))


@pytest.mark.slow
def test_processes_killed_in_the_middle_and_resumed_by_another_number_of_them(workdir):
    """Many small batches: 1 process is killed, then 2 of another batch size are, then 1
    of a third ends it.
    """
    many = ("--split=train", "--config.data.num_examples=3000")
    for processes, batch, least in ((1, 4, 40), (2, 6, 300)):
        running = started("likelihood", workdir, *many, f"--batch={batch}", processes=processes)
        deadline = time.monotonic() + 200
        while held(workdir) < least and time.monotonic() < deadline:
            assert all(process.poll() is None for process in running), finished(running)
            time.sleep(0.02)
        for process in running:
            process.send_signal(signal.SIGKILL)
        for process in running:
            process.communicate()
        assert least <= held(workdir) < 2700
    before = held(workdir)
    ((_, errors),) = finished(started("likelihood", workdir, *many, "--batch=1000"))
    assert f"found {before} of 2700 examples" in errors
    found = likelihoods(workdir, "train")
    tiny.run("likelihood", f"--workdir={workdir}", *many, "--batch=512")
    assert len(found["nfe"]) == 2700
    np.testing.assert_allclose(
        found["log_prob"], likelihoods(workdir, "train")["log_prob"], rtol=1e-3, atol=1e-3
    )
