"""The training loop: interruptions, roll-backs, hooks, and the same numbers however it runs."""

import functools
import io
import os
import signal
import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.objectives.noise_levels import name_of
from score_sde.runtime.watchdog import Watchdog
from score_sde.training import (
    EMA,
    Checkpoints,
    Evaluation,
    Hook,
    JsonLinesWriter,
    MultiWriter,
    TrainingRun,
    device_mesh,
    loop,
    make_eval_step,
    make_train_step,
    read_scalars,
    restore_for_sampling,
    train,
)
from score_sde.training.health import Health
from score_sde.training.speed import Speed
from score_sde.training.tracking.metrics import MetricWriter

NUM_STEPS = 12


class KilledError(BaseException):
    """Stands for a crash in the middle of a run."""


@pytest.fixture
def train_in(toy):
    """Trains in a folder as a fresh process would; returns the result and what was shown."""

    def run_it(workdir, num_devices=8, hooks=(), num_steps=NUM_STEPS, keep=2, **options):
        stream = io.StringIO()
        writer = JsonLinesWriter(workdir / "metrics.jsonl")
        with Checkpoints(workdir / "checkpoints", keep_last=keep) as checkpoints:
            run = TrainingRun(
                state=toy.state(),
                step=toy.step(),
                loader=toy.loader,
                key=toy.key,
                num_steps=num_steps,
                mesh=device_mesh(jax.devices()[:num_devices]),
                checkpoints=checkpoints,
                checkpoint_every=4,
                config={"lr": 0.05},
                log_every=3,
                writer=writer,
                evaluation=Evaluation(
                    every=4,
                    step=toy.eval_step(),
                    loader=toy.held_out,
                    key=jax.random.key(1),
                    num_batches=2,
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
    return {name: curve for name, curve in found.items() if name not in Speed.METRICS}


def assert_same_curves(found, expected):
    assert (
        found.keys()
        == expected.keys()
        == {"loss", "grad_norm", "prediction", "eval_loss", "eval_prediction"}
    )
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
def test_an_interrupted_run_resumes_bit_for_bit(
    tmp_path, train_in, reference, num_devices, stop_at
):
    expected, whole = reference(num_devices)

    def interrupt(state, step):
        if step == stop_at - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped, shown = train_in(tmp_path, num_devices, [Hook(every=1, run=interrupt)])
    assert (stopped.signum, int(stopped.state.step)) == (signal.SIGTERM, stop_at)
    assert f"stopped by SIGTERM at step {stop_at} of 12: saved in {tmp_path}" in shown
    resumed, shown = train_in(tmp_path, num_devices)
    assert f"found a checkpoint of step {stop_at}, resuming until step 12" in shown
    assert resumed.signum is None
    assert_identical(resumed.state, expected.state)
    assert_same_curves(curves(tmp_path), curves(whole))


def test_a_signal_in_the_last_step_has_no_effect(tmp_path, train_in):
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
    for ours, theirs in zip(
        jax.tree.leaves(resumed.state), jax.tree.leaves(reference(8)[0].state), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_it_learns_logs_and_saves_at_its_intervals(reference):
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
        toy.eval_step()(result.state, toy.held_out.batch(n), jax.random.fold_in(key, n))["loss"]
        for n in range(2)
    ]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(curves(workdir)["eval_loss"][1][-1], np.mean(losses), rtol=1e-5)


def test_a_complete_run_makes_no_further_step(tmp_path, train_in):
    first, _ = train_in(tmp_path, num_steps=4)
    calls = []
    again, shown = train_in(
        tmp_path, num_steps=4, hooks=[Hook(every=1, run=lambda state, step: calls.append(step))]
    )
    assert_identical(again.state, first.state)
    assert calls == [] and "complete" in shown


def test_hooks_see_the_state_of_their_step(tmp_path, train_in):
    seen = []
    hooks = [
        Hook(every=every, run=lambda state, step: seen.append((step, int(state.step))))
        for every in (2, 3)
    ]
    train_in(tmp_path, num_steps=6, hooks=hooks)
    assert seen == [(2, 2), (3, 3), (4, 4), (6, 6), (6, 6)]


def test_the_images_of_a_hook_are_written_with_the_metrics(tmp_path, train_in):
    class Images(MultiWriter):
        def write_images(self, step, images):
            shown.append((step, images))

    shown, image = [], np.zeros((2, 2, 3))
    hooks = [
        Hook(every=2, run=lambda state, step: {"samples": image + step}),
        Hook(every=1, run=lambda state, step: None),
    ]
    train_in(tmp_path, num_steps=5, hooks=hooks, writer=Images())
    assert [step for step, _ in shown] == [2, 4]
    for step, images in shown:
        np.testing.assert_array_equal(images["samples"], image + step)


def spoilt(toy, steps):
    """The toy's loader with nothing finite in the batches of these positions."""

    class Spoilt:
        batch_size = toy.loader.batch_size

        def close(self):
            pass

        def batch(self, step, part=slice(None)):
            batch = toy.loader.batch(step, part)
            return batch._replace(x=np.full_like(batch.x, np.nan)) if step in steps else batch

    return Spoilt()


def test_an_update_that_is_not_finite_is_skipped_and_reported(tmp_path, train_in, toy):
    seen = {}
    hooks = [Hook(every=1, run=lambda state, step: seen.update({step: jax.device_get(state)}))]
    result, shown = train_in(tmp_path, hooks=hooks, loader=spoilt(toy, {5}), log_every=1)
    assert_identical(
        (seen[6].params, seen[6].ema_params, seen[6].opt_state),
        (seen[5].params, seen[5].ema_params, seen[5].opt_state),
    )
    assert shown.count("is skipped") == 1
    assert (
        "step 6 is skipped: the loss is nan and the norm of its gradient nan, which is not finite "
        "in b first" in shown
    )
    assert (int(seen[6].skipped), int(seen[7].skipped), int(result.state.position)) == (1, 0, 12)
    assert np.isnan(curves(tmp_path)["loss"][1]).tolist() == [step == 6 for step in range(1, 13)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.state))


def test_nothing_is_saved_between_skipped_updates(tmp_path, train_in, toy):
    train_in(tmp_path, loader=spoilt(toy, {3, 4}))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [8, 12]
    train_in(tmp_path / "other", loader=spoilt(toy, {7, 8}), num_steps=11, keep=5)
    with Checkpoints(tmp_path / "other" / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [4, 10, 11]


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_diverged_run_is_rolled_back_and_resumes_with_later_data(
    tmp_path, train_in, toy, log_every
):
    """Three bad batches follow the checkpoint of step 4, from which the run resumes with the
    batches after them.
    """
    options = {"max_skipped": 3, "log_every": log_every}
    result, shown = train_in(tmp_path, loader=spoilt(toy, {5, 6, 7}), **options)
    assert "3 updates in a row, to step 8, were skipped" in shown
    assert "rolled back to step 4, resuming with other data" in shown
    assert (int(result.state.step), int(result.state.position)) == (12, 16)

    class Rest:
        batch_size = 8

        def close(self):
            pass

        def batch(self, step, part=slice(None)):
            return toy.loader.batch(step if step < 4 else step + 4, part)

    expected, _ = train_in(tmp_path / "other", loader=Rest(), log_every=log_every)
    assert_identical(result.state._replace(position=0), expected.state._replace(position=0))
    assert_same_curves(curves(tmp_path), curves(tmp_path / "other"))


def test_a_rolled_back_run_that_is_interrupted_resumes_with_the_same_data(tmp_path, train_in, toy):
    options = {"max_skipped": 3, "loader": spoilt(toy, {5, 6, 7})}
    expected, _ = train_in(tmp_path / "whole", **options)

    def interrupt(state, step):
        if step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    train_in(tmp_path / "parts", hooks=[Hook(every=1, run=interrupt)], **options)
    resumed, shown = train_in(tmp_path / "parts", **options)
    assert "found a checkpoint of step 10" in shown
    assert_identical(resumed.state, expected.state)


def test_a_run_that_diverges_again_and_again_stops_with_one_line(tmp_path, train_in, toy):
    with pytest.raises(FloatingPointError) as caught:
        train_in(tmp_path, loader=spoilt(toy, range(5, 1000)), max_skipped=2, max_taken_back=2)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(
        "2 updates in a row, to step 6, were skipped: in the last, the loss is nan"
    )
    assert line.endswith(
        "not finite in b first: the last checkpoint is of step 4; try a lower learning rate"
    )
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [4]
    with pytest.raises(FloatingPointError, match="there is no checkpoint; try"):
        train_in(tmp_path / "other", loader=spoilt(toy, range(1000)), max_skipped=2)


def test_a_step_is_dispatched_before_the_one_before_has_ended(tmp_path, train_in, toy, monkeypatch):
    """Where nothing is logged or saved, the metrics that are read are those of the step before."""
    events = []
    compiled = loop.compile_steps

    def recorded(*args, **options):
        steps = compiled(*args, **options)

        def run(state, batches, key):
            state, metrics = steps(state, batches, key)
            events.append(("made", len(events)))
            return state, metrics

        return run

    monkeypatch.setattr(loop, "compile_steps", recorded)
    original = Health.check_now

    def check_now(self):
        if self._waiting is not None:
            events.append(("read", self._waiting[0]))
        return original(self)

    monkeypatch.setattr(Health, "check_now", check_now)
    train_in(tmp_path, checkpoint_every=1000, log_every=1000, evaluation=None)
    order = [name for name, _ in events]
    assert order == ["made", *["made", "read"] * 11, "read"]
    assert [step for name, step in events if name == "read"] == list(range(1, 13))


@pytest.mark.parametrize("n_jitted_steps", [2, 4])
def test_several_steps_in_one_dispatch_are_the_same_steps(
    tmp_path, train_in, reference, n_jitted_steps
):
    expected, whole = reference(8)
    result, _ = train_in(tmp_path, n_jitted_steps=n_jitted_steps)
    found, wanted = curves(tmp_path), curves(whole)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name][0], wanted[name][0])
        np.testing.assert_allclose(found[name][1], wanted[name][1], rtol=1e-5)
    for ours, theirs in zip(
        jax.tree.leaves(result.state), jax.tree.leaves(expected.state), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_run_of_single_steps_resumes_with_several_in_one_dispatch(tmp_path, train_in, reference):
    train_in(tmp_path, num_steps=5)
    result, _ = train_in(tmp_path, n_jitted_steps=4)
    for ours, theirs in zip(
        jax.tree.leaves(result.state), jax.tree.leaves(reference(8)[0].state), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_data_that_cannot_be_read_are_named(tmp_path, train_in, toy):
    class Broken:
        batch_size = 8

        def close(self):
            pass

        def batch(self, step, part=slice(None)):
            if step == 6:
                raise ValueError("photos/17.png is not a PNG or JPEG image")
            return toy.loader.batch(step, part)

    with pytest.raises(
        OSError, match=r"^batch 6 cannot be read: photos/17.png is not a PNG or JPEG image$"
    ):
        train_in(tmp_path, loader=Broken())
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps() == [4, 6]  # all steps whose data could be read


@pytest.mark.parametrize("failing", ["hook", "first hook", "evaluation", "metrics"])
def test_an_error_between_two_checkpoints_loses_no_step(
    tmp_path, train_in, toy, reference, failing
):
    def fail(*arguments):
        raise RuntimeError("no such luck")

    class Broken:
        batch_size, batch, close = toy.held_out.batch_size, fail, fail

    class Full(MetricWriter):
        rewind, write_images = MultiWriter().rewind, fail
        write_scalars = fail

    options = {
        "hook": {"hooks": [Hook(every=7, run=fail)]},
        "first hook": {"hooks": [Hook(every=7, run=fail, first=True)]},
        "evaluation": {
            "evaluation": Evaluation(every=7, step=toy.eval_step(), loader=Broken(), key=toy.key)
        },
        "metrics": {"writer": Full(), "evaluation": None, "log_every": 7},
    }
    with pytest.raises(RuntimeError, match="no such luck"):
        train_in(tmp_path, **options[failing])
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 7
    result, _ = train_in(tmp_path)
    assert_identical(result.state, reference(8)[0].state)


def test_an_error_whose_state_cannot_be_saved_is_raised_as_it_is(tmp_path, train_in, monkeypatch):
    def fail(state, step):
        raise RuntimeError("no such luck")

    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(RuntimeError, match="no such luck"):
        train_in(tmp_path, hooks=(Hook(every=3, run=fail),))


def test_a_run_does_not_resume_with_other_random_keys(tmp_path, train_in):
    train_in(tmp_path, num_steps=4)
    with pytest.raises(
        ValueError, match=r"of a run with the key threefry2x32:\[0, 7\], this run has .*\[0, 8\]"
    ):
        train_in(tmp_path, key=jax.random.key(8))


def test_a_checkpoint_that_never_arrives_is_a_hang(tmp_path, train_in, monkeypatch, capsys):
    """Here the end of the process is the end of the wait."""
    train_in(tmp_path, num_steps=4)
    restore, ended = Checkpoints.restore, threading.Event()
    monkeypatch.setattr(
        Checkpoints,
        "restore",
        lambda self, *args, **kw: ended.wait(60) and restore(self, *args, **kw),
    )
    monkeypatch.setattr(loop, "Watchdog", functools.partial(Watchdog, end=ended.set))
    result, _ = train_in(tmp_path, num_steps=5, hang_timeout=0.5, hang_dump=tmp_path / "hang.txt")
    line = (
        "while restoring the last checkpoint: the stacks of all threads are in "
        f"{tmp_path / 'hang.txt'}\n"
    )
    assert int(result.state.step) == 5 and capsys.readouterr().err.endswith(line)


def test_needs_neither_checkpoints_nor_writers_nor_evaluation(toy):
    stream = io.StringIO()
    run = TrainingRun(
        state=toy.state(),
        step=toy.step(),
        loader=toy.loader,
        key=toy.key,
        num_steps=3,
        log_every=1,
        stream=stream,
    )
    state = run.state
    result = train(run)
    assert int(result.state.step) == 3
    np.testing.assert_array_equal(state.params["b"], jnp.zeros(3))
    assert stream.getvalue().startswith("train: 1/3 steps")


def test_noise_levels_that_no_example_has_are_not_logged_and_the_others_not_shown(
    tmp_path, train_in, toy
):
    """A level of NaN is a level without examples; a progress line has no room for all
    the others.
    """

    def loss_fn(*args):
        loss, _ = toy.loss_fn(*args)
        return loss, {name_of(1.0): loss, name_of(2.0): jnp.nan * loss}

    step = make_train_step(loss_fn, toy.optimizer(), EMA(decay=0.9))
    held_out = {"loader": toy.held_out, "key": jax.random.key(1), "num_batches": 1}
    evaluation = Evaluation(every=2, step=make_eval_step(loss_fn), **held_out)
    _, shown = train_in(tmp_path, num_steps=2, log_every=1, step=step, evaluation=evaluation)
    found = read_scalars(tmp_path / "metrics.jsonl")
    assert {name_of(1.0), f"eval_{name_of(1.0)}", "loss", "eval_loss"} <= found.keys()
    assert not {name_of(2.0), f"eval_{name_of(2.0)}"} & found.keys()
    assert "eval_loss" in shown and "log_snr" not in shown
