"""Every function of the maths core in every mode of JAX in which a user may run it: no
error, and the same numbers.

The modes are the checks of ``jax_debug_nans``, ``jax_debug_infs`` and
``jax_enable_checks``, strict promotion of types, no promotion of ranks, 64 bits, legacy
keys, and ``jax.shard_map`` with its default checks. `test_transformations` has all
functions inside ``shard_map``.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from contracts import test_dtypes, test_networks, test_optimizers, test_transformations
from jax.sharding import Mesh, PartitionSpec
from oracles import SDES, SLOW, two_modes_score

import score_sde as ss
from score_sde.experiments.tables import OPTIMIZERS
from score_sde.models import coupling_flow, wideresnet
from score_sde.sdes import ddpm_marginals

MODES = {
    "debug_nans": lambda: jax.debug_nans(True),
    "debug_infs": lambda: jax.debug_infs(True),
    "enable_checks": lambda: jax.enable_checks(True),
    "strict_promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "no_rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
    "x64": lambda: jax.enable_x64(True),
    "legacy_keys": contextlib.nullcontext,
}

VP, KEY = SDES["vp"], jax.random.key(0)
X = np.array([0.6, -0.4], np.float32)
NETWORK = ss.mlp((2,), hidden_sizes=(8,), embedding_dim=4)
PARAMS = test_networks.randomized(NETWORK)

ONE_OF_EACH = {
    "sample": lambda key: ss.sample(
        key, VP, two_modes_score(VP), ss.Heun(num_steps=2), (2,), save_path=2
    ),
    "likelihood": lambda key: ss.log_likelihood(
        key, VP, two_modes_score(VP), X, rtol=1e-2, atol=1e-2
    ),
    "bound": lambda key: ss.variational_bound(
        key, VP, two_modes_score(VP), np.array([-1.0, 1.0], np.float32), num_times=3, bin_width=0.1
    ),
    "loss": lambda key: ss.DenoisingScoreMatching()(
        key, VP, ss.make_score_fn(VP, NETWORK, ss.NoisePrediction(), PARAMS), X
    ),
}
"""``key -> result``; the bound has bins that reach to infinity."""


def of_network(make, *args):
    def run(key):
        network = make()
        return network.apply(network.init(key), *(jnp.asarray(arg, jnp.float32) for arg in args))

    return run


def updates_of(name):
    def run(key):
        del key
        params = test_optimizers.params()
        optimizer = OPTIMIZERS[name](lr=1e-3, warmup=10, grad_clip=1.0, weight_decay=0.01)
        return optimizer.update(params, optimizer.init(params), params)[0]

    return run


LABELS, IMAGES = np.array([1.0, 2.0]), np.linspace(-1.0, 1.0, 128).reshape(2, 8, 8, 1)
EVERYTHING = {
    **{
        name: lambda key, f=f: f(key, np.full(test_transformations.SHAPE, 0.3, np.float32))
        for name, f in test_transformations.FUNCTIONS.items()
    },
    **{
        name: lambda key, f=f: f(X)
        for name, f in (test_dtypes.STATES | test_dtypes.NUMBERS).items()
    },
    **{f"time-{name}": lambda key, f=f: f(0.5) for name, f in test_dtypes.OF_TIMES.items()},
    **{
        f"solve-{name}": lambda key, f=f: f(X, test_dtypes.SCORE)
        for name, f in test_dtypes.SOLVES.items()
    },
    **{
        f"network-{name}": of_network(
            lambda network=network: network, IMAGES[:, :4, :4] if name != "mlp" else np.eye(2),
            LABELS,
        )
        for name, network in test_networks.TINY.items()
    },
    "network-wideresnet": of_network(
        lambda: wideresnet((8, 8, 1), blocks_per_group=1, channel_multiplier=1, embedding_dim=4),
        IMAGES, LABELS,
    ),
    "network-coupling_flow": of_network(
        lambda: coupling_flow((8, 8, 1), channels=4, num_couplings=2), IMAGES, IMAGES
    ),
    "ddpm_vlb-terms": lambda key: ss.ddpm_vlb(
        key, two_modes_score(VP), ddpm_marginals(30), X, num_terms=4
    ),
    **{f"optimizer-{name}": updates_of(name) for name in OPTIMIZERS},
}  # fmt: skip
"""All contracts: SDEs, samplers, objectives, likelihoods, networks, optimizers."""


@pytest.fixture(autouse=True)
def quick_compilation():
    with tiny.quick_compilation():
        yield


@functools.cache
def plain(table, name):
    """The result in no mode."""
    return numbers(jax.jit(table_of(table)[name])(KEY))


def table_of(name):
    return {"one": ONE_OF_EACH, "all": EVERYTHING}[name]


def numbers(result):
    """The arrays of a result that are known: NaN stands for the others, or None."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(result)]
    return [leaf for leaf in leaves if not np.isnan(leaf).all()]


def over_devices(function):
    """A function of one row, for eight rows on as many devices."""
    mesh, spec = Mesh(np.array(jax.devices()), ("devices",)), PartitionSpec("devices")
    return jax.shard_map(
        lambda rows: jax.tree.map(lambda leaf: leaf[None], function(rows[0])),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
    )


def check(mode, table, name, *, jitted=True):
    function = table_of(table)[name]
    make_key = jax.random.PRNGKey if mode == "legacy_keys" else jax.random.key
    with MODES[mode]():
        found = numbers((jax.jit(function) if jitted else function)(make_key(0)))
    for ours, reference in zip(found, plain(table, name), strict=True):
        if mode == "x64":  # draws other numbers
            assert ours.shape == reference.shape and np.isfinite(ours).all()
        else:
            np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("mode", MODES)
def test_one_sample_likelihood_bound_and_loss_in_each_mode(mode, name):
    check(mode, "one", name)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_one_sample_likelihood_bound_and_loss_in_shard_map_with_its_checks(name):
    sharded = jax.jit(over_devices(ONE_OF_EACH[name]))
    found = numbers(sharded(jnp.stack([KEY] * 8)))
    for ours, reference in zip(found, plain("one", name), strict=True):
        np.testing.assert_allclose(ours, np.stack([reference] * 8), rtol=1e-4, atol=1e-5)


@SLOW
@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("mode", MODES)
def test_all_contracts_in_each_mode(mode, name):
    check(mode, "all", name)


@SLOW
@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("mode", ["debug_nans", "debug_infs"])
def test_every_single_operation_is_finite(mode, name):
    """Without jit the two modes see the results of all operations, not of the whole."""
    check(mode, "all", name, jitted=False)


def test_a_gradient_of_a_solve_in_shard_map_with_its_checks_is_refused():
    """It would lack the sum over the devices."""

    def log_prob(x):
        options = {"differentiate": "reverse", "max_steps": 16}
        return ss.log_likelihood(KEY, VP, two_modes_score(VP), x, **options).log_prob

    with pytest.raises(RuntimeError, match="only with check_vma=False"):
        jax.eval_shape(over_devices(jax.grad(log_prob)), jnp.ones((8, 2)))
