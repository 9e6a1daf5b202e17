"""Post-hoc EMA: the fit of profiles, and averages reconstructed from snapshots."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.integrate import quad

from score_sde.export.tensor_file import write_tensors
from score_sde.training import PowerEMA, fit_profile, reconstruct
from score_sde.training.ema import PLAIN_MEAN, gamma_of
from score_sde.training.post_hoc import inner_product

NUM_STEPS, EVERY = 1000, 50
WIDTHS = (0.05, 0.10)

widths = st.floats(0.01, PLAIN_MEAN)


def product_of_densities(end, gamma, other_end, other_gamma):
    def integrand(t):
        density, other = (
            (g + 1) / T * (t / T) ** g for T, g in ((end, gamma), (other_end, other_gamma))
        )
        return density * other

    return quad(integrand, 0.0, min(end, other_end), epsabs=0.0, epsrel=1e-10, limit=500)[0]


@given(st.floats(1.0, 50.0), widths, st.floats(1.0, 50.0), widths)
def test_the_inner_product_is_the_integral(end, width, other_end, other_width):
    profiles = [
        np.float64(value) for value in (end, gamma_of(width), other_end, gamma_of(other_width))
    ]
    assert inner_product(*profiles) == pytest.approx(
        product_of_densities(*profiles), rel=1e-6, abs=1e-250
    )


def test_high_powers_of_large_steps_do_not_overflow():
    end, gamma = np.float64(1e8), np.float64(1e4)
    assert inner_product(end, gamma, end, gamma) == pytest.approx(1e4 / 2 / 1e8, rel=1e-3)
    assert inner_product(end, gamma, end / 2, gamma) == 0.0


def profiles_of(steps, sigma_rels):
    """The weights of the single updates in each average, in closed form."""
    edges = np.arange(NUM_STEPS + 1)
    return np.array([
        np.diff(np.minimum(edges / step, 1.0) ** (gamma_of(width) + 1))
        for step, width in zip(steps, sigma_rels, strict=True)
    ])  # fmt: skip


def snapshots(every=EVERY):
    steps = list(range(every, NUM_STEPS + 1, every))
    return steps * 2, [width for width in WIDTHS for _ in steps]


@pytest.mark.parametrize(("sigma_rel", "largest"), [
    (0.04, 1e-2), (0.05, 0.0), (0.06, 3e-3), (0.07, 3e-3), (0.1, 0.0), (0.12, 3e-3), (0.15, 1e-2),
    (0.2, 2e-2)
])  # fmt: skip
def test_the_residual_is_the_distance_of_the_profiles(sigma_rel, largest):
    """It is small between the tracked widths. The distance between the profiles of single
    updates is at most the residual, which is of continuous time.
    """
    steps, sigma_rels = snapshots()
    weights, residual = fit_profile(steps, sigma_rels, step=NUM_STEPS, sigma_rel=sigma_rel)
    assert residual <= largest
    (wanted,) = profiles_of([NUM_STEPS], [sigma_rel])
    distance = np.linalg.norm(weights @ profiles_of(steps, sigma_rels) - wanted) / np.linalg.norm(
        wanted
    )
    assert 0.97 * residual <= distance <= residual + 1e-12


@given(st.integers(1, NUM_STEPS), widths, st.sampled_from([50, 100, 200]))
def test_the_weights_sum_to_one_and_more_snapshots_are_no_worse(step, sigma_rel, every):
    few, many = snapshots(2 * every), snapshots(every)
    coarse = fit_profile(*few, step=step, sigma_rel=sigma_rel)
    fine = fit_profile(*many, step=step, sigma_rel=sigma_rel)
    assert coarse.weights.sum() == pytest.approx(1.0) and fine.weights.sum() == pytest.approx(1.0)
    assert fine.residual <= coarse.residual * (1 + 1e-6) + 1e-7


@given(st.integers(2, 1000), widths)
def test_the_weights_do_not_depend_on_the_unit_of_time(factor, sigma_rel):
    steps, sigma_rels = snapshots(100)
    found = fit_profile(steps, sigma_rels, step=900, sigma_rel=sigma_rel)
    longer = fit_profile(
        [factor * step for step in steps], sigma_rels, step=900 * factor, sigma_rel=sigma_rel
    )
    np.testing.assert_allclose(longer.weights, found.weights, atol=1e-7)
    assert longer.residual == pytest.approx(found.residual, abs=1e-6)


def test_a_profile_given_twice_changes_nothing():
    steps, sigma_rels = snapshots()
    expected = fit_profile(steps, sigma_rels, step=NUM_STEPS, sigma_rel=0.07)
    found = fit_profile(steps * 2, sigma_rels * 2, step=NUM_STEPS, sigma_rel=0.07)
    assert found.residual == pytest.approx(expected.residual, rel=1e-6)
    assert np.abs(found.weights).sum() <= 1.01 * np.abs(expected.weights).sum()


@dataclasses.dataclass(frozen=True)
class Run:
    """A random walk of parameters with a drift, and averages tracked along it."""

    folder: object
    params: object
    averages: dict

    def direct(self, sigma_rel, step=NUM_STEPS):
        if sigma_rel not in self.averages:
            self.averages[sigma_rel] = tracked(self.params, sigma_rel)
        return self.averages[sigma_rel][step - 1]

    def error(self, found, sigma_rel, step=NUM_STEPS):
        """The error relative to the distance of the average from the parameters at its step."""
        direct = self.direct(sigma_rel, step)
        return np.linalg.norm(found - direct) / np.linalg.norm(direct - self.params[step - 1])


def tracked(params, sigma_rel):
    """The average after each update, by its recursion."""
    rule = PowerEMA(sigma_rel=sigma_rel)

    def update(average, at):
        step, new = at
        average = rule.update(average, new, step)
        return average, average

    return np.asarray(
        jax.lax.scan(update, jnp.zeros(params.shape[1]), (jnp.arange(1, NUM_STEPS + 1), params))[1]
    )


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("snapshots")
    drift = np.sqrt(np.linspace(0.0, 1.0, NUM_STEPS))[:, None] * rng.normal(size=(1, 60))
    params = (
        rng.normal(size=(1, 60)) + drift + 0.02 * np.cumsum(rng.normal(size=(NUM_STEPS, 60)), 0)
    ).astype("f4")
    found = Run(folder, params, {})
    for step, width in zip(*snapshots(), strict=True):
        average = found.direct(width, step)
        facts = {"step": step, "sigma_rel": width}
        write_tensors(folder / f"power_{width}_{step:08d}.safetensors", nest(average), facts)
    return found


def nest(vector):
    return {"layer": {"w": vector[:50].reshape(5, 10)}, "b": vector[50:]}


def flat(params):
    return np.concatenate([params["layer"]["w"].ravel(), params["b"]])


@pytest.mark.parametrize(
    ("sigma_rel", "largest"),
    [(0.04, 3e-3), (0.06, 1e-3), (0.07, 1e-3), (0.12, 1e-3), (0.15, 1e-3), (0.2, 5e-3)],
)
def test_a_reconstruction_is_close_to_the_tracked_average(walk, sigma_rel, largest):
    found = reconstruct(walk.folder, sigma_rel=sigma_rel)
    assert found.step == NUM_STEPS and found.num_snapshots == 40
    assert walk.error(flat(found.params), sigma_rel) < largest
    nearest = min(WIDTHS, key=lambda width: abs(width - sigma_rel))
    assert walk.error(walk.direct(nearest), sigma_rel) > 30 * largest


@pytest.mark.parametrize(("sigma_rel", "step"), [(0.05, NUM_STEPS), (0.1, NUM_STEPS), (0.1, 350)])
def test_a_tracked_average_is_recovered_bit_for_bit(walk, sigma_rel, step):
    found = reconstruct(walk.folder, sigma_rel=sigma_rel, step=step)
    assert (found.step, found.residual, found.num_snapshots) == (step, 0.0, 1)
    assert found.params["b"].dtype == np.float32
    np.testing.assert_array_equal(flat(found.params), walk.direct(sigma_rel, step))


def test_the_residual_is_small_at_the_steps_of_snapshots_and_large_between_them(walk):
    at, between = (reconstruct(walk.folder, sigma_rel=0.15, step=step) for step in (600, 625))
    assert walk.error(flat(at.params), 0.15, 600) < 5e-3 and at.residual < 2e-2
    assert walk.error(flat(between.params), 0.15, 625) < between.residual and between.residual > 0.1


def test_weights_of_sum_one_make_the_sum_of_snapshots_more_accurate(walk):
    """Without it, the error has a part proportional to the parameters themselves."""
    steps, sigma_rels = snapshots()
    ends, gammas = np.array(steps, float), np.array([gamma_of(width) for width in sigma_rels])
    gamma = np.float64(gamma_of(0.2))
    gram = inner_product(ends[:, None], gammas[:, None], ends, gammas)
    free = np.linalg.solve(gram, inner_product(ends, gammas, np.float64(NUM_STEPS), gamma))
    averages = np.array(
        [walk.direct(width, step) for step, width in zip(steps, sigma_rels, strict=True)]
    )
    error = walk.error(free @ averages.astype(np.float64), 0.2)
    assert walk.error(flat(reconstruct(walk.folder, sigma_rel=0.2).params), 0.2) < 0.5 * error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sigma_rel": 0.3},
            rf"^sigma_rel=0\.3 must be from 1e-06 to {PLAIN_MEAN:g}",
        ),
        (
            {"sigma_rel": 0.1, "step": 1001},
            f"^step=1001 must be from 1 to {NUM_STEPS}, the step of the last snapshot in",
        ),
        ({"sigma_rel": 0.1, "step": 0}, f"^step=0 must be from 1 to {NUM_STEPS}"),
    ],
)
def test_widths_and_steps_out_of_range_are_named(walk, options, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(walk.folder, **options)


def test_snapshots_of_two_networks_are_an_error(tmp_path):
    for step, shape in ((1, 3), (2, 4)):
        facts = {"step": step, "sigma_rel": 0.1}
        write_tensors(
            tmp_path / f"power_0.1_{step:08d}.safetensors",
            {"w": np.zeros(shape, np.float32)},
            facts,
        )
    with pytest.raises(ValueError, match="has a w of another shape than the snapshots before it"):
        reconstruct(tmp_path, sigma_rel=0.12)
    write_tensors(
        tmp_path / "power_0.1_00000002.safetensors", {"v": np.zeros(3, np.float32)}, {**facts}
    )
    with pytest.raises(ValueError, match="has other tensors than the snapshots before it"):
        reconstruct(tmp_path, sigma_rel=0.12)
