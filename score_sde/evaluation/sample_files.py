"""Many samples on disk: one ``.npz``, or a folder of PNGs named by index; written part
by part.
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
"""Samples as levels or points, in parts."""


def write_npz(path: Path, parts: Levels, num_samples: int, **others: np.ndarray) -> None:
    """Write the array ``samples``, ``num_samples`` in all, and ``others``, in the
    format of ``np.savez_compressed``.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("samples.npy", "w", force_zip64=True) as file:
            for number, part in enumerate(parts):
                if number == 0:
                    head = np.lib.format.header_data_from_array_1_0(part)
                    shape = (num_samples, *part.shape[1:])
                    whole = {**head, "shape": shape, "fortran_order": False}
                    np.lib.format.write_array_header_1_0(file, whole)
                file.write(part.tobytes())
        for name, array in others.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        archive.comment = MARK.encode()


def write_pngs(folder: Path, parts: Levels, num_levels: int) -> None:
    """Write ``00000000.png, 00000001.png, …``: levels ``0 .. num_levels - 1`` become
    ``0 .. 255``, to the nearest.
    """
    folder.mkdir()
    index = 0
    for part in parts:
        for image in to_uint8(part / (num_levels - 1)):
            save_png(folder / f"{index:08d}.png", image)
            index += 1


def check_replaceable(folder: Path) -> None:
    """Raise ``FileExistsError`` where a folder of PNGs would replace other files."""
    if folder.exists() and not (
        folder.is_dir() and all(_is_sample(path) for path in folder.iterdir())
    ):
        raise FileExistsError(f"{folder} holds more than samples: choose another folder")


def _is_sample(path: Path) -> bool:
    return re.fullmatch(r"\d{8,}\.png", path.name) is not None
