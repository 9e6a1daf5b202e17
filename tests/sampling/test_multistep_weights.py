"""Exponential and Runge-Kutta tables: their orders of convergence, and what they are equal to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import CENTRED, GAUSSIAN, SLOW, keys, marginal_std, order, slow_but, two_modes_score
from scipy import integrate as scipy_integrate

from score_sde.sampling import (
    DDIM,
    DEIS,
    EDM,
    ERSDE,
    IPNDM,
    AdamsBashforth,
    DPMSolver,
    DPMSolverPP,
    EulerMaruyama,
    ExtendedReverse,
    Power,
    SDEDPMSolverPP,
    UniPC,
    adams_table,
    decode,
    default_sampler,
    sample,
)
from score_sde.sdes import VESDE, VPSDE, SubVPSDE
from score_sde.sdes.mixture import Mixture
from score_sde.solvers import CauchyGrid, EDMGrid, Nodes, log_snr, marginals_at

# So much noise at the beginning that the lower order of the first steps costs nothing.
WIDE = VESDE(sigma_min=0.05, sigma_max=2000.0)
NARROW = VESDE(sigma_min=1.0, sigma_max=4.0)

ORDERS = {
    "ddim": (DDIM(), WIDE, 1, (64, 192)),
    "adams_bashforth_2": (AdamsBashforth(order=2), WIDE, 2, (64, 192)),
    "adams_bashforth_3": (AdamsBashforth(order=3), WIDE, 3, (64, 192)),
    "adams_bashforth_4": (AdamsBashforth(order=4), WIDE, 4, (64, 192)),
    "adams_bashforth_corrected": (AdamsBashforth(order=2, corrected=True), WIDE, 3, (64, 192)),
    "dpm_solver_2": (DPMSolver(order=2), WIDE, 2, (64, 192)),
    "dpm_solver_3": (DPMSolver(order=3), WIDE, 3, (64, 192)),
    "dpm_solver_pp_2": (DPMSolverPP(order=2), WIDE, 2, (64, 192)),
    "dpm_solver_pp_3": (DPMSolverPP(order=3), WIDE, 3, (256, 768)),
    "unipc_2": (UniPC(order=2), WIDE, 3, (64, 192)),
    "unipc_3": (UniPC(order=3), WIDE, 4, (64, 192)),
    "deis_2": (DEIS(degree=2, grid=EDMGrid()), WIDE, 3, (64, 192)),
    "deis_3": (DEIS(degree=3, grid=EDMGrid()), WIDE, 4, (576, 1728)),
    "ipndm_2": (IPNDM(order=2, grid=EDMGrid()), WIDE, 2, (64, 192)),
    "edm_euler": (EDM(order=1), WIDE, 1, (64, 192)),
    "edm_heun": (EDM(order=2), WIDE, 2, (64, 192)),
}


QUICK = ("ddim", "adams_bashforth_3", "unipc_3")


@pytest.mark.parametrize("name", slow_but(ORDERS, *QUICK))
def test_order_of_the_deterministic_samplers(name):
    """On Gaussian data, whose probability flow keeps ``(x - alpha m) / std(t)``; in
    float64, within 0.2.
    """
    sampler, sde, expected, sizes = ORDERS[name]
    latent, mean = np.array([0.8, -1.3]) * sde.prior_std(), np.array(GAUSSIAN.means[0])
    with jax.enable_x64(True):
        stds = [marginal_std(GAUSSIAN, sde, t) for t in (sde.t_max, sde.t_min)]
        exact = mean + stds[1] / stds[0] * (latent - mean)
        score = GAUSSIAN.score_fn(sde)
        ends = [
            jax.jit(
                lambda x, n=n: (
                    dataclasses.replace(sampler, num_steps=n).solve(None, sde, score, x).x
                )
            )(jnp.asarray(latent))
            for n in sizes
        ]
    measured = order([float(np.linalg.norm(np.asarray(end) - exact)) for end in ends], list(sizes))
    print(f"\n{name}: order {measured:.2f}")  # noqa: T201
    assert abs(measured - expected) < 0.2


def test_ipndm_has_order_4_where_steps_are_equal():
    """Adams-Bashforth itself: exact, but for its start, when the noise is a cubic in
    the noise level.
    """
    ratio = np.linspace(4.0, 1.0, 13)
    table = IPNDM().table(NARROW, ratio)
    cubic = lambda s: 1.0 + s - 0.3 * s**2 + 0.1 * s**3  # noqa: E731
    steps = [
        sum(w * cubic(s) for w, s in zip(table.weights[i], ratio[i::-1], strict=False))
        for i in range(12)
    ]
    primitive = lambda s: s + s**2 / 2.0 - 0.1 * s**3 + 0.025 * s**4  # noqa: E731
    np.testing.assert_allclose(steps[3:], np.diff(primitive(ratio))[3:], rtol=1e-12)
    assert np.abs(np.array(steps[:3]) - np.diff(primitive(ratio))[:3]).min() > 1e-6


@pytest.mark.parametrize("factor", [Power(0.0), Power(0.6), Power(1.0), ExtendedReverse()])
@pytest.mark.parametrize("order_", [1, 2, 3, 4])
def test_weights_integrate_polynomials_exactly(factor, order_):
    """``int P(u(s)) dm(s)`` by SciPy for all powers of ``u`` below the order; the
    variance is the marginals'.
    """
    ratio = np.geomspace(30.0, 0.02, 9)
    table = adams_table(ratio, order=order_, variable=lambda s: -np.log(s), factor=factor)
    for i in range(order_ - 1, 8):
        start, stop = ratio[i], ratio[i + 1]
        m = lambda s, stop=stop: np.exp(factor.log(stop) - factor.log(np.float64(s)))  # noqa: E731
        for power in range(order_):
            # Against s: dm/ds = -m slope / s.
            exact, _ = scipy_integrate.quad(
                lambda s, m=m, power=power: (
                    -((-np.log(s)) ** power) * m(s) * factor.slope(np.float64(s)) / s
                ),
                start,
                stop,
                epsabs=1e-13,
                epsrel=1e-11,
            )
            found = sum(
                w * (-np.log(s)) ** power
                for w, s in zip(table.weights[i], ratio[i::-1], strict=False)
            )
            np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(
            (table.decay[i] * start) ** 2 + table.noise[i] ** 2, stop**2, rtol=1e-10
        )
        np.testing.assert_allclose(table.decay[i] + table.weights[i].sum(), 1.0, rtol=1e-10)


def test_the_steps_of_the_papers_are_reproduced():
    """DPM-Solver++(2M) and its SDE form in the words of the paper, for VP, against the tables."""
    sde, ratio = VPSDE(), marginals_at(VPSDE(), log_snr(VPSDE(), 6)).ratio
    h = np.diff(-np.log(ratio))
    ode, noisy = DPMSolverPP().table(sde, ratio), SDEDPMSolverPP().table(sde, ratio)
    r = h[2] / h[3]
    gain = 1.0 - np.exp(-h[3])
    np.testing.assert_allclose(ode.weights[3], [gain * (1.0 + 0.5 / r), -gain * 0.5 / r])
    np.testing.assert_allclose(ode.decay, ratio[1:] / ratio[:-1])
    assert not ode.noise.any()
    gain = 1.0 - np.exp(-2.0 * h[3])
    np.testing.assert_allclose(noisy.weights[3], [gain * (1.0 + 0.5 / r), -gain * 0.5 / r])
    np.testing.assert_allclose(noisy.noise, ratio[1:] * np.sqrt(1.0 - np.exp(-2.0 * h)))
    # SDE-DPM-Solver++ of order 1 is DDIM with eta = 1.
    first, ancestral = SDEDPMSolverPP(order=1).table(sde, ratio), DDIM(eta=1.0).table(sde, ratio)
    for ours, theirs in zip(first[:3], ancestral[:3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@SLOW
def test_ddim_is_euler_in_the_noise_level_and_order_1_of_all():
    sde, latent = SubVPSDE(), jnp.array([0.8, -1.3])
    score = two_modes_score(sde)
    same = [DDIM, AdamsBashforth, DPMSolverPP, DEIS, IPNDM, EDM]
    options = [{}, {"order": 1}, {"order": 1}, {"degree": 0}, {"order": 1}, {"order": 1}]
    ends = [
        make(num_steps=12, grid=log_snr, **more).solve(None, sde, score, latent).x
        for make, more in zip(same, options, strict=True)
    ]
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=2e-4)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        pytest.param(DDIM(eta=1.0), 1.0, marks=SLOW),
        pytest.param(SDEDPMSolverPP(order=1), 1.0, marks=SLOW),
        pytest.param(SDEDPMSolverPP(order=2), 1.2, marks=SLOW),
        pytest.param(AdamsBashforth(order=3, noise_scale=1.0), 1.2, marks=SLOW),
        pytest.param(ERSDE(), 1.0, marks=SLOW),
    ],
    ids=["ddim", "sde_dpm_solver_pp_1", "sde_dpm_solver_pp_2", "adams_bashforth", "er_sde"],
)
def test_strong_order_of_the_stochastic_tables(sampler, expected):
    """Root-mean-square distance to 1,024 steps along the same Brownian trees, 200 paths
    of data with two modes.

    All have strong order 1; where the deterministic part is of higher order, the slope
    between 32 and 128 steps is still a little steeper. It is known to about 0.1 from
    200 paths, and is held within 0.3.
    """
    sde = VPSDE(t_min=0.02)
    score = two_modes_score(sde)

    def ends(n):
        finer = dataclasses.replace(sampler, num_steps=n, path="tree")
        with jax.enable_x64(True):
            draw = jax.jit(
                jax.vmap(lambda key: sample(key, sde, score, finer, (1,), denoise=False).x)
            )
            return np.asarray(draw(keys(3, 200)))

    finest = ends(1024)
    measured = order([np.sqrt(np.mean((ends(n) - finest) ** 2)) for n in (32, 128)], [32, 128])
    print(f"\n{sampler}: strong order {measured:.2f}")  # noqa: T201
    assert abs(measured - expected) < 0.3


@SLOW
@pytest.mark.parametrize(
    "sampler",
    [EulerMaruyama(path="tree"), SDEDPMSolverPP(path="tree")],
    ids=["em", "sde_dpm"],
)
def test_with_a_tree_more_steps_refine_the_same_image(sampler):
    """At 20, 40 and 80 steps nearer and nearer to 200; with noise by index the images
    have nothing in common.
    """
    sde = VPSDE()

    def ends(sampler, n):
        finer = dataclasses.replace(sampler, num_steps=n)
        draw = jax.jit(jax.vmap(lambda key: sample(key, sde, CENTRED.score_fn(sde), finer, (2,)).x))
        return np.asarray(draw(keys(0, 32)))

    distance = lambda a, b: np.sqrt(np.mean((a - b) ** 2))  # noqa: E731
    finest = ends(sampler, 200)
    near = [distance(ends(sampler, n), finest) for n in (20, 40, 80)]
    assert near[0] > near[1] > near[2] and near[2] < 0.3 * 0.5
    unrelated = dataclasses.replace(sampler, path="indexed")
    assert distance(ends(unrelated, 80), ends(unrelated, 200)) > 0.5


class Problem:
    """A mixture, latents, and the exact ends of the probability flow from them, by
    SciPy in float64.
    """

    def __init__(self, seed, dim, spread, num=96):
        rng = np.random.default_rng(seed)
        means = rng.normal(size=(6, dim))
        means /= np.sqrt(np.mean(means**2))
        weights = rng.dirichlet(np.full(6, 3.0))
        self.mixture = Mixture.from_arrays(means, float(spread), weights)
        self.latent, self.dim = rng.normal(size=(num, dim)), dim
        self.std = np.sqrt(np.sum(weights[:, None] * means**2) / dim + spread**2)
        levels = marginals_at(VPSDE(), np.array([1.0]))

        def denoised(y, s):
            v = spread**2 + s**2
            log_weights = np.log(weights) - ((y[:, None] - means) ** 2).sum(-1) / (2.0 * v)
            share = np.exp(log_weights - log_weights.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            return (1.0 - spread**2 / v) * (share @ means) + spread**2 / v * y

        def slope(log_s, flat):
            y = flat.reshape(num, dim)
            return (y - denoised(y, np.exp(log_s))).ravel()

        start = (self.latent / levels.alpha).ravel()
        span = (float(np.log(levels.ratio[0])), np.log(1e-4))
        solved = scipy_integrate.solve_ivp(
            slope, span, start, rtol=1e-8, atol=1e-9, method="DOP853"
        )
        self.exact = solved.y[:, -1].reshape(num, dim)

    def error(self, sampler):
        """The median distance to the exact ends, in standard deviations of the data."""
        sde = VPSDE()
        run = jax.jit(
            jax.vmap(lambda z: decode(sde, self.mixture.score_fn(sde), z, sampler=sampler))
        )
        ends = np.asarray(run(jnp.asarray(self.latent, jnp.float32)), np.float64)
        return np.median(np.linalg.norm(ends - self.exact, axis=1)) / np.sqrt(self.dim) / self.std


@pytest.fixture(scope="module")
def problems():
    return [Problem(40, 2, 0.2), Problem(41, 12, 0.1), Problem(42, 5, 0.4)]


@pytest.mark.parametrize(
    ("nfe", "peers"),
    [
        (5, 0.140),
        *(pytest.param(*case, marks=SLOW) for case in ((10, 0.0379), (20, 0.00190), (50, 0.00013))),
    ],
)
def test_the_default_sampler_has_less_than_half_the_error_of_the_best_of_diffusers(
    problems, nfe, peers
):
    """The exact ends of the same latents; ``peers`` is the best of 16 settings of
    diffusers on such mixtures.
    """
    sampler = default_sampler(nfe=nfe)
    error = float(np.exp(np.mean([np.log(problem.error(sampler)) for problem in problems])))
    print(f"\n{nfe} evaluations: {error:.6f}, the best of diffusers {peers}")  # noqa: T201
    assert error < 0.5 * peers


def test_with_noise_the_default_sampler_draws_from_the_data():
    """The sliced Wasserstein distance to the data at 10 evaluations; the best of
    diffusers has 0.05 and more.
    """
    problem, num, sde = Problem(43, 2, 0.2, num=2), 4096, VPSDE()
    score, sampler = problem.mixture.score_fn(sde), default_sampler(nfe=10, noise_scale=1.0)
    assert sampler.noise_scale == 1.0 and not sampler.corrected
    drawn = np.asarray(
        jax.jit(jax.vmap(lambda key: sample(key, sde, score, sampler, (2,)).x))(keys(1, num))
    )
    directions = np.stack(
        [np.cos(angles := np.linspace(0.0, np.pi, 16, endpoint=False)), np.sin(angles)]
    )
    sets = [np.asarray(problem.mixture.sample(jax.random.key(seed), num)) for seed in (2, 3)]
    data, other, ours = (np.sort(x @ directions, 0) for x in (*sets, drawn))
    distances = [float(np.mean(np.abs(x - data))) / problem.std for x in (other, ours)]
    print(f"\nother data {distances[0]:.4f}, ours {distances[1]:.4f}")  # noqa: T201
    assert distances[1] < 0.035


def test_corrected_adams_bashforth_in_the_log_snr_is_unipc():
    """With ``scale = 0`` the variable is the log SNR; correction costs no evaluation
    and gains an order.
    """
    ratio = marginals_at(VPSDE(), log_snr(VPSDE(), 8)).ratio
    ours, published = (
        AdamsBashforth(scale=0.0, corrected=True).table(VPSDE(), ratio),
        UniPC().table(VPSDE(), ratio),
    )
    np.testing.assert_allclose(ours.correction, published.correction, rtol=1e-9)
    np.testing.assert_allclose(ours.weights, published.weights, rtol=1e-9)


def test_the_default_sampler_has_the_number_of_evaluations_it_was_given():
    sde = VPSDE()
    for nfe in (1, 2, 30):
        drawn = jax.eval_shape(
            lambda key, nfe=nfe: sample(
                key, sde, two_modes_score(sde), default_sampler(nfe=nfe), (3,)
            ),
            jax.random.key(0),
        )
        assert drawn.x.shape == (3,)
        assert default_sampler(nfe=nfe).num_steps == nfe
    one = decode(sde, CENTRED.score_fn(sde), jnp.ones(2), sampler=default_sampler(nfe=1))
    alpha, sigma = sde.marginal(1.0)
    # E[x_0 | x = 1]; in float32 the denoised image is a difference of numbers 600 times
    # as large.
    np.testing.assert_allclose(one, 0.25 * alpha / (0.25 * alpha**2 + sigma**2), atol=1e-4)


@SLOW
@pytest.mark.parametrize(
    "sde", [VPSDE(), SubVPSDE(), VESDE(sigma_max=20.0)], ids=["vp", "subvp", "ve"]
)
def test_the_last_step_to_the_data_is_of_full_order(sde):
    """With ``last_ratio`` far above the smallest scale of the data, Tweedie's formula
    alone is 20 times worse.

    In float64: the weights of so long a step add up to 300, more than float32 and
    half-precision networks are let bear.
    """
    exact_sampler = AdamsBashforth(num_steps=400, order=4, grid=CauchyGrid(), last_ratio=0.02)
    with jax.enable_x64(True):
        latent = jnp.array([[0.8, -1.3]], jnp.float64) * sde.prior_std()
        run = lambda sampler: jax.vmap(  # noqa: E731
            lambda z: decode(sde, GAUSSIAN.score_fn(sde), z, sampler=sampler)
        )(latent)
        exact = run(exact_sampler)
        plain = DPMSolverPP(num_steps=40, order=3, grid=CauchyGrid(), last_ratio=0.1)
        ours = AdamsBashforth(num_steps=40, order=4, grid=CauchyGrid(), last_ratio=0.1)
        errors = [float(jnp.abs(run(sampler) - exact).max()) for sampler in (plain, ours)]
    assert errors[1] < 0.05 * errors[0]


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (DDIM, {"eta": 1.5}, "eta=1.5 must be from 0"),
        (AdamsBashforth, {"order": 7}, "order=7 must be from 1 to 6"),
        (AdamsBashforth, {"scale": -1.0}, "scale=-1.0 must be a finite number of at least 0"),
        (
            AdamsBashforth,
            {"noise_scale": 1.0, "corrected": True},
            "noise_scale=1.0 must be 0 where corrected=True",
        ),
        (
            default_sampler,
            {"noise_scale": -1.0},
            "noise_scale=-1.0 must be a finite number of at least 0",
        ),
        (DPMSolverPP, {"order": 4}, "order=4 must be from 1 to 3"),
        (DPMSolver, {"order": 1}, "order=1 must be one of 2, 3, as DDIM"),
        (EDM, {"order": 3}, "order=3 must be one of 1, 2"),
        (EDM, {"churn": -1.0}, "churn=-1.0 must be at least 0"),
        (DEIS, {"degree": 5}, "degree=5 must be from 0 to 4"),
        (UniPC, {"last_ratio": 0.0}, "last_ratio=0.0 must be positive"),
        (default_sampler, {"nfe": 0}, "nfe=0 must be at least 1"),
        (CauchyGrid, {"scale": 0.0}, "scale=0.0 must be positive"),
        (EDMGrid, {"rho": 0.5}, "rho=0.5 must be at least 1"),
    ],
)
def test_wrong_options_are_refused_in_one_line(make, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        make(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("noise_scale", "num", "order_"), [(0.0, 6, 3), (0.0, 1000, 3), (1.0, 6, 3), (1.0, 1000, 1)]
)
def test_the_last_step_to_the_data_does_not_amplify_noise(noise_scale, num, order_):
    """Through noise no polynomial is extrapolated further than its nodes are apart;
    without it, as far as it must.

    In float64: in float32 rounding is noise, see `test_no_step_amplifies_rounding_errors`.
    """
    ratio = np.append(np.geomspace(100.0, 0.2 / np.sqrt(num), num), 0.0)
    variable = lambda s: -0.5 * np.log(s**2 + 0.01)  # noqa: E731
    with jax.enable_x64(True):
        last = adams_table(ratio, order=3, variable=variable, factor=Power(noise_scale)).weights[-1]
    np.testing.assert_allclose(last.sum(), 1.0, rtol=1e-9)
    assert np.count_nonzero(last) == order_
    assert noise_scale == 0.0 or np.abs(last).sum() < 7.0  # of a parabola one spacing on: 3 + 3 + 1


@pytest.mark.parametrize("num_steps", [pytest.param(20, marks=SLOW), 300])
@pytest.mark.parametrize("t_min", [pytest.param(1e-3, marks=SLOW), 0.1])
@pytest.mark.slow
def test_no_step_amplifies_rounding_errors(t_min, num_steps):
    """The absolute weights of every table, for each of their own sum; the last step of
    order 4 had 1e6 and more.
    """
    last = {"num_steps": num_steps, "last_ratio": 0.5 / num_steps}
    uneven = Nodes(times=(1.0, 0.5, 0.4999, 0.4998, 0.1))
    tables = [
        *(
            make(**last)
            for make in (
                DDIM,
                AdamsBashforth,
                DPMSolverPP,
                SDEDPMSolverPP,
                UniPC,
                DEIS,
                IPNDM,
                ERSDE,
            )
        ),
        *(
            make(num_steps=4, grid=uneven)
            for make in (AdamsBashforth, DPMSolverPP, UniPC, DEIS, ERSDE)
        ),
        AdamsBashforth(order=6, **last),
        default_sampler(nfe=num_steps),
        default_sampler(nfe=num_steps, noise_scale=1.0),
    ]
    sde = VPSDE(t_min=t_min)
    for sampler in tables:
        table = sampler.table(sde, sampler.nodes(sde)[1].ratio)
        for weights in (table.weights, table.correction):
            if weights is not None:
                gain = np.abs(weights).sum(1) / np.maximum(np.abs(weights.sum(1)), 1e-300)
                assert gain[:-1].max() <= 64.0, sampler
                assert gain[-1] <= (16.0 if sampler.ends_at_data else 64.0), sampler


@pytest.mark.slow
@pytest.mark.parametrize("make", [ERSDE, AdamsBashforth], ids=["er_sde", "adams_bashforth"])
def test_many_steps_with_noise_to_the_data_are_not_worse_than_few(make):
    """The standard deviation of a Gaussian after 600 steps, of 4,000 samples in two dimensions:
    within 4 standard errors.
    """
    options = {"noise_scale": 1.0} if make is AdamsBashforth else {}
    sampler = make(num_steps=600, last_ratio=0.01, **options)
    draw = lambda key: sample(key, VPSDE(), CENTRED.score_fn(VPSDE()), sampler, (2,)).x  # noqa: E731
    found = np.asarray(jax.jit(jax.vmap(draw))(keys(5, 4000)))
    assert abs(found.std() / 0.5 - 1.0) < 4.0 / np.sqrt(2.0 * found.size)
