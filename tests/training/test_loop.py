import io
import os
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.data.loader import Loader
from score_sde.objectives.noise_levels import name_of
from score_sde.training import (
    EMA,
    Checkpoints,
    Evaluation,
    Hook,
    JsonLinesWriter,
    TrainingRun,
    data_mesh,
    make_eval_step,
    make_train_step,
    read_scalars,
    restore_for_sampling,
    train,
)

NUM_STEPS = 12


class KilledError(Exception):
    """Stands for a crash in the middle of a run."""


@pytest.fixture
def train_in(toy):
    """Trains in a folder as a fresh process would; returns the result and what was shown."""

    def run_it(workdir, num_devices=8, hooks=(), num_steps=NUM_STEPS, **options):
        stream = io.StringIO()
        writer = JsonLinesWriter(workdir / "metrics.jsonl")
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            run = TrainingRun(
                state=toy.state(),
                step=toy.step(),
                loader=toy.loader,
                key=toy.key,
                num_steps=num_steps,
                mesh=data_mesh(jax.devices()[:num_devices]),
                checkpoints=checkpoints,
                checkpoint_every=4,
                config={"lr": 0.05},
                log_every=3,
                writer=writer,
                evaluation=Evaluation(
                    every=4, step=toy.eval_step(), loader=toy.held_out, key=jax.random.key(1), num_batches=2
                ),
                hooks=tuple(hooks),
                stream=stream,
            )
            try:
                return train(replace(run, **options)), stream.getvalue()
            finally:
                writer.close()

    return run_it


def assert_identical(found, expected):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def curves(workdir):
    found = read_scalars(workdir / "metrics.jsonl")
    found.pop("steps_per_sec", None)
    return found


def assert_same_curves(found, expected):
    assert found.keys() == expected.keys() == {"loss", "grad_norm", "prediction", "eval_loss", "eval_prediction"}
    for name in expected:
        assert_identical(found[name], expected[name])


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    """The result and the folder of a run without interruptions, by number of devices."""
    return {}


@pytest.fixture
def reference(uninterrupted, train_in, tmp_path_factory):
    def by_devices(num_devices):
        if num_devices not in uninterrupted:
            workdir = tmp_path_factory.mktemp(f"reference{num_devices}")
            uninterrupted[num_devices] = train_in(workdir, num_devices)[0], workdir
        return uninterrupted[num_devices]

    return by_devices


@pytest.mark.parametrize(("num_devices", "stop_at"), [(1, 7), (8, 4), (8, 7), (8, 11)])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path, train_in, reference, num_devices, stop_at):
    expected, whole = reference(num_devices)

    def interrupt(state, step):
        if step == stop_at - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped, shown = train_in(tmp_path, num_devices, [Hook(every=1, run=interrupt)])
    assert (stopped.signum, int(stopped.state.step)) == (signal.SIGTERM, stop_at)
    assert f"stopped by SIGTERM at step {stop_at} of 12: saved in {tmp_path}" in shown
    resumed, shown = train_in(tmp_path, num_devices)
    assert f"found a checkpoint of step {stop_at}, going on to step 12" in shown
    assert resumed.signum is None
    assert_identical(resumed.state, expected.state)
    assert_same_curves(curves(tmp_path), curves(whole))


def test_a_signal_in_the_last_step_comes_too_late_to_stop_anything(tmp_path, train_in):
    def interrupt(state, step):
        os.kill(os.getpid(), signal.SIGTERM)

    result, shown = train_in(tmp_path, num_steps=4, hooks=[Hook(every=3, run=interrupt)])
    assert (int(result.state.step), result.signum) == (4, None)
    assert "stopped" not in shown


def test_a_crashed_run_repeats_what_was_not_saved(tmp_path, train_in, reference):
    expected, whole = reference(8)

    def crash(state, step):
        if step == 7:
            raise KilledError

    with pytest.raises(KilledError):
        train_in(tmp_path, 8, [Hook(every=1, run=crash)])
    assert list(curves(tmp_path)["loss"][0]) == [3, 6]
    resumed, shown = train_in(tmp_path, 8)
    assert "found a checkpoint of step 4" in shown
    assert_identical(resumed.state, expected.state)
    assert_same_curves(curves(tmp_path), curves(whole))


def test_the_number_of_devices_changes_nothing_but_rounding(reference):
    one, eight = reference(1)[0].state, reference(8)[0].state
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_run_begun_on_eight_devices_can_end_on_one(tmp_path, train_in, reference):
    train_in(tmp_path, 8, num_steps=4)
    resumed, _ = train_in(tmp_path, 1)
    for ours, theirs in zip(jax.tree.leaves(resumed.state), jax.tree.leaves(reference(8)[0].state), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_it_learns_and_logs_and_saves_when_it_should(reference):
    result, workdir = reference(8)
    found = curves(workdir)
    assert [list(found[name][0]) for name in ("loss", "eval_loss")] == [[3, 6, 9, 12], [4, 8, 12]]
    assert found["eval_loss"][1][-1] < found["eval_loss"][1][0]
    saved = restore_for_sampling(workdir / "checkpoints")
    assert (saved.step, saved.config) == (12, {"lr": 0.05})
    assert_identical(saved.ema_params, result.state.ema_params)


def test_the_held_out_loss_is_the_mean_over_fixed_batches_with_fixed_noise(reference, toy):
    result, workdir = reference(8)
    key = jax.random.key(1)
    losses = [
        toy.eval_step()(result.state, toy.held_out.batch(n), jax.random.fold_in(key, n))["loss"] for n in range(2)
    ]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(curves(workdir)["eval_loss"][1][-1], np.mean(losses), rtol=1e-5)


def test_a_complete_run_is_not_run_again(tmp_path, train_in):
    first, _ = train_in(tmp_path, num_steps=4)
    calls = []
    again, shown = train_in(tmp_path, num_steps=4, hooks=[Hook(every=1, run=lambda state, step: calls.append(step))])
    assert_identical(again.state, first.state)
    assert calls == [] and "complete" in shown


def test_hooks_see_the_state_of_their_step(tmp_path, train_in):
    seen = []
    hooks = [Hook(every=every, run=lambda state, step: seen.append((step, int(state.step)))) for every in (2, 3)]
    train_in(tmp_path, num_steps=6, hooks=hooks)
    assert seen == [(2, 2), (3, 3), (4, 4), (6, 6), (6, 6)]


@pytest.mark.parametrize("bad_row", ["logged", "saved"])
def test_stops_at_a_loss_that_is_not_finite_and_saves_nothing_new(tmp_path, train_in, toy, bad_row):
    data = np.array(toy.loader.array)
    data[toy.loader.rows(5)[0]] = np.nan  # the third epoch's first step comes after the first checkpoint
    first_bad = next(n for n in range(8) if np.isnan(toy_batch(toy, data, n)).any())
    options = {"log_every": 1, "checkpoint_every": 100} if bad_row == "logged" else {"log_every": 100}
    loader = Loader(array=data, batch_size=8, seed=1)
    with pytest.raises(FloatingPointError, match=r"the loss is nan .* at step \d+: .*; try a lower") as caught:
        train_in(tmp_path, loader=loader, **options)
    if bad_row == "logged":
        assert f"at step {first_bad + 1}:" in str(caught.value)
    assert "\n" not in str(caught.value)
    for path in (tmp_path / "checkpoints").glob("[0-9]*"):
        assert int(path.name) <= first_bad


def toy_batch(toy, data, step):
    return data[toy.loader.rows(step)]


def test_does_not_wait_for_the_device_at_every_step(tmp_path, train_in, monkeypatch):
    """Metrics are fetched at steps 3, 6, 9 and 12 for the log, and at 12 once more before the only checkpoint."""
    fetched = []
    original = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: fetched.append(None) or original(tree))
    train_in(tmp_path, checkpoint_every=1000)
    assert len(fetched) == 5


def test_needs_neither_checkpoints_nor_writers_nor_evaluation(toy):
    stream = io.StringIO()
    run = TrainingRun(
        state=toy.state(), step=toy.step(), loader=toy.loader, key=toy.key, num_steps=3, log_every=1, stream=stream
    )
    state = run.state
    result = train(run)
    assert int(result.state.step) == 3
    np.testing.assert_array_equal(state.params["b"], jnp.zeros(3))
    assert stream.getvalue().startswith("train: 1/3 steps")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_steps": -1}, "num_steps must be at least 0, not -1"),
        ({"log_every": 0}, "log_every must be at least 1, not 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1, not 0"),
        ({"loader": Loader(array=np.zeros((4, 3), np.float32), batch_size=6)}, "a batch of 6 cannot be split evenly"),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(toy, wrong, message):
    options = {"state": toy.state(), "step": toy.step(), "loader": toy.loader, "key": toy.key, "num_steps": 3}
    with pytest.raises(ValueError, match=message):
        TrainingRun(**{**options, **wrong})


def test_wrong_intervals_of_hooks_and_evaluations(toy):
    with pytest.raises(ValueError, match="every must be at least 1, not 0"):
        Hook(every=0, run=lambda state, step: None)
    with pytest.raises(ValueError, match="num_batches must be at least 1, not 0"):
        Evaluation(every=1, step=toy.eval_step(), loader=toy.held_out, key=toy.key, num_batches=0)


def test_noise_levels_that_no_example_has_are_not_logged_and_the_others_not_shown(tmp_path, train_in, toy):
    """A level of NaN is a level without examples; a progress line has no room for all the others."""

    def loss_fn(params, key, u, x):
        loss, _ = toy.loss_fn(params, key, u, x)
        return loss, {name_of(1.0): loss, name_of(2.0): jnp.nan * loss}

    step = make_train_step(loss_fn, toy.optimizer(), EMA(decay=0.9))
    held_out = {"loader": toy.held_out, "key": jax.random.key(1), "num_batches": 1}
    evaluation = Evaluation(every=2, step=make_eval_step(loss_fn), **held_out)
    _, shown = train_in(tmp_path, num_steps=2, log_every=1, step=step, evaluation=evaluation)
    found = read_scalars(tmp_path / "metrics.jsonl")
    assert {name_of(1.0), f"eval_{name_of(1.0)}", "loss", "eval_loss"} <= found.keys()
    assert not {name_of(2.0), f"eval_{name_of(2.0)}"} & found.keys()
    assert "eval_loss" in shown and "log_snr" not in shown
