"""Every public function, with every type of numbers: promoted by one rule, or refused in one line.

The rule is that of `score_sde.precision`. All types get the same two numbers, 1 and 0,
which all of them hold exactly: a result of float32 or longer must then be that of
float32 to the last digits, and a state may differ by the rounding of its own type
alone.
"""

import dataclasses
import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import CENTRED, SAMPLERS, SDES, SLOW, keys, shortened, slow_but, tuned, two_modes_score

import score_sde as ss
from score_sde.data import Scaling
from score_sde.experiments import tables
from score_sde.models import ClassLabel
from score_sde.objectives import ScoreMatching
from score_sde.precision import wide_dtype
from score_sde.sampling.latents import mean_square, with_temperature
from score_sde.sdes import ddpm_marginals

KEY = jax.random.key(5)
VP = SDES["vp"]
SCORE = two_modes_score(VP)
TYPES = ("int32", "uint8", "bool", "float16", "bfloat16", "float32")
TERNARY = ss.Bins(low=-1.0, width=2.0 / 3.0)

STATES = {
    "perturb": lambda x: ss.perturb(VP, x, 0.5, x),
    "denoise": lambda x: ss.denoise(VP, SCORE, x, 0.5),
    "slerp": lambda x: ss.slerp(x, x[::-1], 0.3),
    "with_temperature": lambda x: with_temperature(x, 0.7),
    "StaticThreshold": lambda x: ss.StaticThreshold(high=0.5)(x),
    "DynamicThreshold": lambda x: ss.DynamicThreshold(quantile=0.9, limit=0.3)(x),
    "simulate": lambda x: ss.simulate(KEY, VP, x, save_path=2),
    **{
        f"predictor-{name}": lambda x, step=step: step(KEY, VP, SCORE, x, 0.5, 0.4)
        for name, step in tables.FUNCTIONS["predictor"].items()
    },
    **{
        f"corrector-{name}": lambda x, step=step: step(KEY, VP, SCORE, x, 0.5, 0.4, snr=0.1)
        for name, step in tables.FUNCTIONS["corrector"].items()
    },
}
"""``x ->`` other states, which have the floating-point type of ``x``."""

NUMBERS = {
    **{f"drift-{name}": lambda x, sde=sde: sde.drift(x, 0.5) for name, sde in SDES.items()},
    "prior_log_prob": lambda x: ss.prior_log_prob(VP, x),
    "mean_square": lambda x: mean_square(VP, x),
    "reverse_drift": lambda x: ss.reverse_drift(VP, SCORE)(x, 0.5),
    "probability_flow": lambda x: ss.probability_flow(VP, SCORE)(x, 0.5),
    "thresholded": lambda x: ss.thresholded(VP, SCORE, ss.StaticThreshold())(x, 0.5),
    "bits_per_dim": lambda x: ss.bits_per_dim(x, 2, bin_width=0.1),
    "Bins": lambda x: TERNARY.at(x, 0.5),
    "UniformDequantizer": lambda x: ss.UniformDequantizer().sample(KEY, x),
    "TruncatedNormalDequantizer": lambda x: ss.TruncatedNormalDequantizer().sample(KEY, x),
    "VariationalDequantizer": lambda x: ss.VariationalDequantizer(
        flow=lambda params, noise, levels: (noise + levels, jnp.zeros((), jnp.bfloat16)), params={}
    ).sample(KEY, x),
    "importance_weighted_log_prob": lambda x: ss.importance_weighted_log_prob(
        KEY, x, lambda key, x: -jnp.sum(x**2), ss.UniformDequantizer(), bins=TERNARY, num_samples=3
    ),
    **{
        f"probes-{make.__name__}": lambda x, make=make: make().probes(KEY, x)
        for make in (ss.Hutchinson, ss.HutchPP)
    },
    "ExactTrace": lambda x: ss.ExactTrace().std_error(x),
    "std_error": lambda x: ss.Hutchinson().std_error(x),
    "variational_bound": lambda x: ss.variational_bound(KEY, VP, SCORE, x, num_times=3),
    "variational_bound-bins": lambda x: ss.variational_bound(
        KEY, VP, SCORE, x, num_times=3, bin_width=0.1
    ),
    "ddpm_vlb": lambda x: ss.ddpm_vlb(KEY, SCORE, ddpm_marginals(30), x),
    "make_score_fn": lambda x: ss.make_score_fn(
        VP, NETWORK, ss.NoisePrediction(), NETWORK.init(KEY)
    )(x, 0.5),
    "mixture": lambda x: (CENTRED.log_prob(VP, x, 0.5), CENTRED.score_fn(VP)(x, 0.5)),
}
"""``x ->`` numbers that are float32 at least: fields, losses, log probabilities."""

NETWORK = ss.ScoreNetwork(
    lambda key: {}, lambda params, x, t, **_: jnp.tanh(x * t[:, None]).astype(jnp.bfloat16)
)

LOSSES = {
    name: make for name, make in tables.OBJECTIVES.items() if isinstance(make(), ScoreMatching)
}
NUMBERS |= {
    f"loss-{name}": lambda x, make=make: make()(KEY, VP, SCORE, x) for name, make in LOSSES.items()
}
NUMBERS |= {
    "loss-classification": lambda x: tables.OBJECTIVES["classification"]()(
        KEY, VP, lambda x, t: jax.nn.log_softmax(jnp.stack([x[0], x[1], t])), x, 2
    ),
    "loss-dequantization": lambda x: tables.OBJECTIVES["dequantization"](num_times=2)(
        KEY, VP, SCORE, ss.UniformDequantizer(), x, TERNARY
    ),
}


def solving(name):
    """``(x, score) -> (states, numbers)`` of a sampler, in three steps."""
    sampler = shortened(tuned(SAMPLERS[name], "vp"), 3)
    return lambda x, score: (sampler.solve(KEY, VP, score, x, save_path=2)._replace(nfe=None), None)


def likelihood_of(x, score):
    found = ss.log_likelihood(KEY, VP, score, x, divergence=ss.ExactTrace())
    return found.latent, (found.log_prob, found.std_error)


SOLVES = {
    "encode": lambda x, score: (ss.encode(VP, score, x), None),
    "decode": lambda x, score: (ss.decode(VP, score, x), None),
    "decode-denoised": lambda x, score: (
        ss.decode(VP, score, x, sampler=ss.Heun(num_steps=3), denoise=True),
        None,
    ),
    **{f"decode-{name}": solving(name) for name in SAMPLERS},
    "solve_table": lambda x, score: (
        ss.solve_table(ss.DDIM(num_steps=3).solver_table(VP), score, x).x,
        None,
    ),
    "log_likelihood": likelihood_of,
}
"""``(x, score) -> (states, other numbers)``."""

KINDS = (
    "euler_maruyama",
    "exponential_shark",
    "adaptive_sde",
    "annealed_langevin",
    "ddim",
    "edm",
    "predictor_corrector",
)
ONE_OF_EACH_KIND = ("encode", "log_likelihood", *(f"decode-{name}" for name in KINDS))

OF_TIMES = {
    **{f"{name}-{method}": lambda t, sde=sde, method=method: getattr(sde, method)(t)
       for (name, sde), method in product(SDES.items(), ("marginal", "diffusion", "log_snr",
       "time_at"))
       if sde.t_max >= 1.0 or method != "diffusion"},  # which is infinite at the end
    "transition": lambda t: VP.transition(0.5 * t, t),
    "reverse_diffusion": lambda t: ss.reverse_diffusion(VP)(t),
    "perturb": lambda t: ss.perturb(VP, jnp.ones(2), t, jnp.ones(2)),
    "denoise": lambda t: ss.denoise(VP, SCORE, jnp.ones(2), t),
    "slerp": lambda t: ss.slerp(jnp.ones(2), jnp.arange(2.0), t),
    **{f"weighting-{name}": lambda t, weighting=weighting: weighting(VP, t)
       for name, weighting in tables.FUNCTIONS["weighting"].items()},
    **{f"time-{name}": lambda t, make=make: make()(0.25 * t, VP)
       for name, make in tables.VALUES["time_sampling"][0].items() if name != "importance"},
    "time-importance": lambda t: ss.ImportanceSampling()(t, VP),
    "loss": lambda t: ss.DenoisingScoreMatching().at_time(KEY, VP, SCORE, jnp.ones(2), t),
}  # fmt: skip
"""``t ->`` numbers that are float32 at least; all are asked at ``t = 1``."""

HAS_NO_NUMBERS = {
    # Settings of samplers, objectives, SDEs and divergences are plain Python numbers;
    # their methods are above.
    *(name for name in ss.__all__ if isinstance(getattr(ss, name), type)),
    # These take no arrays of examples.
    "build", "build_classifier", "build_dequantizer", "build_model", "config_from_reference",
    "default_sampler", "load", "load_classifier", "load_dequantizer", "prior_sample", "sample",
    "saved_config", "train", "fit", "sample_many", "mlp", "from_equinox", "from_linen", "from_nnx",
}  # fmt: skip


def given(dtype):
    return jnp.array([1, 0], dtype)


def state_type(dtype):
    """The type of a state that is made of numbers of a type."""
    return jnp.dtype(dtype) if jnp.issubdtype(dtype, jnp.floating) else jnp.zeros(()).dtype


def check_types(result, dtype, *, states):
    """States have their own type, all other numbers the type of the computation."""
    wanted = state_type(dtype) if states else wide_dtype(state_type(dtype))
    for leaf in jax.tree.leaves(result):
        assert leaf.dtype == wanted


def check_values(result, reference):
    for leaf, right in zip(jax.tree.leaves(result), jax.tree.leaves(reference), strict=True):
        eps = max(1e-5, float(jnp.finfo(leaf.dtype).eps))
        np.testing.assert_allclose(
            np.asarray(leaf, np.float64), np.asarray(right, np.float64), rtol=eps, atol=eps
        )


def test_every_public_function_has_a_line_here():
    listed = {name.partition("-")[0] for name in (*STATES, *NUMBERS, *SOLVES, *OF_TIMES)}
    assert set(ss.__all__) - HAS_NO_NUMBERS <= listed
    assert {f"decode-{name}" for name in tables.SAMPLERS} <= SOLVES.keys()
    assert {f"loss-{name}" for name in tables.OBJECTIVES} <= NUMBERS.keys()


@pytest.mark.parametrize("name", slow_but(STATES, *STATES.keys() - {"simulate"}))
def test_a_state_comes_back_in_its_own_type(name):
    reference = STATES[name](given("float32"))
    for dtype in TYPES:
        result = STATES[name](given(dtype))
        check_types(result, dtype, states=True)
        check_values(result, reference)


EXPENSIVE = (
    "variational_bound",
    "ddpm_vlb",
    "importance",
    "loss-explicit",
    "loss-sliced",
    "loss-deq",
    "loss-ddpm",
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=SLOW if n.startswith(EXPENSIVE) else ()) for n in NUMBERS]
)
def test_all_other_numbers_are_those_of_float32(name):
    reference = NUMBERS[name](given("float32"))
    for dtype in TYPES:
        result = NUMBERS[name](given(dtype))
        check_types(result, dtype, states=False)
        check_values(result, reference)


@pytest.mark.parametrize("name", [name for name in NUMBERS if name.startswith(EXPENSIVE)])
def test_all_other_numbers_are_float32(name):
    """Only traced, where they are compiled; the slow tier compares their values."""
    for dtype in ("int32", "bfloat16"):
        check_types(jax.eval_shape(NUMBERS[name], given(dtype)), dtype, states=False)


@pytest.mark.parametrize("name", OF_TIMES)
def test_times_of_every_type_are_those_of_float32(name):
    reference = OF_TIMES[name](jnp.float32(1.0))
    for t in (1, True, 1.0, *(jnp.ones((), dtype) for dtype in TYPES)):
        result = OF_TIMES[name](t)
        check_types(result, "float32", states=False)
        check_values(result, reference)


@pytest.mark.parametrize("name", slow_but(SOLVES, *ONE_OF_EACH_KIND))
def test_a_solve_takes_half_precision_and_its_score_sees_none(name):
    """Only traced: the types of the result, and of all arguments of the score."""
    seen = set()

    def score(x, t):
        seen.update([str(x.dtype), str(jnp.asarray(t).dtype)])
        return SCORE(x, t).astype(jnp.bfloat16)  # as a network that computes in half precision

    states, numbers = jax.eval_shape(lambda x: SOLVES[name](x, score), given("bfloat16"))
    check_types(states, "bfloat16", states=True)
    check_types(numbers, "bfloat16", states=False)
    assert seen == {"float32"}


@SLOW
@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("name", SOLVES)
def test_a_solve_takes_every_type(name, precise):
    """The numbers of float32, whatever the type; with float64 allowed, that of the
    state is the clock's too.
    """
    with jax.enable_x64(precise):
        default = jnp.zeros(()).dtype
        reference = jax.jit(lambda x: SOLVES[name](x, SCORE))(given(default))
        for dtype in (*TYPES, *(["float64"] if precise else [])):
            states, numbers = jax.jit(lambda x: SOLVES[name](x, SCORE))(given(dtype))
            check_types(states, dtype, states=True)
            check_types(numbers, dtype, states=False)
            if state_type(dtype) == default or not precise:
                check_values((states, numbers), reference)


@pytest.mark.parametrize("name", slow_but(SOLVES, "encode", "decode-ddim"))
def test_whole_numbers_are_solved_as_those_of_float32(name):
    both = jax.jit(lambda x, y: (SOLVES[name](x, SCORE), SOLVES[name](y, SCORE)))
    whole, reference = both(given("int32"), given("float32"))
    check_types(whole[0], "int32", states=True)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(whole[0]))
    check_values(whole, reference)


NUM = 4096


@pytest.mark.parametrize("name", slow_but(SAMPLERS, "ddim", "probability_flow"))
def test_400_steps_in_half_precision_are_those_of_float32(name):
    """bfloat16 latents of 4096 samples from N(0, 0.5^2): the state is float32 on its
    way, and rounded at its end.

    The standard deviation is within 5 standard errors, 0.028, of that of the marginal
    at ``t_min`` (one run in 2e6 fails), besides what 400 steps and the method's own
    bias are off by, at most 0.02 here.
    """
    sampler = tuned(SAMPLERS[name], "vp")
    few = {"num_steps": 20, "steps_each": 20} if name == "annealed_langevin" else {"num_steps": 400}
    sampler = dataclasses.replace(sampler, **few) if hasattr(sampler, "num_steps") else sampler
    score = CENTRED.score_fn(VP)

    def end(key, latent):
        return sampler.solve(key, VP, score, latent).x

    def solve(latents):
        return jax.vmap(end)(keys(2, NUM // 2), latents)

    latents = jax.random.normal(jax.random.key(1), (NUM // 2, 2)).astype(jnp.bfloat16)
    half, full = jax.jit(lambda x: (solve(x), solve(x.astype(jnp.float32))))(latents)
    assert half.dtype == jnp.bfloat16 and full.dtype == jnp.float32
    tolerance = 3e-2 if name == "adaptive_sde" else 2.0**-8  # where a last digit may change a step
    np.testing.assert_allclose(np.asarray(half, np.float32), full, rtol=tolerance, atol=tolerance)
    expected = math.hypot(
        *(part * std for part, std in zip(VP.marginal(VP.t_min), (0.5, 1.0), strict=True))
    )
    assert abs(np.std(np.asarray(half, np.float64)) - expected) < 0.028 + 0.02


@pytest.mark.parametrize("name", slow_but(SAMPLERS, "heun"))
def test_float64_stays_float64_and_so_does_its_clock(name):
    """Traced alone; a state of float32 keeps a clock of float32."""
    with jax.enable_x64(True):
        for dtype in ("float64", "float32"):
            seen = set()

            def score(x, t, seen=seen):
                seen.update([str(x.dtype), str(jnp.asarray(t).dtype)])
                return SCORE(x, t).astype(jnp.float64)

            states, _ = jax.eval_shape(
                lambda x, score=score: SOLVES[f"decode-{name}"](x, score), given(dtype)
            )
            check_types(states, dtype, states=True)
            assert seen == {dtype}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32"])
def test_a_sample_is_float32_whatever_the_score_is_in(dtype):
    drawn = jax.eval_shape(
        lambda key: ss.sample(key, VP, lambda x, t: x.astype(dtype), ss.Heun(num_steps=2), (2,)),
        KEY,
    )
    assert drawn.x.dtype == jnp.float32


def check_error(function, value):
    with pytest.raises(ValueError, match="two channels") as error:
        function(value)
    assert "\n" not in str(error.value) and "complex64" in str(error.value)


@pytest.mark.parametrize("name", [*STATES, *NUMBERS])
def test_complex_numbers_are_refused_in_one_line(name):
    check_error({**STATES, **NUMBERS}[name], given("complex64"))


@pytest.mark.parametrize("name", SOLVES)
def test_complex_states_of_solves_are_refused(name):
    check_error(lambda x: SOLVES[name](x, SCORE), given("complex64"))


@pytest.mark.parametrize("name", slow_but(SOLVES, "encode", "decode-ddim", "log_likelihood"))
def test_complex_scores_are_refused(name):
    check_error(
        lambda x: jax.eval_shape(lambda x: SOLVES[name](x, lambda x, t: x + 1j), x),
        given("float32"),
    )


@pytest.mark.parametrize(
    "name", sorted(OF_TIMES.keys() - {"brownian-diffusion"})
)  # the same at all times
def test_complex_times_are_refused(name):
    check_error(OF_TIMES[name], jnp.complex64(1.0))


def test_what_is_no_number_is_refused():
    for function in (STATES["perturb"], NUMBERS["prior_log_prob"], STATES["denoise"]):
        with pytest.raises(ValueError, match="must be real numbers, not key<"):
            function(keys(0, 2))
    network = NETWORK._replace(condition=ClassLabel(num_classes=2))
    with pytest.raises(ValueError, match=r"takes a class label from 0 to 1, got float32\[\]"):
        ss.make_score_fn(VP, network, ss.NoisePrediction(), {}, condition=jnp.float32(1.5))


@pytest.mark.parametrize("dtype", ["int32", "bfloat16", "float16"])
def test_networks_take_every_type(dtype):
    """Whole numbers come out as float32, not as whole numbers."""
    network = tables.NETWORKS["mlp"]((2,), hidden_sizes=(4,), embedding_dim=4)
    params = network.init(KEY)
    out = network.apply(params, given(dtype)[None], jnp.ones(1, dtype))
    assert out.dtype == state_type(dtype)
    with pytest.raises(ValueError, match="two channels"):
        network.apply(params, given("complex64")[None], jnp.ones(1))


def test_levels_of_images_in_half_precision_equal_those_in_float32():
    """A middle of a bin near 1 is no number of bfloat16: its level is that of the
    nearest one that is.
    """
    scaling = Scaling(num_levels=256)
    levels = jnp.arange(256, dtype=jnp.uint8)
    middles = scaling.to_model(KEY, levels).astype(jnp.bfloat16)
    np.testing.assert_array_equal(
        scaling.to_data(middles), scaling.to_data(middles.astype(jnp.float32))
    )
    check_error(lambda x: scaling.to_model(KEY, x), given("complex64"))
