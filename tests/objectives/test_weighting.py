"""Weightings, by the predictions in whose error their papers state them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SDES

from score_sde.experiments.tables import FUNCTIONS
from score_sde.objectives import P2, EDMWeighting, MinSNR, Sigmoid
from score_sde.sdes.reverse import probability_flow

WEIGHTINGS = FUNCTIONS["weighting"]
OF_NOISE = {
    "variance": lambda snr: 1.0,
    "min_snr": lambda snr: min(snr, 5.0) / snr,
    "edm": lambda snr: (1.0 / snr + 0.25) / (0.25 / snr) / snr,
    "p2": lambda snr: 1.0 / (1.0 + snr),
}
"""Weights of the squared error of the noise; an error of the denoised sample is ``1 /
snr`` of it.
"""


@pytest.mark.parametrize("sde_name", SDES)
def test_weights_of_the_noise_are_those_of_the_papers(sde_name):
    sde = SDES[sde_name]
    with jax.enable_x64(True):
        for t in np.geomspace(sde.t_min, sde.t_max, 6):
            alpha, sigma = (float(part) for part in sde.marginal(t))
            for name, weight in OF_NOISE.items():
                found = float(WEIGHTINGS[name](sde, t)) / sigma**2
                np.testing.assert_allclose(
                    found, weight((alpha / sigma) ** 2), rtol=1e-9, err_msg=name
                )


@pytest.mark.parametrize("sde_name", SDES)
def test_flow_matching_is_the_error_of_the_velocity(sde_name):
    """``|v - u|^2`` of two probability flows is ``g^4 / 4`` times the squared distance
    of their scores.
    """
    sde, x, shift = SDES[sde_name], jnp.array([0.3, -2.0]), jnp.array([0.5, 1.0])
    with jax.enable_x64(True):
        for t in np.geomspace(sde.t_min, sde.t_max, 6):
            one, other = (
                probability_flow(sde, lambda x, t, s=s: -x + s)(x, t) for s in (0.0, shift)
            )
            expected = WEIGHTINGS["flow_matching"](sde, t) * jnp.sum(shift**2)
            np.testing.assert_allclose(jnp.sum((one - other) ** 2), expected, rtol=1e-6)


@pytest.mark.parametrize("sde_name", SDES)
def test_the_sigmoid_leaves_the_bound_alone_where_noise_rules(sde_name):
    sde = SDES[sde_name]
    with jax.enable_x64(True):
        for t in np.geomspace(sde.t_min, sde.t_max, 6):
            share = float(Sigmoid(bias=1.5)(sde, t) / WEIGHTINGS["likelihood"](sde, t))
            np.testing.assert_allclose(
                share, 1.0 / (1.0 + np.exp(float(sde.log_snr(t)) - 1.5)), rtol=1e-9
            )


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("sde_name", SDES)
def test_weights_are_finite_in_float32_from_the_smallest_training_time_on(sde_name, name):
    sde = SDES[sde_name]
    times = jnp.geomspace(1e-5, sde.t_max, 50, dtype=jnp.float32)
    weights = jax.vmap(lambda t: WEIGHTINGS[name](sde, t))(times)
    assert np.isfinite(weights).all() and (weights > 0.0).all()


def test_weightings_are_hashable_values():
    assert (
        MinSNR() == MinSNR() and hash(MinSNR()) == hash(MinSNR()) and MinSNR() != MinSNR(gamma=1.0)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinSNR(gamma=0.0), r"gamma=0\.0 must be positive"),
        (lambda: EDMWeighting(sigma_data=-1.0), r"sigma_data=-1\.0 must be positive"),
        (lambda: P2(k=0.0), r"k=0\.0 must be positive"),
        (lambda: P2(gamma=-1.0), r"^gamma=-1\.0 must be a finite number of at least 0"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
