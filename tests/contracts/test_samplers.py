"""What every sampler promises, whatever is inside."""

import dataclasses
from itertools import cycle, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    SAMPLERS,
    SDES,
    SLOW,
    STOCHASTIC,
    VARIANTS,
    keys,
    shortened,
    slow_but,
    tuned,
    two_modes_score,
)

from score_sde.experiments import tables
from score_sde.sampling import (
    PredictorCorrector,
    ProbabilityFlow,
    Sample,
    Sampler,
    langevin,
    sample,
)
from score_sde.sdes import prior_sample
from score_sde.sdes.reverse import denoise as tweedie

SHAPE = (2, 3, 1)
ALL = {**SAMPLERS, **VARIANTS}
ON_GRID = [name for name, sampler in ALL.items() if hasattr(sampler, "num_steps")]


def short(name, sde_name):
    """The sampler with 5 steps, where it has any."""
    return shortened(tuned(ALL[name], sde_name), 5)


def product_of_all():
    """Every sampler of the table with every SDE, and other options with one; in the
    fast tier one SDE for each.
    """
    fast = list(zip(SAMPLERS, cycle(SDES), strict=False))
    slow = dict.fromkeys([*product(SAMPLERS, SDES), *zip(VARIANTS, cycle(SDES), strict=False)])
    return [
        *(pytest.param(*case) for case in fast),
        *(pytest.param(*c, marks=SLOW) for c in slow if c not in fast),
    ]


@pytest.mark.parametrize(("name", "sde_name"), product_of_all())
def test_one_sample_counts_its_evaluations_and_is_traced_once(name, sde_name):
    """``nfe`` against the calls at run time; equal SDEs and samplers, as static
    arguments, share one program.
    """
    sde, calls, traces = SDES[sde_name], [], []
    exact = two_modes_score(sde)

    def score(x, t):
        traces.append(1)
        jax.debug.callback(lambda: calls.append(1))
        return exact(x, t)

    draw = jax.jit(sample, static_argnums=(1, 2, 3, 4), static_argnames=("denoise", "save_path"))
    drawn = jax.block_until_ready(
        draw(jax.random.key(0), sde, score, short(name, sde_name), SHAPE, save_path=3)
    )
    jax.effects_barrier()
    assert len(calls) == int(drawn.nfe)
    traced = len(traces)
    again = draw(
        jax.random.key(1),
        dataclasses.replace(sde),
        score,
        dataclasses.replace(short(name, sde_name)),
        SHAPE,
        save_path=3,
    )
    assert len(traces) == traced <= 12
    assert not np.isclose(again.x, drawn.x).any()
    assert drawn.x.shape == SHAPE and drawn.x.dtype == jnp.float32 and np.isfinite(drawn.x).all()
    assert jnp.shape(drawn.nfe) == () and jnp.issubdtype(drawn.nfe.dtype, jnp.integer)
    # Three frames: the latent first, the end of the solve last, from which Tweedie's
    # formula makes the sample.
    assert drawn.path.shape == (3, *SHAPE) and np.isfinite(drawn.path).all()
    prior_key, _ = jax.random.split(jax.random.key(0))
    np.testing.assert_allclose(drawn.path[0], prior_sample(prior_key, sde, SHAPE), rtol=1e-5)
    last = drawn.path[-1]
    end = (
        last
        if short(name, sde_name).ends_at_data
        else jax.jit(lambda x: tweedie(sde, exact, x, sde.t_min))(last)
    )
    np.testing.assert_allclose(drawn.x, end, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_without_save_path_there_is_no_path(name):
    """Not run, only traced: shapes for vectors too."""
    sde = SDES["vp"]
    drawn = jax.eval_shape(
        lambda key: sample(key, sde, two_modes_score(sde), short(name, "vp"), (4,), denoise=False),
        jax.random.key(0),
    )
    assert drawn.path is None and drawn.x.shape == (4,) and drawn.nfe.shape == ()


@pytest.mark.parametrize("name", ALL)
def test_only_stochastic_samplers_need_a_key(name):
    sde, latent = SDES["vp"], jnp.ones(2)
    solve = lambda latent: short(name, "vp").solve(None, sde, two_modes_score(sde), latent).x  # noqa: E731
    if name.startswith(STOCHASTIC):
        with pytest.raises(ValueError, match="is stochastic: give it a key") as error:
            solve(latent)
        assert "\n" not in str(error.value) and type(ALL[name]).__name__ in str(error.value)
    else:
        assert jax.eval_shape(solve, latent).shape == (2,)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_hashable_values(name):
    make = tables.SAMPLERS[name]
    assert make() == make() and hash(make()) == hash(make())
    changed = (
        {"nfe": 7} if name == "default" else {"num_steps": 7} if name in ON_GRID else {"rtol": 1e-3}
    )
    assert make(**changed) != make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().num_steps = 3


@pytest.mark.parametrize(
    "name",
    slow_but(ON_GRID, "predictor_corrector"),
)
def test_a_fixed_grid_is_differentiable_in_the_parameters_of_the_score(name):
    """The derivative of a draw by a factor of the score, by forward mode, against a
    central difference in float64.
    """
    sde, sampler = SDES["vp"], short(name, "vp")

    def end(factor):
        score = lambda x, t: factor * two_modes_score(sde)(x, t)  # noqa: E731
        return sample(jax.random.key(0), sde, score, sampler, (2,)).x

    with jax.enable_x64(True):
        pair = jax.jit(lambda factor: jax.jvp(end, (factor,), (1.0,)))
        derivative = pair(1.0)[1]
        difference = (pair(1.0 + 1e-5)[0] - pair(1.0 - 1e-5)[0]) / 2e-5
    assert np.abs(derivative).max() > 1e-3
    np.testing.assert_allclose(derivative, difference, rtol=1e-5, atol=1e-8)


def test_coupled_samples_take_the_same_steps():
    """``axis_name`` of the adaptive flow: one number of evaluations for all, and the
    same samples within tolerance.
    """
    sde = SDES["vp"]
    alone, coupled = (
        jax.jit(
            jax.vmap(
                lambda key, s=s: sample(key, sde, two_modes_score(sde), s, (2,)), axis_name="batch"
            )
        )(keys(0, 6))
        for s in (ProbabilityFlow(), ProbabilityFlow(axis_name="batch"))
    )
    assert len(set(alone.nfe.tolist())) > 1
    assert len(set(coupled.nfe.tolist())) == 1 and int(coupled.nfe[0]) > 0.8 * int(alone.nfe.max())
    np.testing.assert_allclose(coupled.x, alone.x, atol=5e-3)


@SLOW
def test_the_coupled_corrector_lets_a_sample_depend_on_its_batch():
    sde, sampler = (
        SDES["ve"],
        PredictorCorrector(num_steps=3, corrector=langevin, axis_name="batch"),
    )
    draw = jax.jit(
        jax.vmap(
            lambda key: sample(key, sde, two_modes_score(sde), sampler, (2,)).x, axis_name="batch"
        )
    )
    many, few = draw(keys(0, 6)), draw(keys(0, 6)[:2])
    assert np.isfinite(many).all() and not np.isclose(many[:2], few).any()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halved(Sampler):
    """Half the latent, by a `solve` of its own."""

    def solve(self, key, sde, score_fn, latent, *, save_path=0, progress=None):
        return Sample(0.5 * latent, jnp.asarray(0), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shrunk(Sampler):
    """The latent times ``start``, by the method `integrate`."""

    def integrate(self, problem):
        return Sample(problem.start * problem.latent, jnp.asarray(0), None)


def test_a_sampler_of_a_user_defines_integrate_or_overrides_solve():
    """`sample` passes ``t_start`` and a projection only where they are given."""
    sde, key = SDES["vp"], jax.random.key(0)
    latent = prior_sample(jax.random.split(key)[0], sde, (2,))
    halved = sample(key, sde, two_modes_score(sde), Halved(), (2,), denoise=False)
    np.testing.assert_array_equal(halved.x, 0.5 * latent)
    half = latent.astype(jnp.bfloat16)
    shrunk = Shrunk().solve(key, sde, two_modes_score(sde), half, t_start=0.25)
    assert shrunk.x.dtype == jnp.bfloat16 and (shrunk.x == 0.25 * half).all()
    with pytest.raises(NotImplementedError, match="Sampler defines neither integrate nor solve"):
        Sampler().solve(key, sde, two_modes_score(sde), latent)
