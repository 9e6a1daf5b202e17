"""Adaptive steps on a lattice: where they end."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.solvers import OnLattice

SPACING = 2.0**-10


def first_end(start, length):
    """Where a first step of this length ends, in nodes."""
    controller = OnLattice(diffrax.PIDController(rtol=1e-3, atol=1e-3), SPACING).wrap(1)
    terms = diffrax.ODETerm(lambda t, y, args: -y)
    arguments = (
        terms,
        start * SPACING,
        1.0,
        jnp.ones(()),
        length * SPACING,
        None,
        diffrax.Tsit5.func,
        5.0,
    )
    end, _ = controller.init(*arguments)
    return float(end / SPACING)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0.3, 1), (1.0, 1), (3.9, 3), (7.99, 7), (8.5, 8), (9.9, 8), (13.0, 12), (127.0, 112)],
)
def test_a_step_is_the_next_shorter_of_three_bits(length, expected):
    assert first_end(0, length) == expected
    assert first_end(37, length) == 37 + expected


def test_steps_shrink_by_less_than_a_quarter():
    """But for those shorter than the lattice."""
    lengths = np.geomspace(1.0, 1000.0, 60)
    ratios = np.array([first_end(0, length) for length in lengths]) / lengths
    assert ratios.max() <= 1.0 and ratios[lengths >= 4.0].min() > 0.79


def test_a_lattice_has_the_tolerances_of_its_controller():
    controller = diffrax.PIDController(rtol=1e-3, atol=1e-4)
    lattice = OnLattice(controller, SPACING)
    assert (lattice.rtol, lattice.atol, lattice.norm) == (
        controller.rtol,
        controller.atol,
        controller.norm,
    )
