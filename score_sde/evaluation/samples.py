"""What ``score-sde sample`` leaves behind: the samples in one place, their pictures and
distances.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from score_sde.data import DataSource, Scaling
from score_sde.evaluation import sample_distances
from score_sde.evaluation.generation import generate, make_draw
from score_sde.evaluation.pieces import Pieces
from score_sde.evaluation.plots.samples import is_image, picture_of_samples, pictures_of_path
from score_sde.evaluation.sample_files import write_npz, write_pngs
from score_sde.experiments.experiment import Model
from score_sde.typing import Key

FRAMES = 49

HEAD = 10_000
"""How many of the samples are kept in memory, for pictures and distances."""


class Published(NamedTuple):
    """Where all samples are; the first ``HEAD`` of them, in data units; and the mean
    number of evaluations.
    """

    path: Path
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
            write_npz(draft, levels(), num_samples)
        else:
            write_pngs(draft, levels(), model.scaling.num_levels or 256)
    return Published(path, np.concatenate(head), round(float(np.mean(np.concatenate(nfe)))))


def results(
    model: Model,
    found: Published,
    key: Key,
    num_samples: int,
    source: DataSource | None,
    missing: str,
) -> dict[str, str]:
    """The rows of the report, and their pictures."""
    folder = found.path.parent
    rows = {
        "samples": f"{num_samples} of {type(model.sampler).__name__}, {found.nfe} evaluations "
        f"each, {found.path}"
    }
    data = None if source is None else source.test
    samples = shown(model, key, found.head)
    picture = picture_of_samples(
        folder, "samples", samples, data, model.scaling, score_fn=model.score_fn
    )
    rows |= {} if picture is None else {"picture": str(picture)}
    rows |= draw_path(model, key, folder)
    distance = {"distances": f"none, for the data are not here: {missing}"}
    return rows | (distances(key, found.head, source, model.scaling) if source else distance)


def shown(model: Model, key: Key, levels: np.ndarray) -> jax.Array:
    """Samples in model units, in the middle of their level: those that a picture has room for."""
    scaling = dataclasses.replace(model.scaling, dequantize=False)
    return scaling.to_model(key, levels if scaling.num_levels is None else levels[:100])


def draw_path(model: Model, key: Key, folder: Path) -> dict[str, str]:
    """The way from noise to image of the first samples, as a strip and an animation."""
    if not is_image(model.shape, model.scaling):
        return {}
    draw = make_draw(
        model.sde,
        model.score_fn_of,
        model.sampler,
        model.shape,
        save_path=FRAMES,
        **model.drawing.options,
    )
    batch = next(generate(draw, model.params, key, 16, 16))
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
