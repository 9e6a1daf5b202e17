"""The default grid of every sampler suits every SDE: Gaussian data, against the exact answer.

The grids of the configs are named there; what is tested here is what a user gets who
names none.
"""

import dataclasses
from itertools import pairwise, product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SDES, SLOW

import score_sde.configs
from score_sde.cli.config_file import read_config
from score_sde.experiments import tables
from score_sde.sampling import EulerMaruyama, ExponentialShARK, PredictorCorrector, ShARK
from score_sde.sdes import EDMSDE, SDE, BrownianMotion, Marginal
from score_sde.solvers import adapted, marginals_at, uniform

STD = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SineSDE(SDE):
    """A user's own: ``sigma = 20 sin(pi t / 2 T)``, whose noise hardly grows at the end."""

    t_min: float = 1e-3
    t_max: float = 5.0

    def drift(self, x, t):
        return jnp.zeros_like(x)

    def diffusion(self, t):
        angle = 0.5 * jnp.pi * t / self.t_max
        return 20.0 * jnp.sqrt(jnp.pi / self.t_max * jnp.sin(angle) * jnp.abs(jnp.cos(angle)))

    def marginal(self, t):
        sigma = 20.0 * jnp.sin(0.5 * jnp.pi * jnp.asarray(t) / self.t_max)
        return Marginal(jnp.ones_like(sigma), sigma)

    def prior_std(self):
        return 20.0


ALL_SDES = {**SDES, "edm_80": EDMSDE(), "own": SineSDE()}
ON_GRID = [name for name in tables.SAMPLERS if name not in ("probability_flow", "adaptive_sde")]
ONLY_VE = ("annealed_langevin",)
STEPS = (20, 50, 100)


def with_steps(name, num_steps):
    """A sampler with its default options."""
    return tables.SAMPLERS[name](**{"nfe" if name == "default" else "num_steps": num_steps})


def gaussian_score(sde):
    def score(x, t):
        alpha, sigma = sde.marginal(t)
        return -x / (jnp.square(alpha * STD) + jnp.square(sigma))

    return score


def relative_std(sampler, sde, num=16384):
    """The standard deviation of ``num`` independent numbers at the end, over the exact one."""
    latent = jax.random.normal(jax.random.key(0), (num,))
    latent = sde.prior_std() * latent / jnp.std(latent)
    solve = jax.jit(lambda key, latent: sampler.solve(key, sde, gaussian_score(sde), latent).x)
    found = float(np.std(np.asarray(solve(jax.random.key(1), latent), np.float64)))
    end = marginals_at(sde, np.array([sampler.last_time(sde)]))
    return found / (
        STD if sampler.ends_at_data else float(np.hypot(end.alpha[0] * STD, end.sigma[0]))
    )


@pytest.mark.parametrize("sde_name", ALL_SDES)
def test_euler_maruyama_on_the_default_grid_has_the_right_variance(sde_name):
    """By its exact recursion ``V <- (1 - (f + g^2 / v) h)^2 V + g^2 h``; equal steps in
    ``t`` give 3.7 on EDM's SDE.
    """
    sde, errors = ALL_SDES[sde_name], []
    grids = [EulerMaruyama(num_steps=num_steps).times(sde) for num_steps in STEPS]
    times = np.concatenate(grids)
    with jax.enable_x64(True):
        levels, at = marginals_at(sde, times), jnp.asarray(times)
        rate, diffusion = jax.jit(
            jax.vmap(lambda t: (sde.drift(jnp.ones(()), t), sde.diffusion(t) + 0.0 * t))
        )(at)
    v = (levels.alpha * STD) ** 2 + levels.sigma**2
    parts = np.split(
        np.stack([times, rate, diffusion, v]), np.cumsum([len(grid) for grid in grids])[:-1], axis=1
    )
    for t, f, g, exact in parts:
        variance = sde.prior_std() ** 2
        for i, h in enumerate(-np.diff(t)):
            variance = (1.0 - (f[i] + g[i] ** 2 / exact[i]) * h) ** 2 * variance + g[i] ** 2 * h
        errors.append(abs(np.sqrt(variance / exact[-1]) - 1.0))
    print(f"\n{sde_name}: {np.round(errors, 3)}")  # noqa: T201
    assert (np.array(errors) < [0.16, 0.07, 0.035]).all()


@pytest.mark.parametrize(
    ("sampler", "sde_name", "tolerance"),
    [
        (ExponentialShARK(num_steps=20), "edm_80", 0.08),
        pytest.param(ShARK(num_steps=20), "edm_80", 0.08, marks=SLOW),
        pytest.param(ExponentialShARK(num_steps=20), "own", 0.08, marks=SLOW),
        (PredictorCorrector(num_steps=20), "edm_80", 0.25),
    ],
    ids=["exponential_shark-edm", "shark-edm", "exponential_shark-own", "predictor_corrector-edm"],
)
def test_20_steps_on_the_default_grid(sampler, sde_name, tolerance):
    """Equal steps in ``t`` gave 71, 44, 21 and 8; the standard deviation of 16,384 numbers is
    known to 0.006.
    """
    assert abs(relative_std(sampler, ALL_SDES[sde_name]) - 1.0) < tolerance


WORST = {
    "predictor_corrector": (0.25, 0.09, 0.05),
    "euler_maruyama": (0.17, 0.08, 0.05),
    "heun": (0.17, 0.06, 0.04),
    "ddim": (0.2, 0.1, 0.06),
    "discrete_ddim": (0.2, 0.1, 0.06),
    "discrete_ddpm": (0.32, 0.15, 0.08),
}
"""The largest relative errors at 20, 50 and 100 steps; the others within ``GOOD``. Four
standard errors are 0.022.
"""
GOOD = (0.12, 0.06, 0.04)


@SLOW
@pytest.mark.parametrize(
    ("name", "sde_name"), [c for c in product(ON_GRID, ALL_SDES) if c[0] not in ONLY_VE]
)
def test_every_sampler_on_its_default_grid_and_every_sde(name, sde_name):
    """At 20, 50 and 100 steps."""
    errors = [abs(relative_std(with_steps(name, n), ALL_SDES[sde_name]) - 1.0) for n in STEPS]
    print(f"\n{name} {sde_name}: {np.round(errors, 3)}")  # noqa: T201
    assert (np.array(errors) < WORST.get(name, GOOD)).all()


def test_the_default_grid_is_bounded_in_the_log_of_the_ratio_and_in_time():
    """A quarter of the nodes is even in ``log ratio`` and a tenth in ``t``: these bound
    the longest steps.
    """
    for sde in ALL_SDES.values():
        times = adapted(sde, 40)
        ratio = marginals_at(sde, times).ratio
        assert -np.diff(np.log(ratio)).min() < 1.01 * np.log(ratio[0] / ratio[-1]) / (0.25 * 40)
        assert -np.diff(times).min() < 1.01 * (sde.t_max - sde.t_min) / (0.1 * 40)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marginals(BrownianMotion):
    """Brownian motion with the marginals of another SDE."""

    kind: str = "falls"

    def marginal(self, t):
        t = jnp.asarray(t)
        if self.kind == "falls":
            return Marginal(jnp.ones_like(t), jnp.sin(3.0 * t))
        if self.kind == "still":  # no noise is added for a while
            return Marginal(jnp.ones_like(t), jnp.where(t < 0.2, t, jnp.maximum(0.2, t - 0.5)))
        return Marginal(1.0 - t, t)  # no signal is left at t_max = 1


def test_marginals_whose_noise_does_not_rise_are_refused_in_one_line():
    with pytest.raises(
        ValueError,
        match=r"sigma / alpha of Marginals must be positive and rise from t_min to t_max",
    ) as e:
        EulerMaruyama().times(Marginals())
    assert "\n" not in str(e.value)
    np.testing.assert_array_equal(
        EulerMaruyama(num_steps=4, grid=uniform).times(Marginals()), uniform(Marginals(), 4)
    )


@pytest.mark.parametrize("kind", ["still", "no_signal"])
def test_marginals_at_the_edge_of_an_sde_have_a_grid(kind):
    times = EulerMaruyama(num_steps=2000).times(Marginals(kind=kind))
    assert (np.diff(times.astype(np.float32)) < 0.0).all() and all(
        a > b for a, b in pairwise(times)
    )


def test_the_configs_name_the_grid_they_were_made_with():
    """So that another default does not change what they draw."""
    folder, named = Path(score_sde.configs.__file__).parent, 0
    for path in sorted(folder.rglob("*.py")):
        name = str(path.relative_to(folder).with_suffix(""))
        if path.stem in ("__init__", "paper") or name.split("/", maxsplit=1)[0] in (
            "classifier",
            "dequantizer",
        ):
            continue
        sampling = read_config(name).sampling
        sampler = tables.SAMPLERS[sampling.name]
        fields = (
            {field.name: field.default for field in dataclasses.fields(sampler)}
            if isinstance(sampler, type)
            else {}
        )
        if fields.get("grid") is adapted:
            named += 1
            assert "grid" in sampling, name
    assert named > 20
