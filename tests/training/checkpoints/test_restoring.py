"""A run that resumes with another optimizer: what it keeps, and what starts anew."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.training import (
    Checkpoints,
    adam,
    device_mesh,
    init_state,
    lion,
    muon,
    place,
    renewed,
    schedule_free,
)
from score_sde.training.checkpoints.manifest import CheckpointError

PARAMS = {"matrix": jnp.arange(8.0).reshape(2, 4), "bias": jnp.ones(3)}


def trained(optimizer):
    """A state after five updates by constant gradients."""
    state = init_state(PARAMS, optimizer, num_averages=1)
    gradients, params = jax.tree.map(jnp.ones_like, PARAMS), state.params
    opt_state = state.opt_state
    for _ in range(5):
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return state._replace(step=jnp.int32(5), params=params, opt_state=opt_state)


def restored(folder, state, optimizer, notes):
    """The state that a run with ``optimizer`` resumes with from a checkpoint of ``state``."""
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(state, config={})
        checkpoints.wait()
        target = place(device_mesh(), init_state(PARAMS, optimizer, num_averages=1))
        return checkpoints.restore(target, note=notes.append, renew=partial(renewed, optimizer))


WARM = {"lr": 0.1, "warmup": 10}
SAVED = "parameters, averages and step are unchanged"
CHANGES = {
    "no warm-up": (adam(lr=0.1, warmup=0), f"its state is carried over; {SAVED}"),
    "lion": (lion(**WARM), f"3 of the 4 arrays of its state start anew; {SAVED}"),
    "muon": (muon(**WARM), f" of its state start anew; {SAVED}"),
    "schedule-free": (schedule_free(**WARM), f" of its state start anew; {SAVED}"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_all_but_the_optimizer_is_kept(name, tmp_path):
    optimizer, note = CHANGES[name]
    state, notes = trained(adam(**WARM)), []
    found = restored(tmp_path, state, optimizer, notes)
    assert len(notes) == 1 and notes[0].endswith(note)
    kept = found._replace(opt_state=None), state._replace(opt_state=None)
    jax.tree.map(np.testing.assert_array_equal, *kept)
    expected = renewed(optimizer, state)
    assert jax.tree.structure(found.opt_state) == jax.tree.structure(expected)
    if name == "no warm-up":
        expected = (expected[0], state.opt_state[1], *expected[2:])
    jax.tree.map(np.testing.assert_array_equal, found.opt_state, expected)


def test_a_new_warm_up_and_decay_are_at_the_step_of_the_run(tmp_path):
    state, notes = trained(adam(lr=0.1, warmup=0)), []
    optimizer = adam(lr=0.1, warmup=2, decay="linear", decay_steps=8)
    found = restored(tmp_path, state, optimizer, notes)
    assert "1 of the 6 arrays of its state start anew" in notes[0]
    assert int(found.opt_state[3].count) == 5
    updates, _ = optimizer.update(PARAMS, found.opt_state, found.params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))


def test_an_optimizer_with_other_numbers_changes_nothing(tmp_path):
    state, notes = trained(adam(**WARM)), []
    found = restored(tmp_path, state, adam(lr=1.0, warmup=3, weight_decay=0.1, eps=1.0), notes)
    jax.tree.map(np.testing.assert_array_equal, found, state)
    assert not notes


def test_without_renew_and_for_other_parameters_it_is_an_error(tmp_path):
    state = trained(adam(**WARM))
    other = init_state({"bias": jnp.ones(3)}, adam(**WARM), num_averages=1)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config={})
        with pytest.raises(CheckpointError, match="does not fit this config: opt_state/3/count is"):
            checkpoints.restore(init_state(PARAMS, adam(lr=0.1, warmup=0), num_averages=1))
        with pytest.raises(CheckpointError, match=r"ema_params/matrix is .* there and missing"):
            checkpoints.restore(other, renew=partial(renewed, adam(**WARM)))
