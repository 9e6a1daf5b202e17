"""Many samples of a trained model: drawn in shards that processes share, written to one
file or folder, shown in figures and compared with held-out data.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Float

from score_sde.data import DataSource, Examples, Scaling
from score_sde.evaluation import shared_work
from score_sde.evaluation.distance import sample_distances
from score_sde.evaluation.generation import check_finite, draw_range, generate, make_draw
from score_sde.evaluation.plane import figure_of_plane, is_plane
from score_sde.evaluation.plots.samples import figure_of_samples, figures_of_denoising, is_image
from score_sde.evaluation.sample_files import write_npz, write_pngs
from score_sde.evaluation.shards import Shard, Shards
from score_sde.evaluation.shared_work import Remaining
from score_sde.experiments.score_model import Model
from score_sde.runtime.progress import ProgressBar
from score_sde.sampling import Sample
from score_sde.typing import Key

Frames: TypeAlias = Float[np.ndarray, "frames n *shape"]
"""States of samples in model units, the latents first."""

WITHOUT_EFFECT = ("num_samples", "batch_size")
"""The options of the section ``sampling`` on which no sample depends."""

TARGETS = {"npz": "samples.npz", "png": "samples"}
"""The file or folder of all samples, by format."""

FIGURES = ("samples.png", "denoising.png", "denoising.gif")
"""The figures beside the samples."""

NUM_FRAMES = 49
"""The number of states of a sample that figures show."""

NUM_DENOISED, NUM_TRAJECTORIES = 16, 80
"""The numbers of images in an animation, and of points whose trajectories are shown."""

MAX_FRAME_VALUES = 2**26
"""The most values that the states of all samples of a batch may have in memory."""

GRID_SIZE = 10
"""The largest number of rows, and of columns, of a grid of images."""

HEAD = 10_000
"""The number of samples kept in memory for figures and distances."""

LONG_BATCH = 10**10
"""The steps times samples times parameters of a batch, above which it reports its
progress: seconds on a few CPU cores. A program that calls Python to report cannot be
kept in the compilation cache, and compiles in each process anew.
"""

STEPS_OF_ADAPTIVE = 100
"""The number of steps that an adaptive sampler is assumed to take."""


def shards_of(model: Model, key: Key, folder: Path) -> Shards:
    """The shards of a request: sample ``i`` depends on the model, its sampler and the
    key alone.
    """
    sampling = shared_work.options_of(model, "sampling", but=WITHOUT_EFFECT)
    return shared_work.shards_of(model, key, folder, sampling=sampling)


def draw_missing(model: Model, left: Remaining, key: Key) -> Frames | None:
    """Draw the samples that no shard holds, each process its share on its own devices.

    A shard holds ``samples``, as levels or points, and ``nfe``, the score evaluations
    of each.

    Returns:
        the denoising of the first samples, for `results`, where all samples are one
        batch: a program of its own would draw them again. Else None.

    Raises:
        FloatingPointError: some samples are not finite; the finite shards stay.
        FileNotFoundError: another process has not done its share.
    """
    reports, frames = _Reports(), list[Frames]()
    save_path = NUM_FRAMES if can_save_frames(model, left) else 0
    is_reported = is_long(model, min(left.total, model.drawing.batch_size))
    draw = make_draw(model, save_path=save_path, progress=reports if is_reported else None)

    def compute(indices: range, size: int, bar: ProgressBar) -> Shard:
        reports.begin(bar, len(indices))
        batch = draw_range(draw, model.params, key, indices, size, model.conditions_of_samples)
        reports.end()
        check_finite("samples", batch.x, "more steps (num_steps, max_steps) or a longer training")
        if save_path:
            frames.append(frames_in(batch, num_followed(model)))
        return {"samples": np.asarray(model.scaling.to_data(batch.x)), "nfe": np.asarray(batch.nfe)}

    shared_work.finish(
        shared_work.Work("sample", "samples", model.drawing.batch_size), left, compute
    )
    return frames[0] if frames else None


def can_save_frames(model: Model, left: Remaining) -> bool:
    """Whether a figure shows the denoising of the samples, and they are one batch that has
    room for their states.
    """
    return (
        (is_image(model.shape, model.scaling) or is_plane(model))
        and jax.process_count() == 1
        and left.missing == [range(left.total)]
        and left.total <= model.drawing.batch_size
        and NUM_FRAMES * left.total * math.prod(model.shape) <= MAX_FRAME_VALUES
    )


def is_long(model: Model, batch_size: int) -> bool:
    """Whether a batch takes so long that it should report its progress."""
    num_steps = getattr(model.sampler, "num_steps", STEPS_OF_ADAPTIVE)
    num_params = sum(np.size(leaf) for leaf in jax.tree.leaves(model.params))
    return num_steps * batch_size * num_params > LONG_BATCH


class Published(NamedTuple):
    """The published samples.

    Attributes:
        path: the file or folder of all samples.
        num_samples: their number.
        head: the first ``HEAD`` of them, in data units.
        nfe: the mean number of score evaluations of a sample.
    """

    path: Path
    num_samples: int
    head: np.ndarray
    nfe: int


def publish(model: Model, shards: Shards, num_samples: int, path: Path) -> Published:
    """Write all samples to an ``.npz`` file or, where ``path`` has no suffix, to a
    folder of PNGs.
    """
    head: list[np.ndarray] = []
    nfe: list[np.ndarray] = []

    def levels() -> Iterator[np.ndarray]:
        for shard in shards.read(num_samples):
            head.append(shard["samples"][: max(0, HEAD - sum(map(len, head)))])
            nfe.append(shard["nfe"])
            yield shard["samples"]

    with shards.publishing(path) as draft:
        if path.suffix:
            classes = model.conditions_of_samples(np.arange(num_samples))
            others = {} if classes is None else {"classes": classes}
            write_npz(draft, levels(), num_samples, **others)
        else:
            write_pngs(draft, levels(), model.scaling.num_levels or 256)
    mean = round(float(np.mean(np.concatenate(nfe))))
    return Published(path, num_samples, np.concatenate(head), mean)


def results(
    model: Model,
    found: Published,
    key: Key,
    source: DataSource | None,
    missing: str,
    frames: Frames | None,
) -> dict[str, str]:
    """The rows of the report, and their figures.

    ``missing`` is the reason why there is no source of data, and ``frames`` the
    denoising of the first samples; None draws them again.
    """
    folder = found.path.parent
    rows = {
        "samples": f"{found.num_samples} of {type(model.sampler).__name__}, {found.nfe} "
        f"evaluations each, {found.path}"
    }
    data = None if source is None else source.test
    rows |= figures_of(model, key, found.head, data, folder, frames)
    if source is None:
        return rows | {"distances": f"none, the data are missing: {missing}"}
    return rows | distances(key, found.head, source, model.scaling)


def figures_of(
    model: Model,
    key: Key,
    head: np.ndarray,
    data: Examples | None,
    folder: Path,
    frames: Frames | None,
) -> dict[str, str]:
    """The figures of samples in data units, and their rows of the report."""
    if is_plane(model) and data is not None:
        samples, frames = shown(model, key, head), frames_of(model, key, frames)
        return figure_of_plane(folder / "samples.png", model, samples, frames, data)
    indices, num_columns = shown_indices(model, len(head))
    figure = figure_of_samples(
        folder,
        "samples",
        shown(model, key, head[indices]),
        data,
        model.scaling,
        num_columns=num_columns,
    )
    rows = {} if figure is None else {"figure": str(figure)}
    if not is_image(model.shape, model.scaling):
        return rows
    found = figures_of_denoising(folder, frames_of(model, key, frames), model.scaling)
    return rows | {name: str(path) for name, path in found.items()}


def shown(model: Model, key: Key, levels: np.ndarray) -> jax.Array:
    """Samples in model units, in the middles of their bins."""
    return dataclasses.replace(model.scaling, dequantize=False).to_model(key, levels)


def shown_indices(model: Model, num_samples: int) -> tuple[np.ndarray, int | None]:
    """The indices of the samples that a figure shows, and its number of columns, or
    None for a square. With classes, each row of images is one class.
    """
    if not is_image(model.shape, model.scaling):
        return np.arange(num_samples), None
    classes = model.conditions_of_samples(np.arange(num_samples))
    different = list(dict.fromkeys([] if classes is None else classes.tolist()))
    rows = [np.flatnonzero(classes == each)[:GRID_SIZE] for each in different[:GRID_SIZE]]
    num_columns = min(map(len, rows), default=0)
    if len(rows) < 2 or num_columns < 1:
        return np.arange(min(num_samples, GRID_SIZE**2)), None
    return np.concatenate([row[:num_columns] for row in rows]), num_columns


def frames_of(model: Model, key: Key, frames: Frames | None = None) -> Frames:
    """The denoising of the first samples: ``frames``, or else drawn again."""
    if frames is not None:
        return frames
    draw, size = make_draw(model, save_path=NUM_FRAMES), num_followed(model)
    return frames_in(
        next(generate(draw, model.params, key, size, size, model.conditions_of_samples)), size
    )


def frames_in(batch: Sample, num_samples: int) -> Frames:
    """The states of the first samples of a batch, and the samples themselves."""
    states, samples = (np.asarray(part)[:num_samples] for part in (batch.path, batch.x))
    return np.concatenate([np.moveaxis(states, 1, 0), samples[None]])


def num_followed(model: Model) -> int:
    """The number of samples whose denoising is shown."""
    return NUM_TRAJECTORIES if is_plane(model) else NUM_DENOISED


def distances(key: Key, levels: np.ndarray, source: DataSource, scaling: Scaling) -> dict[str, str]:
    """Distances of the samples to held-out data, beside the distances of as many
    training examples, which a perfect model would have.

    Levels are compared on [0, 1], continuous data in their own units, or standardised
    where the model standardises them: columns of different units have no common
    distance.
    """
    count = min(len(levels), len(source.test), len(source.train))
    if count < 2:
        return {}

    def comparable(examples: np.ndarray) -> np.ndarray:
        if scaling.num_levels is not None:
            return examples / (scaling.num_levels - 1)
        return np.asarray(scaling.to_model(key, examples)) if scaling.standardized else examples

    test = comparable(source.test[:count])
    found, least = (
        sample_distances(key, comparable(x[:count]), test) for x in (levels, source.train)
    )
    unit = ", standardised" if scaling.standardized else ""
    return {
        f"distance: {name}": f"{value:.4f} (training data: {least[name]:.4f}), {count} examples of "
        f"each{unit}"
        for name, value in found.items()
    }


class _Reports:
    """Shows the progress within a batch on a bar, which never moves back, whatever the
    order of the reports.
    """

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None
        self._done, self._size, self._part = 0, 0, 0.0

    def begin(self, bar: ProgressBar, size: int) -> None:
        """Start a batch of ``size`` samples."""
        self._bar, self._done, self._size, self._part = bar, bar.done, size, 0.0

    def __call__(self, part: float) -> None:
        if self._bar is not None and part > self._part:
            self._part = part
            self._bar.update(self._done + int(part * self._size), batch=f"{part:.0%}")

    def end(self) -> None:
        """Finish the batch, after its last report."""
        jax.effects_barrier()
        if self._bar is not None:
            self._bar.update(self._done + self._size, batch="100%")
