"""Solves on a grid and adaptive solves of equations with known solutions."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SLOW

from score_sde.solvers import Dopri5, Euler, Heun, IndexedBrownianPath, ShARK, Tsit5
from score_sde.solvers.integrate import Noise, Tolerances, solve_adaptively, solve_on_grid

CLOSE = Tolerances(rtol=1e-6, atol=1e-6, max_steps=1000)


def growth(x, t):
    """``dx/dt = 2 t x``, solved by ``x exp(t^2)``; not symmetric in time, so that a
    wrong sign or clock shows.
    """
    return 2.0 * t * x


def on_grid(y0, times, solver, **options):
    return jax.jit(lambda y: solve_on_grid(growth, y, times, solver, **options))(y0)


@pytest.mark.parametrize(("start", "stop"), [(0.2, 1.1), (1.1, 0.2)])
@pytest.mark.parametrize("solver", [Tsit5(), Dopri5()], ids=["tsit5", "dopri5"])
def test_adaptive_solves_reach_their_tolerance_either_way(start, stop, solver):
    y0 = jnp.array([[1.0, -2.0]])
    solution = jax.jit(
        lambda y: solve_adaptively(growth, y, start, stop, solver, CLOSE, save_path=3)
    )(y0)
    exact = lambda t: y0 * np.exp(t**2 - start**2)  # noqa: E731
    np.testing.assert_allclose(solution.y, exact(stop), rtol=2e-5)
    assert bool(solution.success) and 2 < int(solution.num_steps) < 100
    frames = np.stack([exact(t) for t in np.linspace(start, stop, 3)])
    np.testing.assert_allclose(solution.path, frames, rtol=1e-4)


@pytest.mark.parametrize(
    "times", [[0.2, 0.3, 0.7, 1.1], [1.1, 0.7, 0.3, 0.2]], ids=["rising", "falling"]
)
def test_a_grid_is_visited_node_by_node_either_way(times):
    """Three Euler steps by hand, of three lengths; the frames lie on the nodes."""
    y = [np.array([1.0, -2.0])]
    for t, t_next in pairwise(times):
        y.append(y[-1] + (t_next - t) * 2.0 * t * y[-1])
    solution = on_grid(jnp.array([1.0, -2.0]), np.array(times), Euler(), save_path=4)
    np.testing.assert_allclose(solution.y, y[-1], rtol=1e-5)
    np.testing.assert_allclose(solution.path, np.stack(y), rtol=1e-5)
    assert int(solution.num_steps) == 3 and bool(solution.success)


@pytest.mark.parametrize(
    "times", [[0.2, 0.3, 0.7, 1.1], [1.1, 0.7, 0.3, 0.2]], ids=["rising", "falling"]
)
def test_noise_is_added_with_the_diffusion_at_the_beginning_of_the_step(times):
    """Euler-Maruyama by hand, with the increments of the path on the forward clock."""
    key, elapsed = jax.random.key(0), np.abs(np.array(times) - times[0])
    path = IndexedBrownianPath(
        key=key,
        nodes=jnp.asarray(elapsed, jnp.float32),
        noise_like=jax.ShapeDtypeStruct((2,), jnp.float32),
    )
    y = np.array([1.0, -2.0])
    for i in range(3):
        t, t_next = times[i : i + 2]
        y = (
            y
            + (t_next - t) * 2.0 * t * y
            + (1.0 + t) * np.asarray(path.evaluate(path.nodes[i], path.nodes[i + 1]))
        )
    noise = Noise(key, lambda t: 1.0 + t)
    solution = on_grid(jnp.array([1.0, -2.0]), np.array(times), Euler(), noise=noise)
    np.testing.assert_allclose(solution.y, y, rtol=1e-5)


def test_frames_are_spread_evenly_by_index_from_first_to_last():
    times = np.linspace(0.0, 1.0, 9) ** 2
    y0 = jnp.ones(2)
    every = on_grid(y0, times, Heun(), save_path=9).path
    for save_path in (2, 5):
        solution = on_grid(y0, times, Heun(), save_path=save_path)
        np.testing.assert_allclose(solution.path, every[:: 8 // (save_path - 1)], rtol=1e-6)
    np.testing.assert_allclose(solution.path[-1], solution.y, rtol=1e-6)
    np.testing.assert_array_equal(solution.path[0], y0)
    assert jax.eval_shape(lambda y: solve_on_grid(growth, y, times, Heun()), y0).path is None


def test_running_out_of_steps_gives_nan_and_no_number():
    short = replace(CLOSE, max_steps=2)
    solution = jax.jit(lambda y: solve_adaptively(growth, y, 0.0, 2.0, Tsit5(), short))(jnp.ones(2))
    assert not bool(solution.success) and int(solution.num_steps) == 2
    assert np.isnan(solution.y).all()


def test_a_solution_that_leaves_the_finite_numbers_gives_nan():
    """``dx/dt = x^2`` from 1 explodes at ``t = 1``."""
    explode = lambda x, t: x**2  # noqa: E731
    solution = jax.jit(lambda y: solve_adaptively(explode, y, 0.0, 2.0, Tsit5(), CLOSE))(
        jnp.ones(2)
    )
    assert not bool(solution.success) and np.isnan(solution.y).all()


def test_the_smallest_leaf_of_a_state_is_held_to_tolerance_too():
    """One fast number beside 10,000 still ones: a mean over all would take steps too
    large for it.
    """

    def field(state, t):
        return jnp.zeros_like(state[0]), 20.0 * jnp.cos(20.0 * jnp.asarray(t)) * jnp.ones_like(
            state[1]
        )

    start = (jnp.ones(10_000), jnp.zeros(()))
    solution = jax.jit(lambda y: solve_adaptively(field, y, 0.0, 1.0, Tsit5(), CLOSE))(start)
    np.testing.assert_allclose(solution.y[1], np.sin(20.0), atol=1e-4)
    np.testing.assert_array_equal(solution.y[0], start[0])


@pytest.mark.parametrize("axis_name", [None, "batch"])
def test_an_axis_name_makes_all_samples_take_the_steps_of_the_worst(axis_name):
    rates = jnp.array([0.1, 1.0, 30.0])

    def solve(rate):
        field = lambda x, t: -rate * x  # noqa: E731
        tolerances = replace(CLOSE, axis_name=axis_name)
        solution = solve_adaptively(field, jnp.ones(2), 0.0, 1.0, Tsit5(), tolerances)
        return solution.y, solution.num_steps

    y, num_steps = jax.jit(jax.vmap(solve, axis_name="batch"))(rates)
    np.testing.assert_allclose(y, np.exp(-np.stack([rates, rates], 1)), atol=1e-5)
    if axis_name is None:
        assert int(num_steps[0]) < int(num_steps[1]) < int(num_steps[2])
    else:
        assert len(set(num_steps.tolist())) == 1


def endpoint_of_noise(rate, differentiate):
    noise = Noise(jax.random.key(0), lambda t: rate * (1.0 + t))
    field = lambda x, t: -rate * x  # noqa: E731
    times = np.linspace(1.0, 0.0, 11)
    return solve_on_grid(
        field, jnp.ones(()), times, ShARK(), noise=noise, differentiate=differentiate
    ).y


def endpoint_adaptively(rate, differentiate):
    field = lambda x, t: rate * growth(x, t)  # noqa: E731
    return solve_adaptively(
        field, jnp.ones(()), 0.0, 1.0, Tsit5(), CLOSE, differentiate=differentiate
    ).y


@pytest.mark.slow
@pytest.mark.parametrize(
    "endpoint", [endpoint_of_noise, pytest.param(endpoint_adaptively, marks=SLOW)]
)
def test_solves_are_differentiated_forward_and_in_reverse(endpoint):
    with jax.enable_x64(True):
        value, forward = jax.jit(
            lambda rate: jax.jvp(lambda r: endpoint(r, "forward"), (rate,), (1.0,))
        )(0.7)
        reverse = jax.jit(jax.grad(lambda rate: endpoint(rate, "reverse")))(0.7)
        plain = jax.jit(lambda rate: endpoint(rate, "forward"))
        difference = (plain(0.7 + 1e-5) - plain(0.7 - 1e-5)) / 2e-5
    np.testing.assert_allclose([forward, reverse], difference, rtol=1e-4)
    if endpoint is endpoint_adaptively:
        np.testing.assert_allclose([value, forward], np.exp(0.7), rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_state_keeps_its_precision(dtype):
    """Where float64 is on, and the state of float32."""
    with jax.enable_x64(True):
        y0, noise = jax.ShapeDtypeStruct((2,), dtype), Noise(jax.random.key(0), jnp.cos)
        times = np.linspace(1.0, 0.0, 5)
        solutions = [
            jax.eval_shape(
                lambda y: solve_on_grid(growth, y, times, Euler(), noise=noise, save_path=2), y0
            ),
            jax.eval_shape(
                lambda y: solve_adaptively(growth, y, 0.0, 1.0, Tsit5(), CLOSE, save_path=2), y0
            ),
        ]
    assert all(
        part.dtype == dtype for solution in solutions for part in (solution.y, solution.path)
    )
