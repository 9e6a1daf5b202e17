"""Every public function of the maths core, under every transformation: the same numbers.

One reference, ``jit(vmap(f))`` over 8 samples, against other batch sizes, ``pmap`` and
``shard_map`` over 8 devices. In float32 they agree to the last digits; adaptive steps
are compared in float64, because an error estimate next to the tolerance is on either
side of it by the last digit of float32.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from oracles import SAMPLERS, SDES, SLOW, keys, shortened, slow_but, tuned, two_modes_score

from score_sde.divergence import ExactTrace, Hutchinson, HutchPP
from score_sde.likelihood.bound import variational_bound
from score_sde.likelihood.dequantization import UniformDequantizer, importance_weighted_log_prob
from score_sde.likelihood.discrete_bound import ddpm_vlb
from score_sde.likelihood.flow import log_likelihood
from score_sde.objectives import DenoisingScoreMatching
from score_sde.sampling import ProbabilityFlow, decode, encode, sample
from score_sde.sampling.latents import slerp
from score_sde.sdes import ddpm_marginals
from score_sde.sdes.simulation import simulate

SHAPE = (2, 2, 1)


def drawing(name):
    """``(key, x) -> sample``; the SDEs of the table in turn."""
    sde_name = list(SDES)[list(SAMPLERS).index(name) % len(SDES)]
    sde, sampler = SDES[sde_name], shortened(tuned(SAMPLERS[name], sde_name), 6)
    return lambda key, x: sample(key, sde, two_modes_score(sde), sampler, SHAPE, save_path=2)


def likelihood_with(divergence, sde):
    return lambda key, x: log_likelihood(key, sde, two_modes_score(sde), x, divergence=divergence)


FUNCTIONS = {
    **{f"sample-{name}": drawing(name) for name in SAMPLERS},
    "log_likelihood-hutchinson": likelihood_with(Hutchinson(num_probes=3), SDES["vp"]),
    "log_likelihood-exact": likelihood_with(ExactTrace(), SDES["ve"]),
    "log_likelihood-chunks": likelihood_with(ExactTrace(chunk_size=3), SDES["vp"]),
    "log_likelihood-hutchpp": likelihood_with(HutchPP(num_probes=2, sketch_size=1), SDES["edm"]),
    "log_likelihood-checked": lambda key, x: log_likelihood(
        key, SDES["vp"], two_modes_score(SDES["vp"]), x, check_tolerance=True
    ),
    "importance_weighted": lambda key, x: importance_weighted_log_prob(
        key,
        (4.0 + x).astype(int),
        lambda key, x: -(x**2).sum(),
        UniformDequantizer(),
        num_samples=3,
    ),
    "variational_bound": lambda key, x: variational_bound(
        key, SDES["subvp"], two_modes_score(SDES["subvp"]), x, num_times=5, chunk_size=2
    ),
    "ddpm_vlb": lambda key, x: ddpm_vlb(
        key, two_modes_score(SDES["vp"]), ddpm_marginals(30), x, bin_width=0.1
    ),
    "encode": lambda key, x: encode(SDES["subvp"], two_modes_score(SDES["subvp"]), x),
    "decode": lambda key, x: decode(SDES["subvp"], two_modes_score(SDES["subvp"]), x),
    "simulate": lambda key, x: simulate(key, SDES["subvp"], x, save_path=2),
    "slerp": lambda key, x: slerp(x, jax.random.normal(key, x.shape), 0.3),
    "denoising": lambda key, x: DenoisingScoreMatching()(
        key, SDES["vp"], two_modes_score(SDES["vp"]), x
    ),
    "denoising-gradient": lambda key, x: jax.grad(
        lambda factor: DenoisingScoreMatching()(
            key, SDES["ve"], lambda x, t: factor * two_modes_score(SDES["ve"])(x, t), x
        )
    )(jnp.ones_like(x)),  # of a replicated number, shard_map would add up the gradients
}
"""``(key, x) -> result`` of one sample."""

ADAPTIVE = ("sample-probability_flow", "sample-adaptive_sde", "log_likelihood", "encode", "decode")

FAST = ("sample-predictor_corrector", "sample-probability_flow", "denoising-gradient")


class Case(NamedTuple):
    """A function, its arguments, ``jit(vmap(function))`` and what that returns."""

    function: Callable[..., Any]
    arguments: Any
    batched: Callable[..., Any]
    reference: Any
    precise: bool

    def precision(self):
        return jax.enable_x64(self.precise)


@pytest.fixture(scope="module", params=slow_but(FUNCTIONS, *FAST))
def case(request):
    function, precise = FUNCTIONS[request.param], request.param.startswith(ADAPTIVE)
    batched = jax.jit(jax.vmap(function))
    with jax.enable_x64(precise):
        arguments = keys(0, 8), jax.random.normal(jax.random.key(1), (8, *SHAPE))
        return Case(function, arguments, batched, jax.device_get(batched(*arguments)), precise)


def assert_same(actual, expected):
    """Equal to the last digits; floating point is not associative, and XLA may fuse
    another batch in another order.
    """
    for ours, reference in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        tolerance = 1e-9 if np.asarray(reference).dtype == np.float64 else 1e-5
        np.testing.assert_allclose(ours, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", [pytest.param(1, marks=SLOW), 3])
def test_a_sample_is_the_same_in_any_batch(case, size):
    last = slice(8 - size, None)
    with case.precision():
        part = case.batched(*(argument[last] for argument in case.arguments))
    assert_same(part, jax.tree.map(lambda leaf: leaf[last], case.reference))


def test_a_sample_is_the_same_by_itself(case):
    with case.precision():
        alone = jax.jit(case.function)(*(argument[5] for argument in case.arguments))
    assert_same(alone, jax.tree.map(lambda leaf: leaf[5], case.reference))


def test_pmap_over_eight_devices_gives_the_same(case):
    assert jax.device_count() == 8
    with case.precision():
        assert_same(jax.pmap(case.function)(*case.arguments), case.reference)


def sharding():
    return NamedSharding(Mesh(np.array(jax.devices()), ("devices",)), PartitionSpec("devices"))


@pytest.mark.parametrize("jitted", [True, pytest.param(False, marks=SLOW)])
@pytest.mark.parametrize("check_vma", [True, pytest.param(False, marks=SLOW)])
def test_shard_map_over_eight_devices_gives_the_same(case, check_vma, jitted):
    mesh, spec = sharding().mesh, sharding().spec
    sharded = jax.shard_map(
        jax.vmap(case.function), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check_vma
    )
    run = jax.jit(sharded) if jitted else sharded
    with case.precision():
        assert_same(run(*jax.device_put(case.arguments, sharding())), case.reference)


@SLOW
def test_jit_with_sharded_arguments_gives_the_same(case):
    with case.precision():
        assert_same(case.batched(*jax.device_put(case.arguments, sharding())), case.reference)


@SLOW
@pytest.mark.parametrize("transformation", ["pmap", "shard_map"])
def test_steps_are_coupled_over_devices(transformation):
    """With ``axis_name`` of a device axis, all samples take the steps of the worst one."""
    sde = SDES["vp"]
    draw = lambda key: sample(  # noqa: E731
        key, sde, two_modes_score(sde), ProbabilityFlow(axis_name="devices"), (2,)
    )
    reference = jax.jit(jax.vmap(draw, axis_name="devices"))(keys(0, 8))
    if transformation == "pmap":
        result = jax.pmap(draw, axis_name="devices")(keys(0, 8))
    else:
        mesh, spec = sharding().mesh, sharding().spec
        lift = lambda keys: jax.tree.map(lambda leaf: leaf[None], draw(keys[0]))  # noqa: E731
        result = jax.jit(jax.shard_map(lift, mesh=mesh, in_specs=spec, out_specs=spec))(keys(0, 8))
    assert len(set(np.asarray(result.nfe).tolist())) == 1
    np.testing.assert_allclose(result.x, reference.x, atol=1e-3)
