"""Many samples, drawn and published without a command; and progress within a batch."""

import dataclasses
import io

import jax
import numpy as np
import pytest
import tiny

from score_sde import ProbabilityFlow, sample
from score_sde.evaluation.samples import (
    LONG_BATCH,
    _Reports,
    draw_missing,
    is_long,
    publish,
    shards_of,
)
from score_sde.evaluation.shared_work import remaining
from score_sde.experiments.loading import load
from score_sde.runtime.progress import ProgressBar


@pytest.mark.parametrize("parts", [[0.1, 0.5, 1.0], [0.5, 0.1, 1.0, 0.9], [], [0.7]])
def test_the_bar_never_moves_back_and_ends_with_the_batch(parts):
    shown = []

    class Bar(ProgressBar):
        def update(self, done, **fields):
            shown.append((done, fields["batch"]))
            super().update(done, **fields)

    bar = Bar("sample", 20, unit="samples", stream=io.StringIO())
    reports = _Reports()
    for start, size in ((0, 8), (8, 8), (16, 4)):
        reports.begin(bar, size)
        for part in parts:
            reports(part)
            assert start <= bar.done <= start + size
        reports.end()
        assert bar.done == start + size
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)
    assert shown[-1] == (20, "100%")
    if 0.5 in parts:
        assert (4, "50%") in shown and (12, "50%") in shown


def test_only_a_long_batch_reports_its_progress():
    model = load(tiny.toy_run())
    num_params = sum(np.size(leaf) for leaf in jax.tree.leaves(model.params))
    fits = LONG_BATCH // (num_params * model.sampler.num_steps)
    assert not is_long(model, fits) and is_long(model, fits + 1)
    adaptive = dataclasses.replace(model, sampler=ProbabilityFlow())
    assert not is_long(adaptive, 1) and is_long(adaptive, LONG_BATCH)


def test_samples_are_drawn_and_published_without_a_command(tmp_path, capsys):
    model, key = load(tiny.toy_run()), jax.random.key(3)
    shards = shards_of(model, key, tmp_path)
    with tiny.quick_compilation():
        draw_missing(model, remaining(shards, 5), key)
        parts = model.sde, model.score_fn, model.sampler, model.shape
        alone = sample(jax.random.fold_in(key, 4), *parts, **model.drawing.options)
    found = publish(model, shards, 5, tmp_path / "samples.npz")
    assert (found.num_samples, found.head.shape) == (5, (5, 2))
    np.testing.assert_allclose(found.head[4], model.scaling.to_data(alone.x), rtol=1e-5, atol=1e-5)
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as file:
        assert (file["samples"] == found.head).all()
    assert "sample: 5/5 samples" in capsys.readouterr().err
