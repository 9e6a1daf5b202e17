"""Every network with every parameterization and SDE is finite or an error of one line, and
depends on its time label.
"""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import slow_but

from score_sde.experiments.tables import (
    CLASSIFIERS,
    FLOWS,
    FUNCTIONS,
    NETWORKS,
    PARAMETERIZATIONS,
    SDES,
)
from score_sde.models import (
    coupling_flow,
    ddpm,
    make_score_fn,
    mlp,
    ncsn,
    ncsnpp,
    ncsnv2,
    unet,
    wideresnet,
)
from score_sde.models.labels import check_labels
from score_sde.parameterization import NoisePrediction, noise_level
from score_sde.sdes import VPSDE

SHAPE = (4, 4, 1)
PLAIN = {"ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": (), "dropout": 0.0}
LEVELS = {"num_scales": 25}
POSITIONAL = {"embedding_type": "positional"}
TINY = {
    "mlp": mlp((2,), hidden_sizes=(8,), embedding_dim=4),
    "unet": unet(SHAPE, channels=4, channel_mult=(1,)),
    "unet_fourier": unet(SHAPE, channels=4, channel_mult=(1,), embedding="fourier"),
    "ddpm": ddpm(SHAPE, nf=32, **PLAIN),
    "ddpm_levels": ddpm(SHAPE, nf=32, scale_by_sigma=True, **LEVELS, **PLAIN),
    "ncsnpp": ncsnpp(SHAPE, nf=4, **PLAIN),
    "ncsnpp_divided": ncsnpp(SHAPE, nf=4, scale_by_sigma=True, **PLAIN),
    "ncsnpp_positional": ncsnpp(SHAPE, nf=4, **POSITIONAL, **PLAIN),
    "ncsnpp_levels": ncsnpp(SHAPE, nf=4, scale_by_sigma=True, **POSITIONAL, **LEVELS, **PLAIN),
    "ncsn": ncsn(SHAPE, nf=2, **LEVELS),
    "ncsnv2": ncsnv2(SHAPE, nf=2, **LEVELS),
}
"""Networks by name and options; a network with a table of levels needs the time label of
``discrete_score`` with as many levels.
"""

COUNTED = ("ddpm_levels", "ncsnpp_levels", "ncsn", "ncsnv2")


def randomized(network):
    """Parameters without the zeros of initialisation, so that every layer keeps its
    scale; nothing is compiled.
    """
    rng = np.random.default_rng(0)
    abstract = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape) * scale_of(leaf), leaf.dtype),
        abstract,
    )


def scale_of(leaf):
    """``fan_in^-1/2`` of a matrix or a kernel, 1/2 of a vector."""
    return np.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.5


def parameterizations():
    """Each parameterization with each time label that has an effect."""
    for name, make in PARAMETERIZATIONS.items():
        if name.startswith("discrete_"):
            yield f"{name}_25", make(num_scales=25)
            yield name, make()
        else:
            for label, function in FUNCTIONS["time_label"].items():
                yield f"{name}_{label}", make(time_label=function)


def makes_no_sense(network, parameterization):
    """Whether labels are no indices of the table, or have no logarithm, or divide as
    logarithms.
    """
    if network in COUNTED:
        return parameterization != "discrete_score_25"
    if network.startswith("ncsnpp") and network != "ncsnpp_positional":
        divided_by_logarithm = network == "ncsnpp_divided" and parameterization.endswith(
            "log_noise_to_signal"
        )
        is_index = parameterization.startswith("discrete_") or parameterization.endswith(
            "step_index"
        )
        return is_index or divided_by_logarithm
    return False


def refusal(function, *args, **options):
    """The error of a combination, in one line, or None."""
    try:
        function(*args, **options)
    except ValueError as error:
        assert "\n" not in str(error)
        return str(error)
    return None


def test_every_network_of_the_table_is_tested_here():
    assert {name.partition("_")[0] for name in TINY} == set(NETWORKS)


CASES = {f"{name}-{sde}": (name, sde) for name in TINY for sde in SDES}


@pytest.mark.parametrize("case", slow_but(CASES, "ncsnpp-vp", "ncsnpp_divided-edm"))
def test_every_combination_is_finite_or_an_error_of_one_line(case):
    """At the first time, the last time and between, with random parameters.

    A training checks more: a model of an earlier version may have been trained with
    labels of the wrong kind, as long as they are in the table of its levels.
    """
    name, sde_name = CASES[case]
    network, sde = (
        TINY[name]._replace(apply=jax.jit(TINY[name].apply, static_argnames="train")),
        SDES[sde_name](),
    )
    params, x = randomized(network), jnp.ones((2,) if name == "mlp" else SHAPE)
    for other, parameterization in parameterizations():
        if refusal(make_score_fn, sde, network, parameterization, params):
            assert makes_no_sense(name, other), other
            continue
        times = jnp.array([sde.t_min, 0.01, 0.5 * sde.t_max, sde.t_max])
        score_fn = make_score_fn(sde, network, parameterization, params)
        assert np.isfinite(jax.vmap(score_fn, (None, 0))(x, times)).all(), other


@pytest.mark.parametrize("sde_name", slow_but(SDES, "vp", "edm"))
def test_a_training_with_wrong_labels_is_an_error(sde_name):
    """With all levels of the discrete models, from time 0."""
    for (name, network), (other, parameterization) in itertools.product(
        TINY.items(), parameterizations()
    ):
        first = 0.0 if other.startswith("discrete_") else 1e-5
        line = refusal(
            check_labels,
            SDES[sde_name](),
            network.labels,
            parameterization,
            first=first,
            trained=True,
        )
        assert bool(line) == makes_no_sense(name, other), f"{name} {other}: {line}"


CLASSES = {
    "mlp": (mlp, (2,), {"hidden_sizes": (8,), "embedding_dim": 4}),
    "unet": (unet, SHAPE, {"channels": 4, "channel_mult": (1,)}),
    "ddpm": (ddpm, SHAPE, {"nf": 32, **PLAIN}),
    "ncsnpp": (ncsnpp, SHAPE, {"nf": 4, **PLAIN}),
}
"""The networks that may be built with classes."""


def test_every_network_with_classes_is_tested_here():
    with_classes = {
        name
        for name, make in NETWORKS.items()
        if "num_classes" in inspect.signature(make).parameters
    }
    assert set(CLASSES) == with_classes


@pytest.mark.parametrize("name", CLASSES)
def test_classes_add_one_table_to_the_parameters(name):
    make, shape, options = CLASSES[name]
    plain, classes = (
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(params)}
        for params in (
            jax.eval_shape(make(shape, **options, **more).init, jax.random.key(0))
            for more in ({}, {"num_classes": 3})
        )
    )
    ((path, table),) = classes.items() - plain.items()
    assert plain.items() < classes.items() and path.endswith("['label']['kernel']")
    assert table[0] == 3


@pytest.mark.parametrize("name", slow_but(CLASSES, "mlp", "unet"))
def test_a_class_conditions_its_own_row_if_it_is_present(name):
    """An absent class of any value has no effect. A present class out of range gives NaN,
    in its row alone. The score of one sample, mapped over traced classes and their
    presence, equals the score of the batch.
    """
    make, shape, options = CLASSES[name]
    network = make(shape, num_classes=3, **options)
    params = randomized(network)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, *shape)), jnp.float32)
    t = jnp.array([0.2, 0.4, 0.6, 0.8])
    plain, apply = (jax.jit(network.apply) for _ in range(2))
    label, present = jnp.array([0, 1, 2, 1]), jnp.array([True, False, True, False])
    given = {"condition": label, "present": present}
    none = plain(params, x, t)
    every = apply(params, x, t, condition=label, present=jnp.ones(4, bool))
    some = apply(params, x, t, **given)
    np.testing.assert_allclose(some[1::2], none[1::2], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(some[::2], every[::2])
    np.testing.assert_allclose(plain(params, x, t, condition=label), every, rtol=1e-4, atol=1e-5)
    change = jnp.linalg.norm((every - none).reshape(4, -1), axis=1)
    assert (change > 1e-3 * jnp.linalg.norm(none.reshape(4, -1), axis=1)).all()
    wrong = label.at[1].set(9).at[2].set(3)
    found = apply(params, x, t, condition=wrong, present=present)
    assert np.isnan(found[2]).all()
    others = np.array([0, 1, 3])
    np.testing.assert_array_equal(found[others], some[others])

    def score(x, t, condition, present):
        parts = VPSDE(), network, NoisePrediction(time_label=noise_level), params
        return make_score_fn(*parts, condition=condition, present=present)(x, t)

    scores = jax.jit(jax.vmap(score))(x, t, label, present)
    sigma = jax.vmap(VPSDE().marginal)(t).sigma
    output = apply(params, x, sigma, **given)
    expected = -output / sigma.reshape(4, *(1 for _ in shape))
    np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=1e-4)


SIZES = {
    "mlp": [lambda size=size: mlp((2,), hidden_sizes=(size,), embedding_dim=4) for size in (4, 8)],
    "unet": [
        lambda size=size: unet(SHAPE, channels=size, channel_mult=(1,)) for size in (4, 6, 10, 32)
    ],
    "ddpm": [
        lambda size=size, mult=mult: ddpm(SHAPE, nf=size, **{**PLAIN, "ch_mult": mult})
        for size, mult in ((32, (1,)), (32, (1, 1)), (64, (1,)), (96, (1,)))
    ],
    "ncsnpp": [
        lambda size=size, embedding=embedding: ncsnpp(
            SHAPE, nf=size, embedding_type=embedding, **PLAIN
        )
        for size, embedding in (
            (4, "fourier"),
            (6, "positional"),
            (10, "positional"),
            (32, "fourier"),
        )
    ],
    "ncsn": [lambda size=size: ncsn(SHAPE, nf=size, num_scales=5) for size in (1, 2, 8)],
    "ncsnv2": [lambda size=size: ncsnv2(SHAPE, nf=size, num_scales=5) for size in (1, 2, 8)],
    "wideresnet": [
        lambda size=size: wideresnet(
            SHAPE, channel_multiplier=size, blocks_per_group=1, embedding_dim=2, num_classes=2
        )
        for size in (1, 2)
    ],
    "coupling_flow": [
        lambda size=size: coupling_flow(SHAPE, channels=size, num_couplings=2, num_blocks=1)
        for size in (1, 2, 8)
    ],
}
FAST = ("mlp0", "unet0", "ddpm0", "ncsnpp0")
EACH_SIZE = {
    f"{name}{i}": (name, make) for name, makes in SIZES.items() for i, make in enumerate(makes)
}


def test_every_table_of_networks_has_its_sizes_here():
    assert set(SIZES) == {*NETWORKS, *CLASSIFIERS, *FLOWS}


@pytest.mark.parametrize("case", slow_but(EACH_SIZE, *FAST))
def test_every_network_depends_on_its_label_or_image_at_every_size(case):
    """Its output changes by more than a thousandth; the output of a network that ignores
    the time would change by rounding, some 1e-6.
    """
    name, make = EACH_SIZE[case]
    network = make()
    params, x = (
        randomized(network),
        jnp.asarray(np.random.default_rng(1).normal(size=(1, *SHAPE)), jnp.float32),
    )
    if name == "coupling_flow":
        apply = jax.jit(lambda image: network.apply(params, x, image)[0])
        first, second = (apply(jnp.full_like(x, value)) for value in (-1.0, 1.0))
    else:
        x = jnp.ones((1, 2)) if name == "mlp" else x
        ends = {
            "ncsn": (0.0, 4.0),
            "ncsnv2": (0.0, 4.0),
            "ncsnpp": (0.1, 10.0),
            "wideresnet": (0.1, 10.0),
        }
        apply = jax.jit(lambda t: network.apply(params, x, t))
        first, second = (apply(jnp.full(1, t)) for t in ends.get(name, (0.0, 999.0)))
    assert jnp.linalg.norm(second - first) > 1e-3 * jnp.linalg.norm(first)


def test_the_number_of_groups_may_be_chosen_and_must_divide_the_channels():
    ddpm(SHAPE, nf=24, num_groups=8, **PLAIN)
    ddpm(SHAPE, nf=32, num_groups=32, **PLAIN)
    with pytest.raises(
        ValueError, match=r"^nf=48 must be a multiple of 32, .* num_groups=8 would do$"
    ):
        ddpm(SHAPE, nf=48, **PLAIN)
    with pytest.raises(
        ValueError, match=r"^nf=32 must be a multiple of 5, .* num_groups=8 would do$"
    ):
        ddpm(SHAPE, nf=32, num_groups=5, **PLAIN)
