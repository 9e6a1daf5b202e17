"""Drawing many samples: exactly as many as asked for, in the order of their index,
whatever the batches and devices.
"""

import jax
import numpy as np
import pytest
import tiny
from hypothesis import given, strategies as st
from oracles import SLOW

from score_sde import VPSDE, EulerMaruyama, Inpainting, ProbabilityFlow, sample, sample_many
from score_sde.evaluation.generation import (
    AXIS,
    even_batch_size,
    generate,
    index_keys,
    make_draw,
    over_devices,
)
from score_sde.experiments.settings import SamplingOptions
from score_sde.sampling import StaticThreshold

SDE, STEPS, KEY = VPSDE(), EulerMaruyama(num_steps=5), jax.random.key(3)


def score_fn_of(params):
    return lambda x, t: -params["scale"] * x


PARAMS = {"scale": np.float32(1.0)}


def model_of(score_fn_of=score_fn_of, **parts):
    return tiny.model_of(SDE, score_fn_of, (3,), **{"sampler": STEPS, **parts})


@pytest.fixture(scope="module")
def draw():
    return make_draw(model_of())


def drawn(draw, num_samples, batch_size):
    batches = list(generate(draw, PARAMS, KEY, num_samples, batch_size))
    return [len(batch.x) for batch in batches], np.concatenate([batch.x for batch in batches])


@pytest.mark.parametrize(
    ("num_samples", "batch_size"),
    [
        (1, 1),
        (17, 8),
        *(
            pytest.param(*case, marks=SLOW)
            for case in ((5, 8), (16, 8), (20, 16), (20, 3), (7, 256))
        ),
    ],
)
def test_there_are_num_samples_in_the_order_of_their_index(num_samples, batch_size, draw):
    sizes, samples = drawn(draw, num_samples, batch_size)
    assert sum(sizes) == len(samples) == num_samples and max(sizes) <= batch_size
    wanted = drawn(draw, 24, 24)[1]
    np.testing.assert_allclose(samples, wanted[:num_samples], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_a_sample_depends_on_its_own_key(draw):
    samples = drawn(draw, 9, 9)[1]
    alone = sample(jax.random.fold_in(KEY, 7), SDE, score_fn_of(PARAMS), STEPS, (3,))
    np.testing.assert_allclose(samples[7], alone.x, rtol=1e-5, atol=1e-6)
    assert (index_keys(KEY, np.arange(5, 9))[2] == jax.random.fold_in(KEY, 7)).all()


def test_results_are_numpy_arrays_with_evaluations_and_path():
    draw = make_draw(model_of(drawing=SamplingOptions(denoise=False)), save_path=4)
    (batch,) = generate(draw, PARAMS, KEY, 5, 8)
    assert isinstance(batch.x, np.ndarray) and batch.x.shape == (5, 3)
    assert batch.path.shape == (5, 4, 3) and (batch.path[:, -1] == batch.x).all()
    assert batch.nfe.tolist() == [5] * 5


def test_all_batches_are_one_program_and_parameters_are_its_argument():
    traces = []

    def counting(params):
        traces.append(1)
        return score_fn_of(params)

    draw = make_draw(model_of(counting))
    list(generate(draw, PARAMS, KEY, 20, 8))
    list(generate(draw, {"scale": np.float32(2.0)}, KEY, 8, 8))
    assert len(traces) == 1


def test_samples_are_split_over_the_devices(draw):
    assert len(jax.devices()) == 8
    assert len(draw(PARAMS, index_keys(KEY, np.arange(16)), None).x.sharding.device_set) == 8
    keys = index_keys(KEY, np.arange(9))
    assert over_devices(keys) is keys


def test_a_sampler_may_couple_the_samples_of_a_batch():
    sampler = ProbabilityFlow(rtol=1e-2, atol=1e-2, axis_name=AXIS)
    (batch,) = generate(make_draw(model_of(sampler=sampler)), PARAMS, KEY, 8, 8)
    assert np.isfinite(batch.x).all() and len(set(batch.nfe.tolist())) == 1


@pytest.mark.parametrize(
    "sampler", [EulerMaruyama(num_steps=60), ProbabilityFlow(rtol=1e-3, atol=1e-3)]
)
@pytest.mark.parametrize("num_samples", [16, pytest.param(9, marks=SLOW)])
def test_a_batch_on_all_devices_or_one_reports_rising_progress(sampler, num_samples):
    told = []
    draw = make_draw(model_of(), sampler=sampler, progress=told.append)
    for _ in range(2):
        told.clear()
        jax.block_until_ready(draw(PARAMS, index_keys(KEY, np.arange(num_samples)), None))
        jax.effects_barrier()
        assert (
            told == sorted(told)
            and 3 <= len(told) <= 60
            and told[0] >= 0.0
            and 0.8 < told[-1] <= 1.0
        )


def test_a_threshold_bounds_the_samples():
    low, high = -0.1, 0.2
    draw = make_draw(
        model_of(drawing=SamplingOptions(threshold=StaticThreshold(low=low, high=high)))
    )
    (batch,) = generate(draw, PARAMS, KEY, 8, 8)
    assert low - 1e-5 <= batch.x.min() and 0.1 < batch.x.max() <= high + 1e-5


@given(st.integers(1, 500), st.integers(1, 300))
def test_batches_are_equal_few_and_not_too_large(total, largest):
    size = even_batch_size(total, largest)
    assert 1 <= size <= max(largest, 1)
    assert -(-total // size) <= -(-total // largest)
    if largest >= 8 and largest % 8 == 0:
        assert size % 8 == 0


def test_many_samples_satisfy_one_projection():
    model = model_of(params=PARAMS)
    mask = np.array([1, 0, 0])
    for value in (0.25, -1.5):
        y = np.array([value, np.nan, np.nan], np.float32)
        known = Inpainting(sde=SDE, y=y, mask=mask)
        drawn = sample_many(KEY, model, 6, batch=4, projection=known)
        np.testing.assert_array_equal(drawn[:, 0], value)
        one = model.draw(PARAMS, index_keys(KEY, np.arange(5, 6))[0], projection=known).x
        np.testing.assert_allclose(drawn[5], one, rtol=1e-5)
    assert len(np.unique(drawn[:, 1])) == 6
