"""The times of evaluations, of the end and of the frames, for every sampler and SDE of
the tables.
"""

import dataclasses
from itertools import cycle, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SAMPLERS, SDES, SLOW, VARIANTS, shortened, two_modes_score

from score_sde.experiments import tables
from score_sde.likelihood.bound import variational_bound
from score_sde.likelihood.flow import log_likelihood
from score_sde.sampling import (
    DDIM,
    EDM,
    AnnealedLangevin,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    ProbabilityFlow,
    Restart,
    ShARK,
    decode,
    default_sampler,
    encode,
    sample,
)
from score_sde.sampling.base import nodes_of
from score_sde.sdes import EDMSDE, SDE, VESDE, VPSDE, BrownianMotion, Marginal, RectifiedFlowSDE
from score_sde.sdes.reverse import denoise as tweedie
from score_sde.sdes.simulation import simulate
from score_sde.solvers import Nodes, marginals_at

ALL = {**SAMPLERS, **VARIANTS}
ON_GRID = [name for name, sampler in ALL.items() if hasattr(sampler, "num_steps")]
T_MINS = (1e-9, 1e-5, 1e-3, 0.1)
DIM = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class FencedSDE(SDE):
    """An SDE that is not a number outside ``[t_min, t_max]``."""

    inner: SDE
    t_min: float
    t_max: float

    def fence(self, t):
        t = jnp.asarray(t)
        low, high = (jnp.asarray(end, t.dtype) for end in (self.t_min, self.t_max))
        return jnp.where((t >= low) & (t <= high), 1.0, jnp.nan).astype(t.dtype)

    def drift(self, x, t):
        return self.inner.drift(x, t) * self.fence(t)

    def diffusion(self, t):
        return self.inner.diffusion(t) * self.fence(t)

    def marginal(self, t):
        return Marginal(*(part * self.fence(t) for part in self.inner.marginal(t)))

    def time_at(self, log_snr):
        return self.inner.time_at(log_snr)

    def prior_std(self):
        return self.inner.prior_std()


def fenced(sde):
    return FencedSDE(inner=sde, t_min=sde.t_min, t_max=sde.t_max)


def with_t_min(sde_name, t_min):
    return dataclasses.replace(SDES[sde_name], t_min=t_min)


def gaussian_score(sde, std=0.5):
    def score(x, t):
        alpha, sigma = sde.marginal(t)
        return -x / (jnp.square(alpha * std) + jnp.square(sigma))

    return score


def few(name, num_steps):
    """A sampler of the tables with so few steps, and the default grid."""
    if name == "default":
        return default_sampler(nfe=num_steps)
    return shortened(ALL[name], num_steps)


FEW = list(zip(ALL, cycle(SDES), cycle((1, 2, 3)), cycle(T_MINS), strict=False))
FAST = ("euler_maruyama", "exponential_shark", "predictor_corrector_langevin", "default")
EVERY = [
    *FEW,
    *((name, sde, 1 + i % 3, T_MINS[i % 4]) for i, (name, sde) in enumerate(product(ALL, SDES))),
]


@pytest.mark.parametrize(
    ("name", "sde_name", "num_steps", "t_min"),
    [
        pytest.param(*case, marks=() if case in FEW and case[0] in FAST else SLOW)
        for case in dict.fromkeys(EVERY)
    ],
)
def test_nothing_is_evaluated_outside_the_times_of_the_sde(name, sde_name, num_steps, t_min):
    """With 1, 2 and 3 steps and a ``t_min`` from 1e-9 on; the last frame is the end,
    and progress ends at 1.
    """
    sde, parts = fenced(with_t_min(sde_name, t_min)), []
    sampler = few(name, num_steps)
    draw = jax.jit(
        lambda key: sample(
            key,
            sde,
            two_modes_score(sde),
            sampler,
            (2,),
            denoise=False,
            save_path=5,
            progress=parts.append,
        )
    )
    drawn = jax.block_until_ready(draw(jax.random.key(0)))
    jax.effects_barrier()
    assert np.isfinite(drawn.x).all() and np.isfinite(drawn.path).all()
    # To the rounding of the largest state of the path.
    np.testing.assert_allclose(drawn.path[-1], drawn.x, atol=4e-6 * np.abs(drawn.path).max())
    assert parts[-1] == 1.0 and parts == sorted(parts)
    assert sde.t_min <= sampler.last_time(sde) <= sde.t_max


@pytest.mark.parametrize(
    "sde_name", [pytest.param(name, marks=() if name == "vp" else SLOW) for name in SDES]
)
def test_likelihoods_bounds_and_encodings_stay_within_the_times_too(sde_name):
    sde, x = fenced(SDES[sde_name]), jnp.array([0.3, -0.8])
    score, key = two_modes_score(sde), jax.random.key(0)

    @jax.jit
    def everything():
        latent = encode(sde, score, x)
        return (
            log_likelihood(key, sde, score, x).log_prob,
            variational_bound(key, sde, score, x, num_times=8),
            latent,
            decode(sde, score, latent, denoise=True),
            simulate(key, sde, x, save_path=3).path,
        )

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(everything()))


GRIDS = tables.FUNCTIONS["grid"]


@pytest.mark.parametrize("sde_name", SDES)
@pytest.mark.parametrize("grid_name", GRIDS)
def test_nodes_are_distinct_in_float32(grid_name, sde_name):
    """2,000 steps down to 1e-9."""
    sde = with_t_min(sde_name, 1e-9)
    times = nodes_of(GRIDS[grid_name], sde, 2000)
    assert (np.diff(times.astype(np.float32)) < 0.0).all()
    assert times[0] == sde.t_max and times[-1] == sde.t_min


@SLOW
@pytest.mark.parametrize("sde_name", SDES)
@pytest.mark.parametrize("grid_name", GRIDS)
@pytest.mark.parametrize(("t_min", "num_steps"), list(product(T_MINS, (1, 2, 20, 2000))))
def test_nodes_are_distinct_in_float32_for_every_t_min(grid_name, sde_name, t_min, num_steps):
    sde = with_t_min(sde_name, t_min)
    times = nodes_of(GRIDS[grid_name], sde, num_steps)
    assert (np.diff(times.astype(np.float32)) < 0.0).all() and len(times) == num_steps + 1
    assert times[0] == sde.t_max and times[-1] == sde.t_min


def test_nodes_that_are_equal_in_float32_are_moved_apart():
    """A grid that is finer than float32 near the prior; and one with more nodes than
    there are numbers.
    """
    crowded = lambda sde, n: np.concatenate([1.0 - 1e-9 * np.arange(n), [sde.t_min]])  # noqa: E731
    times = nodes_of(crowded, VPSDE(), 50)
    assert (np.diff(times.astype(np.float32)) < 0.0).all() and times[0] == 1.0 and times[-1] == 1e-3
    np.testing.assert_allclose(times[:-1], 1.0, atol=1e-5)
    narrow = lambda sde, n: np.linspace(1.0, 1.0 - 1e-7, n + 1)  # noqa: E731
    with pytest.raises(
        ValueError, match="are more than float32 can distinguish: take fewer"
    ) as error:
        nodes_of(narrow, VPSDE(), 50)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("times", [(1.5, 0.5), (1.0, 0.5, 1e-4)], ids=["above", "below"])
def test_a_grid_outside_the_times_of_the_sde_is_refused_in_one_line(times):
    with pytest.raises(ValueError, match=r"must stay within t_max=1 and t_min=0\.001") as error:
        DDIM(num_steps=len(times) - 1, grid=Nodes(times=times)).times(VPSDE())
    assert "\n" not in str(error.value)


def test_a_grid_of_a_wrong_length_or_order_is_refused_in_one_line():
    for grid in (
        lambda sde, n: np.array([1.0, 0.5]),
        lambda sde, n: np.array([0.1, 0.2, 0.3, 0.4]),
    ):
        with pytest.raises(
            ValueError, match="a grid of 3 steps must have 4 falling times"
        ) as error:
            Heun(num_steps=3, grid=grid).times(VPSDE())
        assert "\n" not in str(error.value)
    with pytest.raises(
        ValueError, match="a grid of 1000 steps must have 1001 falling times, got 900: "
    ) as error:
        Heun(num_steps=1000, grid=lambda sde, n: np.linspace(1.0, 0.1, 900)).times(VPSDE())
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


ENDS_AT = 0.3
EARLY = Nodes(times=(1.0, 0.8, 0.6, 0.45, ENDS_AT))


@pytest.mark.parametrize(
    "sampler",
    [
        DDIM(num_steps=4, grid=EARLY),
        *(
            pytest.param(sampler, marks=SLOW)
            for sampler in (
                EulerMaruyama(num_steps=4, grid=EARLY),
                ShARK(num_steps=4, grid=EARLY),
                Heun(num_steps=4, grid=EARLY),
                EDM(num_steps=4, grid=EARLY),
                Restart(num_steps=4, grid=EARLY, restart_min=2.0, restart_max=4.0),
                PredictorCorrector(num_steps=4, grid=EARLY),
                AnnealedLangevin(num_steps=5, grid=EARLY, steps_each=2),
            )
        ),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_sampler_that_ends_early_is_denoised_where_it_ended(sampler):
    """``E[x_0 | x]`` of Gaussian data at t = 0.3; at ``t_min`` it is ``x`` itself."""
    sde, key = VPSDE(), jax.random.key(0)
    score = gaussian_score(sde)
    drawn, plain, decoded = jax.jit(
        lambda: (
            sample(key, sde, score, sampler, (64,)),
            sample(key, sde, score, sampler, (64,), denoise=False),
            decode(sde, score, jnp.ones(64), sampler=sampler, key=key, denoise=True),
        )
    )()
    alpha, sigma = (float(part) for part in marginals_at(sde, np.array(ENDS_AT)))
    gain = alpha * 0.25 / ((0.5 * alpha) ** 2 + sigma**2)
    np.testing.assert_allclose(drawn.x, gain * np.asarray(plain.x), rtol=1e-4, atol=1e-5)
    assert sampler.last_time(sde) == ENDS_AT and gain < 0.9
    end = jax.jit(lambda: sampler.solve(key, sde, score, jnp.ones(64)).x)()
    np.testing.assert_allclose(decoded, tweedie(sde, score, end, ENDS_AT), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "num_steps", [2, pytest.param(5, marks=SLOW), pytest.param(18, marks=SLOW)]
)
@pytest.mark.slow
def test_frames_of_restarts_have_the_scale_of_their_own_level(num_steps):
    """Data at 0 and the exact score: ``x_t = sigma(t) z`` at every frame, within the loops too.

    The probability flow then is ``y / s = const``, which Heun follows exactly; a loop
    adds noise, so 16,384 numbers.
    """
    sde, sampler = VPSDE(), Restart(num_steps=num_steps, restart_steps=2, restarts=2)
    score = lambda x, t: -x / jnp.square(sde.marginal(t).sigma)  # noqa: E731
    steps = sampler.steps(marginals_at(sde, sampler.times(sde)).ratio)
    latent = jax.random.normal(jax.random.key(0), (16384,))
    solve = jax.jit(
        lambda key, z: sampler.solve(key, sde, score, z, save_path=len(steps.before) + 1).path
    )
    path = np.asarray(solve(jax.random.key(1), latent / jnp.std(latent)), np.float64)
    ratio = np.append(steps.before, steps.stop[-1])
    # VP: sigma / alpha = s and alpha^2 + sigma^2 = 1. Six standard errors of a
    # deviation: 0.033.
    np.testing.assert_allclose(path.std(1), ratio / np.sqrt(1.0 + ratio**2), rtol=0.033)


@pytest.mark.parametrize(
    "sde", [BrownianMotion(), VESDE(sigma_max=0.8)], ids=["brownian", "small_ve"]
)
@pytest.mark.parametrize(("nfe", "noise_scale"), list(product((1, 2, 3), (0.0, 1.0))))
def test_the_default_sampler_has_few_steps_on_an_sde_of_little_noise(sde, nfe, noise_scale):
    """Whose prior may lie below the level of the last evaluation."""
    sampler = default_sampler(nfe=nfe, noise_scale=noise_scale)
    times, levels = sampler.nodes(sde)
    assert len(times) == nfe and (np.diff(times) < 0.0).all() and times[0] == sde.t_max
    table = sampler.table(sde, levels.ratio)
    assert all(np.isfinite(part).all() for part in (table.decay, table.weights, table.noise))


def answer(sde, sampler, std=0.5):
    """The standard deviation of 4,096 numbers in float32, over the exact one."""
    latent = jax.random.normal(jax.random.key(0), (DIM,))
    latent = sde.prior_std() * latent / jnp.std(latent)
    solve = jax.jit(lambda key, z: sampler.solve(key, sde, gaussian_score(sde, std), z).x)
    found = float(np.std(np.asarray(solve(jax.random.key(1), latent), np.float64)))
    end = marginals_at(sde, np.array([sampler.last_time(sde)]))
    if (
        sampler.ends_at_data and end.ratio > 0.05
    ):  # nothing is known below t_min: between Tweedie's formula and the data
        low = std**2 / np.hypot(std, end.ratio[0])
        return found / np.clip(found, low, std)
    return found / (
        std if sampler.ends_at_data else float(np.hypot(end.alpha[0] * std, end.sigma[0]))
    )


@pytest.mark.parametrize(
    ("t_min", "nfe"), [(0.1, 1000), (0.03, 2000), pytest.param(1e-9, 2000, marks=SLOW)]
)
def test_the_default_sampler_does_not_amplify_rounding_errors(t_min, nfe):
    """Deterministic: the factor of the latent. The last step amplified rounding by 1e3
    (t_min = 0.1) to 1e6.
    """
    assert abs(answer(VPSDE(t_min=t_min), default_sampler(nfe=nfe)) - 1.0) < 0.01


@SLOW
@pytest.mark.parametrize("sde", [VPSDE(), EDMSDE(), RectifiedFlowSDE()], ids=["vp", "edm", "flow"])
@pytest.mark.parametrize(
    ("name", "t_min"),
    list(product([n for n in SAMPLERS if n in ON_GRID and n != "annealed_langevin"], (1e-9, 0.1))),
)
def test_2000_steps_in_float32_give_the_right_answer(name, sde, t_min):
    """Four standard errors of the standard deviation of 4,096 numbers are 0.044."""
    make = tables.SAMPLERS[name]
    sampler = make(nfe=2000) if name == "default" else make(num_steps=2000)
    assert abs(answer(dataclasses.replace(sde, t_min=t_min), sampler) - 1.0) < 0.05


@pytest.mark.parametrize(
    "sampler",
    [
        EulerMaruyama(num_steps=7),
        *(pytest.param(s, marks=SLOW) for s in (DDIM(num_steps=45), ProbabilityFlow())),
    ],
)
def test_progress_of_a_batch_ends_at_1(sampler):
    parts = []
    draw = lambda key: (  # noqa: E731
        sample(key, VPSDE(), gaussian_score(VPSDE()), sampler, (2,), progress=parts.append).x
    )
    jax.block_until_ready(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 3)))
    jax.effects_barrier()
    assert parts[-1] == 1.0 and parts == sorted(parts) and len(parts) >= 7
