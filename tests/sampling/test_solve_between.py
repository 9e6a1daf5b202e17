"""A solve from anywhere: two that meet are the whole one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SAMPLERS, SDES, SLOW, VARIANTS, shortened, slow_but, two_modes_score

import score_sde as ss

SDE, KEY = SDES["vp"], jax.random.key(3)
SCORE, LATENT = two_modes_score(SDE), jnp.array([0.3, -1.2, 0.7])
ALL = {**SAMPLERS, **VARIANTS}
MULTISTEP = {
    "adams_bashforth", "dpm_solver_pp", "sde_dpm_solver_pp", "unipc", "deis", "ipndm", "er_sde",
    "default", "adams_bashforth_sde", "dpm_solver_pp_3",
}  # fmt: skip
ADAPTIVE = {"probability_flow", "probability_flow_dopri5", "adaptive_sde"}
SCALED = ("edm", "restart", "dpm_solver", "exponential_shark", "edm_churn", "dpm_solver_3")
"""They carry ``x`` times a factor: where two solves meet it is rounded once more."""


def in_two(sampler, at):
    first = sampler.solve(KEY, SDE, SCORE, LATENT, t_stop=at)
    second = sampler.solve(KEY, SDE, SCORE, first.x, t_start=at)
    return second.x, first.nfe + second.nfe


@pytest.mark.parametrize(
    "name", slow_but([n for n in ALL if n not in MULTISTEP | ADAPTIVE], "heun", "predictor_alone")
)
def test_two_solves_that_meet_at_a_node_are_the_whole_one(name):
    sampler = shortened(ALL[name], 6)
    at = float(sampler.times(SDE)[2]) if hasattr(sampler, "times") else sampler.part(SDE).times[2]
    whole, (x, nfe) = jax.jit(
        lambda: (sampler.solve(KEY, SDE, SCORE, LATENT), in_two(sampler, float(at)))
    )()
    assert int(whole.nfe) == int(nfe)
    if name in SCALED:
        np.testing.assert_allclose(x, whole.x, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(x, whole.x)


@SLOW
@pytest.mark.parametrize("name", sorted(ADAPTIVE))
def test_adaptive_solves_that_meet_are_the_whole_one_to_tolerance(name):
    whole, (x, _) = jax.jit(
        lambda: (ALL[name].solve(KEY, SDE, SCORE, LATENT), in_two(ALL[name], 0.4))
    )()
    np.testing.assert_allclose(x, whole.x, atol=1e-2 if name == "adaptive_sde" else 5e-4)


@pytest.mark.parametrize(
    ("start", "stop", "match"),
    [
        (0.2, 0.5, "t_start=0.2 must be above t_stop=0.5"),
        (0.5, 0.5, "must be above"),
        (2.0, None, "t_start=2 must lie from t_min=0.001 to t_max=1"),
        (None, 0.0, "t_stop=0 must lie from"),
        (float("nan"), None, "t_start=nan must lie from"),
    ],
)
@pytest.mark.parametrize("name", ["heun", "ddim", "discrete_ddim", "probability_flow"])
def test_times_that_do_not_fall_or_are_out_of_range_are_refused(name, start, stop, match):
    with pytest.raises(ValueError, match=match) as error:
        ALL[name].solve(KEY, SDE, SCORE, LATENT, t_start=start, t_stop=stop)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ALL)
def test_a_traced_time_is_refused(name):
    solve = lambda t: ALL[name].solve(KEY, SDE, SCORE, LATENT, t_start=t).x  # noqa: E731
    with pytest.raises(ValueError, match="known when the program is traced") as error:
        jax.eval_shape(solve, 0.5)
    assert "\n" not in str(error.value)


def test_a_variation_starts_from_the_perturbed_example():
    """The first frame is ``alpha x_init + sigma z``, with the prior's own ``z``."""
    sampler, x_init = ss.Heun(num_steps=6), jnp.array([1.0, -1.0])
    drawn = jax.jit(
        lambda: ss.sample(
            KEY, SDE, SCORE, sampler, (2,), x_init=x_init, t_start=0.4, save_path=2, denoise=False
        )
    )()
    z = jax.random.normal(jax.random.split(KEY)[0], (2,))
    np.testing.assert_allclose(drawn.path[0], ss.perturb(SDE, x_init, 0.4, z), rtol=1e-5)
    assert int(drawn.nfe) < 12 and np.isfinite(drawn.x).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"t_start": 0.5}, "give x_init too"),
        ({"x_init": jnp.ones(2)}, "x_init needs t_start"),
        (
            {"x_init": jnp.ones(3), "t_start": 0.5},
            r"x_init has shape \(3,\), and the sample \(2,\)",
        ),
    ],
)
def test_half_a_variation_is_refused(options, match):
    with pytest.raises(ValueError, match=match) as error:
        ss.sample(KEY, SDE, SCORE, ss.Heun(num_steps=2), (2,), **options)
    assert "\n" not in str(error.value)
