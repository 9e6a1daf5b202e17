"""Tables as arrays: the sampler's own numbers, derivatives and batches of them."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from oracles import SDES, SLOW, two_modes_score

import score_sde as ss

SDE = SDES["vp"]
SCORE, LATENT = two_modes_score(SDE), np.array([0.3, -1.2])
CASES = [
    (ss.DPMSolverPP(num_steps=3), ("times", "weights", "decay")),
    pytest.param(ss.UniPC(num_steps=3), ("times", "correction"), marks=SLOW),
    pytest.param(ss.DPMSolver(num_steps=2), ("times", "ends"), marks=SLOW),
    pytest.param(ss.DiscreteDDIM(num_steps=3), ("time", "image"), marks=SLOW),
    pytest.param(ss.DDIM(num_steps=3, eta=1.0), ("times", "noise_std"), marks=SLOW),
    pytest.param(ss.EDM(num_steps=3, churn=2.0), ("times", "noise_std"), marks=SLOW),
]
KEY = jax.random.key(0)


@pytest.mark.parametrize(("sampler", "names"), CASES)
def test_a_table_gives_the_sample_of_its_sampler_with_exact_derivatives_and_in_batches(
    sampler, names
):
    """Gradients in reverse mode against central differences, in float64; and two tables at
    once.
    """
    with jax.enable_x64(True):
        table, latent = sampler.solver_table(SDE), jnp.asarray(LATENT)

        @jax.jit
        def loss(parts):
            changed = dataclasses.replace(table, **parts)
            return jnp.sum(jnp.sin(ss.solve_table(changed, SCORE, latent, key=KEY).x))

        parts = {name: getattr(table, name) for name in names}
        gradients = jax.jit(jax.grad(loss))(parts)
        for name, part in parts.items():
            step = jnp.zeros_like(part).at[(1,) + (0,) * (part.ndim - 1)].set(1e-6)
            ends = [loss(parts | {name: part + sign * step}) for sign in (1, -1)]
            along = float(jnp.sum(gradients[name] * step)) / 1e-6
            assert abs(along) > 1e-6
            np.testing.assert_allclose(along, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-8)
        both = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), table)
        x = jax.jit(jax.vmap(lambda table: ss.solve_table(table, SCORE, latent, key=KEY).x))(both)
        whole = jax.jit(lambda: sampler.solve(KEY, SDE, SCORE, latent))()
        np.testing.assert_allclose(x[0], whole.x, rtol=1e-9)
        assert not np.isclose(x[0], x[1]).any()


def test_a_table_with_noise_needs_a_key():
    table = ss.DDIM(num_steps=2, eta=1.0).solver_table(SDE)
    with pytest.raises(ValueError, match="give solve_table a key"):
        ss.solve_table(table, SCORE, jnp.ones(2))


@SLOW
def test_forward_and_reverse_mode_agree():
    with jax.enable_x64(True):
        table = ss.DPMSolverPP(num_steps=3).solver_table(SDE)

        def loss(weights, differentiate):
            changed = dataclasses.replace(table, weights=weights)
            x = ss.solve_table(changed, SCORE, jnp.asarray(LATENT), differentiate=differentiate).x
            return jnp.sum(jnp.sin(x))

        tangent = jnp.ones_like(table.weights)
        gradient = jax.jit(jax.grad(lambda w: loss(w, "reverse")))(table.weights)
        _, along = jax.jit(lambda w: jax.jvp(lambda w: loss(w, "forward"), (w,), (tangent,)))(
            table.weights
        )
        np.testing.assert_allclose(along, jnp.sum(gradient * tangent), rtol=1e-9)


def test_an_unknown_mode_of_derivatives_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    table = ss.DPMSolverPP(num_steps=2).solver_table(SDE)
    with pytest.raises(ValueError, match="differentiate='both' must be one of forward, reverse"):
        ss.solve_table(table, SCORE, jnp.ones(2), differentiate="both")


def test_noise_of_a_brownian_path_is_refused():
    with pytest.raises(ValueError, match="path=tree must be indexed, because a table"):
        ss.DDIM(num_steps=2, eta=1.0, path="tree").solver_table(SDE)
