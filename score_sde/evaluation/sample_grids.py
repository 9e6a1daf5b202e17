"""Grids of samples while a model trains."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array

from score_sde.evaluation.generation import generate, make_draw
from score_sde.evaluation.plots.images import image_grid
from score_sde.evaluation.plots.samples import figure_of_samples, is_image
from score_sde.evaluation.samples import shown_indices
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.score_model import Experiment
from score_sde.experiments.train import run_keys
from score_sde.runtime.working_copy import local_path
from score_sde.training import Hook, TrainState, device_mesh
from score_sde.training.mesh import gathered


def sample_grids(experiment: AnyExperiment, workdir: str | Path) -> tuple[Hook, ...]:
    """The hook of ``training.sample_every``; none where it is 0, or where the model
    draws no samples.

    Each time, the first process draws 64 samples with the same keys on its devices, and
    writes them to ``samples/`` in the folder of the run. Grids of images are logged by
    the trackers too.
    """
    if not isinstance(experiment, Experiment) or not experiment.training.sample_every:
        return ()
    model, training, data = experiment.model, experiment.training, experiment.source.test
    key, folder = run_keys(model.seed).samples, local_path(workdir) / "samples"
    draw = make_draw(model)

    def draw_samples(state: TrainState, step: int) -> Mapping[str, Array | np.ndarray] | None:
        params = gathered(device_mesh(fsdp=training.fsdp), state.ema_params)
        if jax.process_index() != 0:
            return None
        samples = next(generate(draw, params, key, 64, 64, model.conditions_of_samples)).x
        indices, columns = shown_indices(model, len(samples))
        samples, name = samples[indices], f"step_{step:07d}"
        figure_of_samples(folder, name, samples, data, model.scaling, num_columns=columns)
        if not is_image(model.shape, model.scaling):
            return None
        return {"samples": image_grid(model.scaling.to_unit(samples), num_columns=columns)}

    return (Hook(every=training.sample_every, run=draw_samples),)
