"""What the paper says of its samplers holds of trained networks (Song et al. 2021, table 1).

The probability-flow predictor alone is much worse than reverse diffusion for VE, and a
corrector rescues it; for VP it is as good if the steps are small enough for its
discretisation.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest

import score_sde as ss
from score_sde.cli import main
from score_sde.evaluation import sample_distances
from score_sde.evaluation.generation import generate, make_draw
from score_sde.experiments.builders import load_data
from score_sde.sampling import no_corrector
from score_sde.solvers import uniform

NUM = 297
"""As many samples as there are held-out digits."""

REVERSE_DIFFUSION = ss.PredictorCorrector(corrector=no_corrector, grid=uniform)
FLOW = ss.PredictorCorrector(corrector=no_corrector, grid=uniform, noise_scale=0.0)
CORRECTED_FLOW = ss.PredictorCorrector(grid=uniform, noise_scale=0.0)

pytestmark = pytest.mark.slow


def model_of(name, folder):
    """The digits model of a config, trained as the config says."""
    assert main(["train", f"--config=digits/{name}", f"--workdir={folder}"]) == 0
    return ss.load(folder)


def distance(model, sampler):
    """The Fréchet distance of pixels to the held-out digits."""
    draw = make_draw(model, sampler=sampler)
    (batch,) = generate(draw, model.params, jax.random.key(1), NUM, NUM)
    levels, scale = np.asarray(model.scaling.to_data(batch.x)), model.scaling.num_levels - 1
    found = sample_distances(
        jax.random.key(0), levels / scale, load_data(model.config).test[:NUM] / scale
    )
    print(f"\n{type(model.sde).__name__} {sampler}: {found['frechet']:.3f}")  # noqa: T201
    return found["frechet"]


def test_the_flow_alone_is_bad_for_ve_and_a_corrector_rescues_it(tmp_path):
    """50 steps. Measured ratios: 1.38 and 0.82; from one key to another a distance
    changes by about 5 %.
    """
    model = model_of("ve", tmp_path)
    samplers = (REVERSE_DIFFUSION, FLOW, CORRECTED_FLOW)
    noisy, flow, corrected = (
        distance(model, replace(sampler, num_steps=50)) for sampler in samplers
    )
    assert flow > 1.2 * noisy and corrected < 0.92 * flow


def test_the_flow_alone_is_good_for_vp(tmp_path):
    """200 steps. Measured ratio: 1.11."""
    model = model_of("vp", tmp_path)
    noisy, flow = (
        distance(model, replace(sampler, num_steps=200)) for sampler in (REVERSE_DIFFUSION, FLOW)
    )
    assert flow < 1.25 * noisy
