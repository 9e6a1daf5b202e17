"""Conditions of networks: their checks, and own modules that take them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.models import (
    Arrays,
    ClassLabel,
    ddpm,
    from_linen,
    make_score_fn,
    mlp,
    ncsn,
    ncsnpp,
)
from score_sde.parameterization import NoisePrediction
from score_sde.sdes.vp import VPSDE

TEN = ClassLabel(num_classes=10)
UNKNOWN = ClassLabel(num_classes=None)
NEST = Arrays(like={"text": jnp.zeros(3), "crop": jax.ShapeDtypeStruct((2, 2), "int32")})
GIVEN = {"text": np.ones(3, np.float32), "crop": np.ones((2, 2), np.int64)}
KEY = jax.random.key(0)


def refusal(function, *args, **options):
    with pytest.raises(ValueError) as error:
        function(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("kind", "condition"), [
    (TEN, 0), (TEN, np.uint8(9)), (TEN, jnp.int32(3)), (UNKNOWN, 10**6), (NEST, GIVEN),
])  # fmt: skip
def test_a_condition_passes_concrete_and_traced(kind, condition):
    kind.check(condition)
    jax.eval_shape(kind.check, jax.tree.map(jnp.asarray, condition))
    rows = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), condition)
    kind.check_all(rows, "the labels")
    like, batch = kind.zeros(2), kind.stacked(rows, 2)
    assert jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, batch)
    assert jax.tree.map(lambda a: a.dtype, like) == jax.tree.map(lambda a: a.dtype, batch)


def test_a_traced_label_is_checked_except_for_its_value():
    jax.eval_shape(TEN.check, jnp.int32(12))
    line = refusal(jax.eval_shape, TEN.check, jnp.zeros(2))
    assert line == "model.num_classes=10 takes a class label from 0 to 9, got float32[2]"


@pytest.mark.parametrize(("kind", "condition", "line"), [
    (TEN, 12, "model.num_classes=10 takes a class label from 0 to 9, got 12"),
    (TEN, -1, "model.num_classes=10 takes a class label from 0 to 9, got -1"),
    (TEN, True, "model.num_classes=10 takes a class label from 0 to 9, got bool[]"),
    (TEN, [1, 2], "model.num_classes=10 takes a class label from 0 to 9, got [int64[], int64[]]"),
    (TEN, None, "model.num_classes=10 takes a class label from 0 to 9, got None"),
    (UNKNOWN, -1, "the network takes a class label from 0, got -1"),
    (NEST, GIVEN["text"], "the network takes the condition {'crop': int32[2, 2], 'text': "
    "float32[3]}, got float32[3]"),
    (NEST, GIVEN | {"text": np.ones(3, int)}, "the network takes the condition {'crop': "
    "int32[2, 2], 'text': float32[3]}, got {'crop': int64[2, 2], 'text': int64[3]}"),
])  # fmt: skip
def test_a_wrong_condition_is_an_error_of_one_line(kind, condition, line):
    assert refusal(kind.check, condition) == line


@pytest.mark.parametrize(("kind", "conditions", "line"), [
    (TEN, np.array([0, 12, 3]), "model.num_classes=10 takes class labels from 0 to 9, the labels "
    "of the data are from 0 to 12"),
    (TEN, np.ones(3), "model.num_classes=10 takes class labels from 0 to 9, as arrays with a row "
    "for each, the labels of the data are float64[3]"),
    (TEN, 3, "model.num_classes=10 takes class labels from 0 to 9, as arrays with a row for each, "
    "the labels of the data are int64[]"),
    (NEST, {"text": np.ones((3, 3)), "crop": np.ones((4, 2, 2), int)}, "the network takes the "
    "condition {'crop': int32[2, 2], 'text': float32[3]} of each example, as arrays with a row for "
    "each, the labels of the data are {'crop': int64[4, 2, 2], 'text': float64[3, 3]}"),
])  # fmt: skip
def test_wrong_conditions_of_many_examples_are_an_error_of_one_line(kind, conditions, line):
    assert refusal(kind.check_all, conditions, "the labels of the data") == line


def test_conditions_are_values():
    assert Arrays(like=NEST.like) == NEST and hash(NEST) == hash(Arrays(like=NEST.like))
    assert Arrays(like=jnp.zeros(3)) != Arrays(like=jnp.zeros(4))
    assert "takes arrays" in refusal(Arrays, like={"text": 3})
    assert "takes arrays" in refusal(Arrays, like={})
    assert refusal(ClassLabel, num_classes=0) == "num_classes=0 must be at least 1"


def test_a_network_has_the_form_of_its_condition():
    assert mlp((2,)).condition is None and ncsn((4, 4, 1)).condition is None
    assert mlp((2,), num_classes=3).condition == ClassLabel(num_classes=3)
    for make in (ddpm, ncsnpp):
        assert make((8, 8, 1), num_classes=3).condition == ClassLabel(num_classes=3)
        # It has no embedding that a class could be added to.
        assert make((8, 8, 1), num_classes=3, conditional=False).condition is None


def test_presence_is_one_boolean_an_example_and_needs_a_condition():
    network = mlp((2,), hidden_sizes=(4,), embedding_dim=4, num_classes=3)
    params, x, t = network.init(KEY), jnp.ones((2, 2)), jnp.ones(2)
    for present in (jnp.ones(2), jnp.ones(3, bool), True):
        line = refusal(network.apply, params, x, t, condition=jnp.zeros(2, int), present=present)
        assert line.startswith("present must be bool[2], got ")
    assert "no condition is given" in refusal(
        network.apply, params, x, t, present=jnp.ones(2, bool)
    )
    line = refusal(network.apply, params, x, t, condition=jnp.zeros(3, int))
    assert line == "the network takes the conditions int32[2], got int32[3]"
    parts = VPSDE(), network, NoisePrediction(), params
    assert "no condition is given" in refusal(make_score_fn, *parts, present=True)
    line = refusal(make_score_fn, *parts, condition=0, present=1)
    assert line.startswith("present must be bool[], got ")
    assert refusal(make_score_fn, *parts, condition=3).endswith("from 0 to 2, got 3")


class Described(nn.Module):
    """Adds a vector from a pytree of arrays, or a learned vector where it is absent."""

    @nn.compact
    def __call__(self, x, t, *, condition=None, present=None, train=False):
        x = x * self.param("slope", nn.initializers.ones_init(), ())
        if condition is None:
            return x
        text = condition["text"]
        if present is not None:
            null = self.param("null", nn.initializers.constant(5.0), (2,))
            text = jnp.where(present[:, None], text, null)
        return x + text


def test_a_module_may_be_conditioned_on_any_arrays():
    network = from_linen(Described(), (2,), condition=Arrays(like={"text": jnp.zeros(2)}))
    params = network.init(KEY)
    assert set(params) == {"slope", "null"}
    x, t, text = jnp.ones((2, 2)), jnp.ones(2), {"text": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
    np.testing.assert_array_equal(network.apply(params, x, t), x)
    np.testing.assert_array_equal(network.apply(params, x, t, condition=text), x + text["text"])
    present = jnp.array([True, False])
    expected = x + jnp.array([[1.0, 2.0], [5.0, 5.0]])
    given = {"condition": text, "present": present}
    np.testing.assert_array_equal(network.apply(params, x, t, **given), expected)
    sde = VPSDE()

    def score(x, condition, present):
        kind = NoisePrediction(time_label=lambda sde, t: jnp.asarray(t))
        return make_score_fn(sde, network, kind, params, condition=condition, present=present)(x, 1)

    scores = jax.jit(jax.vmap(score))(x, text, present)
    np.testing.assert_allclose(scores, -expected / sde.marginal(1.0).sigma, rtol=1e-6)


def test_a_module_needs_no_arguments_that_it_does_not_use():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, t, train=False):
            return self.param("slope", nn.initializers.ones_init(), ()) * x

    class OnlyCondition(nn.Module):
        @nn.compact
        def __call__(self, x, t, *, condition, train=False):
            return self.param("slope", nn.initializers.ones_init(), ()) * x + condition[:, None]

    x, t = jnp.ones((1, 2)), jnp.ones(1)
    network = from_linen(Plain(), (2,))
    np.testing.assert_array_equal(network.apply(network.init(KEY), x, t), x)
    line = refusal(from_linen, Plain(), (2,), condition=TEN)
    assert line.startswith("Plain has no argument 'condition'")
    network = from_linen(OnlyCondition(), (2,), condition=TEN)
    params, three = network.init(KEY), jnp.array([3])
    np.testing.assert_array_equal(network.apply(params, x, t, condition=three), x + 3)
    line = refusal(network.apply, params, x, t, condition=three, present=jnp.ones(1, bool))
    assert "has no argument 'present'" in line


def test_a_conditional_module_of_version_0_1_works_and_warns():
    class Former(nn.Module):
        @nn.compact
        def __call__(self, x, t, label, train):
            x = self.param("slope", nn.initializers.ones_init(), ()) * x
            return x if label is None else x + label[:, None]

    x, t = jnp.ones((1, 2)), jnp.ones(1)
    network = from_linen(Former(), (2,))
    np.testing.assert_array_equal(network.apply(network.init(KEY), x, t), x)
    with pytest.warns(DeprecationWarning) as found:
        network = from_linen(Former(), (2,), conditional=True)
    assert [str(warning.message) for warning in found] == [
        "conditional=True is now condition=ClassLabel(num_classes=...)",
        "the argument 'label' of Former is now called 'condition'",
    ]
    params = network.init(KEY)
    np.testing.assert_array_equal(network.apply(params, x, t, condition=jnp.array([2])), x + 2)
    np.testing.assert_array_equal(network.apply(params, x, t), x)
