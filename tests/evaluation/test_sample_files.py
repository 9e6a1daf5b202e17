"""Many samples on disk, written part by part."""

import numpy as np
import pytest
from PIL import Image

from score_sde.evaluation.sample_files import check_replaceable, write_npz, write_pngs


@pytest.mark.parametrize(
    ("dtype", "shape"), [(np.uint8, (4, 4, 3)), (np.float32, (2,)), (np.int32, (2, 2, 1))]
)
def test_an_npz_in_parts_equals_the_npz_of_the_whole_array(dtype, shape, tmp_path):
    whole = np.random.default_rng(0).integers(0, 200, (7, *shape)).astype(dtype)
    # The second part is not contiguous.
    parts = [whole[:3], np.asfortranarray(whole[3:6]), whole[6:]]
    write_npz(tmp_path / "samples.npz", parts, 7)
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as file:
        assert file.files == ["samples"]
        assert file["samples"].dtype == dtype and (file["samples"] == whole).all()


@pytest.mark.parametrize(("levels", "channels"), [(256, 3), (17, 1), (2, 1), (1000, 3)])
def test_pngs_span_black_to_white_whatever_the_number_of_levels(levels, channels, tmp_path):
    whole = np.random.default_rng(0).integers(0, levels, (5, 3, 4, channels))
    whole[0, 0, 0], whole[1, 0, 0] = 0, levels - 1
    whole = whole.astype(np.uint8 if levels <= 256 else np.int32)
    folder = tmp_path / "samples"
    write_pngs(folder, [whole[:2], whole[2:]], levels)
    assert [path.name for path in sorted(folder.iterdir())] == [f"{i:08d}.png" for i in range(5)]
    found = np.stack([np.asarray(Image.open(folder / f"{i:08d}.png")) for i in range(5)]).reshape(
        whole.shape
    )
    assert found.dtype == np.uint8
    assert (found == np.rint(255 * whole.astype(float) / (levels - 1))).all()
    assert found[0, 0, 0, 0] == 0 and found[1, 0, 0, 0] == 255
    if levels == 256:
        assert (found == whole).all()


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    folder = tmp_path / "samples"
    check_replaceable(folder)
    folder.mkdir()
    (folder / "00000000.png").touch()
    check_replaceable(folder)
    (folder / "holiday.png").touch()
    with pytest.raises(FileExistsError, match="holds more than samples"):
        check_replaceable(folder)
    with pytest.raises(FileExistsError):
        check_replaceable(folder / "holiday.png")
