"""DDPM, NCSN++, NCSN, NCSNv2 and the classifier: every option, shapes, counts,
gradients, precision.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from oracles import slow_but

from score_sde.models import call_order, ddpm, ncsn, ncsnpp, ncsnv2, wideresnet

SHAPE = (8, 8, 3)
SMALL = {"nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,)}
OPTIONS = {
    "fir": (True, False),
    "fir_kernel": ((1, 3, 3, 1), (1, 1, 1, 1)),
    "skip_rescale": (True, False),
    "resblock_type": ("ddpm", "biggan"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "embedding_type": ("fourier", "positional"),
    "resamp_with_conv": (True, False),
    "conditional": (True, False),
    "init_scale": (0.0, 1.0),
    "scale_by_sigma": (True, False),
    "rescale_input": (True, False),
    "nonlinearity": ("elu", "relu", "lrelu", "swish"),
    "num_classes": (None, 5),
    "remat": (False, True),
}
NETWORKS = {
    "ddpm": lambda **options: ddpm(SHAPE, **{**SMALL, "nf": 32, **options}),
    "ncsnpp": lambda **options: ncsnpp(SHAPE, **{**SMALL, **options}),
    "ncsn": lambda **options: ncsn(SHAPE, nf=8, **options),
    "ncsnv2": lambda **options: ncsnv2(SHAPE, nf=8, num_scales=10, **options),
}


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def abstract(network):
    return jax.eval_shape(lambda key: network.init(key), jax.random.key(0))


def batch(size=2):
    return jax.random.normal(jax.random.key(1), (size, *SHAPE)), jnp.linspace(1.0, 3.0, size)


@settings(max_examples=3, deadline=None)
@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in OPTIONS.items()}))
def test_every_combination_of_options_keeps_the_shape(options):
    network = ncsnpp(SHAPE, **SMALL, **options)
    x, t = batch()
    output = jax.eval_shape(lambda params: network.apply(params, x, t), abstract(network))
    assert output.shape == x.shape and output.dtype == x.dtype
    assert set(call_order(network)) | {"label"} == set(abstract(network)) | {"label"}


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(
    st.sampled_from((8, 16)),
    st.sampled_from((1, 10, 50)),
    st.sampled_from((64, 128, 256)),
    st.sampled_from(("float32", "bfloat16")),
)
def test_every_ncsn_keeps_the_shape_and_type(nf, num_scales, resolution, dtype):
    x, t = jnp.zeros((2, 32, 32, 3)), jnp.zeros(2)
    first = ncsn((32, 32, 3), nf=nf, num_scales=num_scales, dtype=dtype)
    second = ncsnv2((32, 32, 3), nf=nf, num_scales=num_scales, resolution=resolution, dtype=dtype)
    for network in (first, second):
        params = abstract(network)
        output = jax.eval_shape(lambda params, network=network: network.apply(params, x, t), params)
        assert output.shape == x.shape and output.dtype == x.dtype
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}


GRADIENTS = [
    {"progressive": "output_skip", "progressive_input": "input_skip", "progressive_combine": "cat"},
    {
        "progressive": "residual",
        "progressive_input": "residual",
        "resblock_type": "ddpm",
        "init_scale": 1.0,
    },
    {
        "fir": False,
        "progressive_input": "none",
        "embedding_type": "positional",
        "scale_by_sigma": True,
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("options", GRADIENTS, ids=["skips", "residual", "ddpm++"])
def test_gradients_are_finite_and_reach_every_parameter(options):
    network = ncsnpp(SHAPE, **SMALL, **{"init_scale": 1.0, **options})
    x, t = batch()
    params = jax.jit(network.init)(jax.random.key(0))
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(jnp.square(network.apply(params, x, t)))))(
        params
    )
    flat = jax.tree_util.tree_leaves_with_path(gradients)
    assert all(np.isfinite(leaf).all() for _, leaf in flat)
    still = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in flat
        if not np.any(leaf)
    }
    assert {name for name in still if "frequencies" not in name and "key/bias" not in name} == set()


@pytest.mark.slow
def test_recomputation_changes_no_gradient():
    x, t = batch()
    plain, again = (
        ncsnpp(SHAPE, **SMALL, init_scale=1.0, dropout=0.0, remat=remat) for remat in (False, True)
    )
    params = jax.jit(plain.init)(jax.random.key(0))
    loss = lambda network: lambda params: jnp.sum(jnp.square(network.apply(params, x, t)))  # noqa: E731
    one, two = (jax.jit(jax.grad(loss(network)))(params) for network in (plain, again))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), one, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(NETWORKS, "ddpm"))
def test_half_precision_keeps_float32_parameters_and_outputs(name):
    network = NETWORKS[name](dtype="bfloat16")
    x, t = batch()
    params = jax.jit(network.init)(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    output = jax.jit(network.apply)(params, x, t)
    assert output.dtype == np.float32 and np.isfinite(output).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddpm", pytest.param("ncsnpp", marks=pytest.mark.slow)])
def test_classes_change_the_output_and_an_absent_class_does_not(name):
    options = {"init_scale": 1.0} if name == "ncsnpp" else {}
    network = NETWORKS[name](num_classes=5, **options)
    x, t = batch()
    params = jax.jit(network.init)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # DDPM starts at zero
    apply = jax.jit(network.apply)
    label = jnp.array([0, 1])
    plain, absent = (
        apply(params, x, t),
        apply(params, x, t, condition=label, present=jnp.zeros(2, bool)),
    )
    np.testing.assert_allclose(plain, absent, rtol=1e-4, atol=1e-4)
    assert not np.allclose(plain, apply(params, x, t, condition=label), rtol=1e-3)
    with pytest.raises(ValueError, match="built without one; build it with num_classes"):
        jax.eval_shape(lambda: NETWORKS[name]().apply(params, x, t, condition=label))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "factor"), [
    pytest.param("ncsnpp", {"embedding_type": "fourier"}, (1.0, 3.0), marks=pytest.mark.slow),
    pytest.param("ncsnpp", {"embedding_type": "positional", "num_scales": 10}, None,
    marks=pytest.mark.slow),
    ("ddpm", {"num_scales": 10}, None),
])  # fmt: skip
def test_the_output_is_divided_by_the_noise_level(name, options, factor):
    """By the label itself, or by the level of its index, from the greatest."""
    plain, scaled = (NETWORKS[name](**options, scale_by_sigma=scale) for scale in (False, True))
    x, t = batch()
    params = jax.tree.map(lambda leaf: leaf + 0.05, jax.jit(plain.init)(jax.random.key(0)))
    sigma = np.array(factor or np.geomspace(50.0, 0.01, 10)[[1, 3]])[:, None, None, None]
    expected = jax.jit(plain.apply)(params, x, t) / sigma
    np.testing.assert_allclose(jax.jit(scaled.apply)(params, x, t), expected, rtol=1e-4, atol=1e-6)


def test_full_sizes_are_the_sizes_of_the_published_code():
    assert count(abstract(ncsnpp((32, 32, 3), scale_by_sigma=True))) == 62_758_915
    plus = {"fir": False, "progressive_input": "none", "embedding_type": "positional"}
    assert count(abstract(ncsnpp((32, 32, 3), **plus))) == 61_804_419
    classifier = wideresnet((32, 32, 3))
    # 36.5 M of WRN-28-10 and 2.4 M for the noise level in each block.
    assert count(jax.eval_shape(lambda key: classifier.init(key), jax.random.key(0))) == 38_913_242


@pytest.mark.slow
def test_the_classifier_learns_two_classes():
    classifier = wideresnet(
        SHAPE, num_classes=2, blocks_per_group=1, channel_multiplier=1, embedding_dim=8
    )
    label = jnp.arange(16) % 2
    pattern = (
        jnp.where(jnp.arange(8) % 2 == 0, 1.0, -1.0)[None, :, None, None]
        * jnp.where(label, 1.0, 0.0)[:, None, None, None]
    )
    x = pattern + 0.3 * jax.random.normal(jax.random.key(2), (16, *SHAPE))
    sigma = jnp.full((16,), 0.5)
    params = jax.jit(classifier.init)(jax.random.key(0))

    def loss(params):
        chosen = jax.nn.log_softmax(classifier.apply(params, x, sigma))
        return -jnp.mean(jnp.take_along_axis(chosen, label[:, None], axis=1))

    step = jax.jit(
        lambda params: jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
    )
    before = float(jax.jit(loss)(params))
    for _ in range(20):
        params = step(params)
    assert float(jax.jit(loss)(params)) < 0.5 * before


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ncsnpp((9, 8, 3), **SMALL), "divisible by 2, got 9 x 8"),
    (lambda: ncsnpp(SHAPE, **SMALL, progressive="skip"), "^progressive='skip' must be one of "
"none, output_skip, residual$"),
    (lambda: ncsnpp(SHAPE, **SMALL, fir_kernel=(1, 2, 1)), r"^fir_kernel=\(1, 2, 1\) must be an "
"even number of weights, 4 or more, of a positive sum$"),
    (lambda: ncsnpp(SHAPE, **SMALL, init_scale=-1.0), "^init_scale=-1.0 must be a finite number "
"of at least 0$"),
    (lambda: ncsnpp((8,), **SMALL), "takes images of shape"),
    (lambda: ddpm(SHAPE, nf=48), "^nf=48 must be a multiple of 32, "),
])  # fmt: skip
def test_a_wrong_option_is_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
