"""Many samples of a trained model: drawn in pieces, each process its share; published
in one place; shown in pictures and compared with held-out data.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from score_sde.data import DataSource, Scaling
from score_sde.evaluation import shared_work
from score_sde.evaluation.distance import sample_distances
from score_sde.evaluation.generation import draw_range, generate, make_draw
from score_sde.evaluation.pieces import Piece, Pieces
from score_sde.evaluation.plots.samples import is_image, picture_of_samples, pictures_of_path
from score_sde.evaluation.sample_files import write_npz, write_pngs
from score_sde.evaluation.shared_work import Remaining
from score_sde.experiments.score_model import Model
from score_sde.runtime.progress import ProgressBar
from score_sde.typing import Key

NOT_THE_NUMBERS = ("num_samples", "batch_size")
"""The keys of the section ``sampling`` on which no sample depends."""

TARGETS = {"npz": "samples.npz", "png": "samples"}
"""The names of the file or folder of all samples, by format."""

PICTURES = ("samples.png", "denoising.png", "denoising.gif")
"""The pictures that lie beside the samples."""

FRAMES = 49

IN_A_ROW = 10
"""A picture has room for so many rows of as many images."""

HEAD = 10_000
"""How many of the samples are kept in memory, for pictures and distances."""


def pieces_of(model: Model, key: Key, folder: Path) -> Pieces:
    """The pieces of the request: all that sample ``i`` depends on is the model, its
    sampler and the key.
    """
    sampling = {
        name: value
        for name, value in model.saved_config["sampling"].items()
        if name not in NOT_THE_NUMBERS
    }
    return shared_work.pieces_of(model, key, folder, sampling=sampling)


def draw_missing(model: Model, left: Remaining, key: Key) -> None:
    """Draw what no piece holds, each process its share on its own devices.

    A piece holds ``samples``, as levels or points, and the evaluations ``nfe`` that
    each has cost.

    Raises:
        FloatingPointError: where some samples are not finite; the finite pieces stay.
        FileNotFoundError: where another process has not done its share.
    """
    reports = _Reports()
    draw = make_draw(model, progress=reports)

    def compute(indices: range, size: int, bar: ProgressBar) -> Piece:
        reports.begin(bar, len(indices))
        batch = draw_range(draw, model.params, key, indices, size, model.conditions_of_samples)
        reports.end()
        if not np.isfinite(batch.x).all():
            raise FloatingPointError(
                "some samples are not finite: more steps (num_steps, max_steps) or a longer "
                "training"
            )
        return {"samples": np.asarray(model.scaling.to_data(batch.x)), "nfe": np.asarray(batch.nfe)}

    shared_work.finish(
        shared_work.Work("sample", "samples", model.drawing.batch_size), left, compute
    )


class Published(NamedTuple):
    """Where all samples are, and how many; the first ``HEAD`` of them, in data units;
    and the mean number of evaluations.
    """

    path: Path
    num_samples: int
    head: np.ndarray
    nfe: int


def publish(model: Model, pieces: Pieces, num_samples: int, path: Path) -> Published:
    """Write all samples to an ``.npz`` file or, where ``path`` has no suffix, to a
    folder of PNGs.
    """
    head: list[np.ndarray] = []
    nfe: list[np.ndarray] = []

    def levels() -> Iterator[np.ndarray]:
        for piece in pieces.read(num_samples):
            head.append(piece["samples"][: max(0, HEAD - sum(map(len, head)))])
            nfe.append(piece["nfe"])
            yield piece["samples"]

    with pieces.publishing(path) as draft:
        if path.suffix:
            classes = model.conditions_of_samples(np.arange(num_samples))
            others = {} if classes is None else {"classes": classes}
            write_npz(draft, levels(), num_samples, **others)
        else:
            write_pngs(draft, levels(), model.scaling.num_levels or 256)
    mean = round(float(np.mean(np.concatenate(nfe))))
    return Published(path, num_samples, np.concatenate(head), mean)


def results(
    model: Model, found: Published, key: Key, source: DataSource | None, missing: str
) -> dict[str, str]:
    """The rows of the report, and their pictures; ``missing``: why there is no source of data."""
    folder = found.path.parent
    rows = {
        "samples": f"{found.num_samples} of {type(model.sampler).__name__}, {found.nfe} "
        f"evaluations each, {found.path}"
    }
    data = None if source is None else source.test
    indices, num_columns = shown_indices(model, len(found.head))
    score_fn = model.score_fn if model.condition is None else None
    picture = picture_of_samples(
        folder,
        "samples",
        shown(model, key, found.head[indices]),
        data,
        model.scaling,
        score_fn=score_fn,
        num_columns=num_columns,
    )
    rows |= {} if picture is None else {"picture": str(picture)}
    rows |= draw_path(model, key, folder)
    distance = {"distances": f"none, for the data are not here: {missing}"}
    return rows | (distances(key, found.head, source, model.scaling) if source else distance)


def shown(model: Model, key: Key, levels: np.ndarray) -> jax.Array:
    """Samples in model units, in the middle of their level."""
    return dataclasses.replace(model.scaling, dequantize=False).to_model(key, levels)


def shown_indices(model: Model, num_samples: int) -> tuple[np.ndarray, int | None]:
    """The samples that a picture has room for, and the number of its columns where it
    is not as square as can be: of a model of classes each row of images is one class.
    """
    if not is_image(model.shape, model.scaling):
        return np.arange(num_samples), None
    classes = model.conditions_of_samples(np.arange(num_samples))
    different = list(dict.fromkeys([] if classes is None else classes.tolist()))
    rows = [np.flatnonzero(classes == each)[:IN_A_ROW] for each in different[:IN_A_ROW]]
    num_columns = min(map(len, rows), default=0)
    if len(rows) < 2 or num_columns < 1:
        return np.arange(min(num_samples, IN_A_ROW**2)), None
    return np.concatenate([row[:num_columns] for row in rows]), num_columns


def draw_path(model: Model, key: Key, folder: Path) -> dict[str, str]:
    """The way from noise to image of the first samples, as a strip and an animation."""
    if not is_image(model.shape, model.scaling):
        return {}
    draw = make_draw(model, save_path=FRAMES)
    batch = next(generate(draw, model.params, key, 16, 16, model.conditions_of_samples))
    frames = np.concatenate([np.moveaxis(np.asarray(batch.path), 1, 0), batch.x[None]])
    return {
        name: str(path) for name, path in pictures_of_path(folder, frames, model.scaling).items()
    }


def distances(key: Key, levels: np.ndarray, source: DataSource, scaling: Scaling) -> dict[str, str]:
    """Distances of the samples to held-out data, beside those of as many training
    examples: the least to hope for.

    Levels are compared on [0, 1], continuous data in their own units, or standardised
    where the model has them so: there is no distance between columns of different
    units.
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
    """Shows on a bar how far a batch is: never back, in whatever order the reports come."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None
        self._done, self._size, self._part = 0, 0, 0.0

    def begin(self, bar: ProgressBar, size: int) -> None:
        """A batch of a size begins."""
        self._bar, self._done, self._size, self._part = bar, bar.done, size, 0.0

    def __call__(self, part: float) -> None:
        if self._bar is not None and part > self._part:
            self._part = part
            self._bar.update(self._done + int(part * self._size), batch=f"{part:.0%}")

    def end(self) -> None:
        """The batch is done, and its last report has come."""
        jax.effects_barrier()
        if self._bar is not None:
            self._bar.update(self._done + self._size, batch="100%")
