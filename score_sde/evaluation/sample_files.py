"""Many samples on disk: one ``.npz``, or a folder of PNGs named by index; written piece
by piece.
"""

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from score_sde.evaluation.plots.images import save_png, to_uint8
from score_sde.runtime.atomic_files import MARK

Levels: TypeAlias = Iterable[np.ndarray]
"""Samples as levels or points, a few at a time."""


def write_npz(path: Path, pieces: Levels, num_samples: int, **others: np.ndarray) -> None:
    """Write the array ``samples`` of ``num_samples`` in all, and ``others``, as
    ``np.savez_compressed`` does of whole arrays.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("samples.npy", "w", force_zip64=True) as file:
            for number, piece in enumerate(pieces):
                if number == 0:
                    head = np.lib.format.header_data_from_array_1_0(piece)
                    shape = (num_samples, *piece.shape[1:])
                    whole = {**head, "shape": shape, "fortran_order": False}
                    np.lib.format.write_array_header_1_0(file, whole)
                file.write(piece.tobytes())
        for name, array in others.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        archive.comment = MARK.encode()


def write_pngs(folder: Path, pieces: Levels, num_levels: int) -> None:
    """Write ``00000000.png, 00000001.png, …``: levels ``0 .. num_levels - 1`` become
    ``0 .. 255``, to the nearest.
    """
    folder.mkdir()
    index = 0
    for piece in pieces:
        for image in to_uint8(piece / (num_levels - 1)):
            save_png(folder / f"{index:08d}.png", image)
            index += 1


def check_replaceable(folder: Path) -> None:
    """Raise ``FileExistsError`` where a folder of PNGs would take the place of something else."""
    if folder.exists() and not (
        folder.is_dir() and all(_is_sample(path) for path in folder.iterdir())
    ):
        raise FileExistsError(f"{folder} holds more than samples: choose another folder")


def _is_sample(path: Path) -> bool:
    return re.fullmatch(r"\d{8,}\.png", path.name) is not None
