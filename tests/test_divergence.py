"""Divergences against the trace of the Jacobian."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PLANE, SLOW, keys, slow_but

from score_sde.divergence import ExactTrace, Hutchinson, HutchPP, value_and_divergence
from score_sde.sdes import VPSDE
from score_sde.sdes.reverse import probability_flow

KEY = jax.random.key(0)
MEMBERS = {
    "exact": ExactTrace(),
    "chunks": ExactTrace(chunk_size=3),
    "rademacher": Hutchinson(num_probes=5),
    "gaussian": Hutchinson(num_probes=5, kind="gaussian"),
    "sphere": Hutchinson(num_probes=5, kind="sphere"),
    "hutchpp": HutchPP(num_probes=3, sketch_size=2),
}


def matrix_with(spectrum, *, symmetric=True):
    """A matrix of these eigenvalues in a random basis; its trace is their sum."""
    rng = np.random.default_rng(2)
    dim = len(spectrum)
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    other = (
        np.linalg.inv(basis)
        if symmetric
        else np.linalg.inv(basis := basis + 0.03 * rng.normal(size=(dim, dim)))
    )
    return jnp.asarray((basis * spectrum) @ other, jnp.float32)


def draws(divergence, matrix, num):
    """``num`` independent estimates of the trace of a matrix, each the mean over its probes."""

    @jax.jit
    @jax.vmap
    def one(key):
        x = jnp.zeros(len(matrix))
        probes = divergence.probes(key, x)
        return jnp.mean(
            value_and_divergence(lambda x, t: matrix @ x, x, 0.0, divergence, probes)[1]
        )

    return np.asarray(one(keys(1, num)), np.float64)


def test_value_and_divergence_of_a_probability_flow():
    sde, x, t = VPSDE(), jnp.array([0.2, 0.4]), 0.3
    velocity = probability_flow(sde, PLANE.score_fn(sde))
    jacobian = np.asarray(jax.jit(jax.jacfwd(velocity))(x, t))
    find = jax.jit(
        lambda divergence, probes: value_and_divergence(velocity, x, t, divergence, probes),
        static_argnums=0,
    )
    value, trace = find(ExactTrace(), ExactTrace().probes(KEY, x))
    np.testing.assert_allclose(value, jax.jit(velocity)(x, t), rtol=1e-5)
    np.testing.assert_allclose(trace, [np.trace(jacobian)], rtol=1e-5)
    probes = Hutchinson(num_probes=3, kind="gaussian").probes(KEY, x)
    _, forms = find(Hutchinson(num_probes=3, kind="gaussian"), probes)
    np.testing.assert_allclose(forms, np.einsum("pi,ij,pj->p", probes, jacobian, probes), rtol=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 5, 12, 100])
def test_chunks_give_the_same_trace(chunk_size):
    weights = jax.random.normal(KEY, (12, 12))
    field = lambda x, t: jnp.tanh(weights @ x.ravel()).reshape(x.shape)  # noqa: E731
    x = jax.random.normal(jax.random.key(1), (2, 3, 2))
    trace = lambda divergence: value_and_divergence(  # noqa: E731
        field, x, 0.0, divergence, divergence.probes(KEY, x)
    )[1]
    traces = jax.jit(lambda: [trace(ExactTrace()), trace(ExactTrace(chunk_size=chunk_size))])()
    np.testing.assert_allclose(traces[1], traces[0], rtol=1e-6)


def test_chunks_save_memory():
    """32 basis vectors of 1024 at a time take under an eighth of the memory of all."""
    weights = jnp.ones((32, 32))

    def memory(divergence):
        def trace(x):
            field = lambda x, t: jnp.tanh(weights @ jnp.tanh(weights @ x))  # noqa: E731
            return value_and_divergence(field, x, 0.0, divergence, divergence.probes(KEY, x))

        return (
            jax.jit(trace).lower(jnp.zeros((32, 32))).compile().memory_analysis().temp_size_in_bytes
        )

    assert memory(ExactTrace(chunk_size=32)) < memory(ExactTrace()) / 8


@pytest.mark.parametrize("name", MEMBERS)
def test_the_products_are_as_many_as_stated(name):
    divergence, x, count = MEMBERS[name], jnp.zeros((2, 4)), []

    def product(probe):
        count.append(1)
        return 2.0 * probe

    def jacobian(probe):
        return jax.pure_callback(
            product, jax.ShapeDtypeStruct(x.shape, x.dtype), probe, vmap_method="sequential"
        )

    jax.block_until_ready(divergence.estimates(jacobian, divergence.probes(KEY, x)))
    assert len(count) == divergence.num_products(8)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("symmetric", [pytest.param(True, marks=SLOW), False])
def test_estimates_are_unbiased(name, symmetric):
    """2,000 keys, within 4 standard errors of their mean: 1 of 16,000 fails for each of
    12, and the keys are fixed.
    """
    spectrum = np.linspace(-1.0, 2.0, 10) ** 3
    found = draws(MEMBERS[name], matrix_with(spectrum, symmetric=symmetric), 2000)
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - spectrum.sum()) < max(4.0 * error, 1e-4)
    assert (found.std() > 1e-3) == (not name.startswith(("exact", "chunks")))


@pytest.mark.parametrize("kind", ["rademacher", "gaussian", "sphere"])
def test_the_variance_of_one_probe_is_as_documented(kind):
    """4,000 keys, within 15 %: 4 standard errors of a variance of numbers of kurtosis 6
    (1 key in 16,000 fails).
    """
    matrix = matrix_with(np.linspace(0.5, 2.0, 20))
    found = draws(Hutchinson(kind=kind), matrix, 4000)
    square, trace = float(jnp.sum(matrix**2)), float(jnp.trace(matrix))
    known = {
        "rademacher": 2.0 * (square - float(jnp.sum(jnp.diag(matrix) ** 2))),
        "gaussian": 2.0 * square,
        "sphere": 2.0 * 20 / 22 * (square - trace**2 / 20),
    }
    np.testing.assert_allclose(found.var(), known[kind], rtol=0.15)


@SLOW
def test_hutchpp_has_less_variance_at_equal_products_where_the_spectrum_decays():
    """Eigenvalues ``1 / i^2``, 24 products of 60: under a twentieth of the variance of
    the best of Hutchinson's.
    """
    matrix, sketched = matrix_with(np.arange(1.0, 61.0) ** -2), HutchPP(num_probes=8)
    assert sketched.num_products(60) == 24
    found = draws(sketched, matrix, 1000)
    for kind in ("rademacher", "gaussian", "sphere"):
        assert found.var() < 0.05 * draws(Hutchinson(num_probes=24, kind=kind), matrix, 1000).var()


def test_hutchpp_is_exact_for_the_identity_and_for_few_dimensions():
    """Also where the sketch spans the space, and where the Jacobian vanishes."""
    np.testing.assert_allclose(draws(HutchPP(), 3.0 * jnp.eye(20), 20), 60.0, rtol=1e-5)
    np.testing.assert_allclose(
        draws(HutchPP(num_probes=9), matrix_with([1.0, 2.0, -5.0]), 20), -2.0, rtol=1e-4
    )
    np.testing.assert_array_equal(draws(HutchPP(), jnp.zeros((5, 5)), 20), 0.0)


@pytest.mark.parametrize("name", slow_but(MEMBERS, "chunks", "hutchpp"))
def test_gradients_by_parameters_in_reverse_mode(name):
    """Of ``tr d tanh(W x) / dx``: on the average over 2,000 keys, within 5 standard
    errors of 16 numbers.

    1 key in 100,000 fails.
    """
    weights = 0.5 * jax.random.normal(KEY, (4, 4))
    x, divergence = jax.random.normal(jax.random.key(1), (4,)), MEMBERS[name]

    def trace(weights, key):
        field = lambda x, t: jnp.tanh(weights @ x)  # noqa: E731
        return jnp.mean(
            value_and_divergence(field, x, 0.0, divergence, divergence.probes(key, x))[1]
        )

    exact = jax.grad(lambda weights: jnp.trace(jax.jacfwd(lambda x: jnp.tanh(weights @ x))(x)))(
        weights
    )
    found = np.asarray(
        jax.jit(jax.vmap(jax.grad(trace), (None, 0)))(weights, keys(4, 2000)), np.float64
    )
    assert np.isfinite(found).all()
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - exact) < np.maximum(5.0 * error, 1e-5)).all()


def test_the_gradient_survives_a_jacobian_without_full_rank():
    x, divergence = jnp.ones(6), HutchPP()
    probes = divergence.probes(KEY, x)
    trace = lambda scale: value_and_divergence(lambda x, t: scale * x, x, 0.0, divergence, probes)[  # noqa: E731
        1
    ]
    gradient = jax.grad(lambda scale: jnp.mean(trace(scale)))
    np.testing.assert_allclose(gradient(0.0), 6.0, rtol=1e-5)


def test_probes_have_unit_covariance():
    """Second moments of 40,000 probes, within 5 standard errors: 9 numbers, 1 key in
    180,000 fails.
    """
    x = jnp.zeros((2, 1))
    for kind in ("rademacher", "gaussian", "sphere"):
        probes = np.asarray(Hutchinson(num_probes=40_000, kind=kind).probes(KEY, x))
        assert probes.shape == (40_000, 2, 1)
        assert np.abs(
            probes[:, :, 0].T @ probes[:, :, 0] / 40_000 - np.eye(2)
        ).max() < 5.0 * np.sqrt(2.0 / 40_000)
        assert (set(np.unique(probes)) == {-1.0, 1.0}) == (kind == "rademacher")
        on_sphere = np.allclose(np.sum(probes**2, axis=(1, 2)), 2.0, rtol=1e-5)
        assert on_sphere == (kind != "gaussian")
    assert ExactTrace().probes(KEY, x).shape == (0, 2, 1)


def test_one_probe_has_no_standard_error_and_many_have_less():
    estimates = jnp.array([1.0, 2.0, 4.0, 1.0])
    for divergence in (Hutchinson(num_probes=4), HutchPP(num_probes=4)):
        np.testing.assert_allclose(
            divergence.std_error(estimates), np.std(estimates, ddof=1) / 2.0, rtol=1e-6
        )
    assert np.isnan(Hutchinson().std_error(estimates[:1]))
    assert float(ExactTrace().std_error(estimates[:1])) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Hutchinson(num_probes=0), "num_probes=0 must be at least 1"),
        (lambda: HutchPP(num_probes=0), "num_probes=0 must be at least 1"),
        (
            lambda: HutchPP(sketch_size=0),
            "sketch_size=0 must be at least 1, or None for num_probes",
        ),
        (
            lambda: ExactTrace(chunk_size=0),
            "chunk_size=0 must be at least 1, or None for all at once",
        ),
    ],
)
def test_wrong_options_are_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_divergences_are_hashable_values():
    assert (
        hash(Hutchinson(num_probes=2)) == hash(Hutchinson(num_probes=2))
        and ExactTrace() == ExactTrace()
    )
    assert Hutchinson(num_probes=2) != dataclasses.replace(
        Hutchinson(num_probes=2), kind="gaussian"
    )
