"""Hugging Face data sets: parquet files and saved data sets, read without the hub."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from score_sde.data import DataSource, Loader, hf, load_source, make_loader
from score_sde.data.examples import LazyExamples
from score_sde.data.hugging_face import rows_of

PIXELS = np.random.default_rng(0).integers(256, size=(9, 6, 4, 3)).astype(np.uint8)
LABELS = np.arange(9) % 3


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library, with its cache in a folder of its own and without a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        yield datasets


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def table(pixels=PIXELS, **columns):
    import pyarrow

    rows = [{"bytes": png(image), "path": f"{number}.png"} for number, image in enumerate(pixels)]
    return pyarrow.table({"image": rows, **columns})


def write(path, **columns):
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(columns.pop("table", None) or table(**columns), path)
    return path


def test_one_file_is_split_at_random(library, tmp_path):
    path = write(tmp_path / "any.parquet", label=LABELS)
    expected = DataSource.from_examples(
        PIXELS, num_levels=256, labels=LABELS, test_fraction=0.25, seed=3
    )
    for in_memory in (True, False):
        found = load_source(f"hf:{path}", test_fraction=0.25, seed=3, in_memory=in_memory)
        assert isinstance(found.train, np.ndarray if in_memory else LazyExamples)
        for split in ("train", "test"):
            np.testing.assert_array_equal(getattr(found, split)[:], getattr(expected, split))
            np.testing.assert_array_equal(
                getattr(found, f"{split}_labels"), getattr(expected, f"{split}_labels")
            )


def test_a_folder_has_splits(library, tmp_path):
    write(tmp_path / "data" / "train-00000-of-00001.parquet", label=LABELS)
    write(
        tmp_path / "data" / "validation-00000-of-00001.parquet", pixels=PIXELS[:2], label=LABELS[:2]
    )
    source = hf(str(tmp_path / "data"))
    np.testing.assert_array_equal(source.train, PIXELS)
    np.testing.assert_array_equal(source.test, PIXELS[:2])
    np.testing.assert_array_equal(source.test_labels, LABELS[:2])
    swapped = hf(str(tmp_path / "data"), train_split="validation", test_split="train")
    assert len(swapped.train) == 2
    with pytest.raises(
        ValueError,
        match=r"has no split 'trian', did you mean 'train'\?; splits: train, validation$",
    ):
        hf(str(tmp_path / "data"), train_split="trian")


@pytest.mark.parametrize("splits", [True, False])
def test_a_saved_data_set_with_declared_images_and_classes(library, tmp_path, splits):
    features = library.Features(
        {"picture": library.Image(), "kind": library.ClassLabel(names=["ant", "bee", "cow"])}
    )
    columns = {"picture": [Image.fromarray(image) for image in PIXELS], "kind": LABELS.tolist()}
    saved = library.Dataset.from_dict(columns, features=features)
    saved = library.DatasetDict({"train": saved, "test": saved.select([0, 1])}) if splits else saved
    saved.save_to_disk(tmp_path / "saved")
    source = hf(str(tmp_path / "saved"), test_fraction=0.2)
    assert len(source.test) == 2 and source.shape == (6, 4, 3)
    if splits:
        np.testing.assert_array_equal(source.train, PIXELS)
        np.testing.assert_array_equal(source.train_labels, LABELS)
    assert source.class_names == ("ant", "bee", "cow")


def test_images_are_made_of_one_size_and_kind(library, tmp_path):
    path = write(tmp_path / "grey.parquet", pixels=[PIXELS[0, ..., 0], PIXELS[1, :5], *PIXELS[2:]])
    assert hf(str(path), image_size=4, channels=3).shape == (4, 4, 3)
    assert hf(str(path), image_size=4, channels=1).shape == (4, 4, 1)
    with pytest.raises(
        ValueError, match=r"example 1 is in colour, .* example 0 is grey: channels=3 makes all RGB"
    ):
        hf(str(path), image_size=4)
    message = (
        r"images differ in size: hf:.*grey\.parquet, split train: example 1 is 5×4 .*; "
        r"image_size=4 would crop"
    )
    with pytest.raises(ValueError, match=message):
        hf(str(path), channels=3)
    with pytest.raises(ValueError, match=r"channels=2 must be one of None, 1, 3, 1 is grey and 3"):
        hf(str(path), channels=2)


def test_columns_are_chosen(library, tmp_path):
    mirrored = table(PIXELS[:, ::-1]).column("image")
    path = write(tmp_path / "two.parquet", other=mirrored, digit=LABELS, text=["a"] * 9)
    with pytest.raises(
        ValueError, match=r"has 2 image columns; choose one by image=…: image, other$"
    ):
        hf(str(path))
    source = hf(str(path), image="other", label="digit", in_memory=False)
    np.testing.assert_array_equal(
        np.bincount([*source.train_labels, *source.test_labels]), [3, 3, 3]
    )
    assert {image.tobytes() for image in source.train[:]} < {
        image.tobytes() for image in PIXELS[:, ::-1]
    }
    assert hf(str(path), image="image").train_labels is None
    with pytest.raises(
        ValueError,
        match=r"has no column 'imag', did you mean 'image'\?; columns: image, other, digit",
    ):
        hf(str(path), image="imag")
    with pytest.raises(ValueError, match=r"the labels in column 'text' are .*, not integers"):
        hf(str(path), image="image", label="text")


def test_no_images_list_the_columns(library, tmp_path):
    import pyarrow

    path = write(
        tmp_path / "text.parquet", table=pyarrow.table({"text": ["a", "b"], "label": [0, 1]})
    )
    with pytest.raises(
        ValueError, match=r"text\.parquet has no image column; columns: text, label$"
    ):
        hf(str(path))


def test_a_damaged_image_is_named_when_it_is_read(library, tmp_path):
    import pyarrow

    rows = [png(image) for image in PIXELS]
    rows[5] = rows[5][:60]
    path = write(tmp_path / "bytes.parquet", table=pyarrow.table({"image": [*rows, None]}))
    source = hf(str(path), in_memory=False)
    loader = make_loader(source.train, batch_size=1)
    expected = Loader(array=source.train, batch_size=1)
    for row in range(len(source.train)):
        if source.train.name(int(expected.rows(row)[0])).endswith(("example 5", "example 9")):
            message = (
                r"bytes\.parquet, split train: example (5 cannot be read as|9 has no image "
                r"in column 'image')"
            )
            with pytest.raises(ValueError, match=message):
                loader.batch(row)
        else:
            np.testing.assert_array_equal(loader.batch(row).x, expected.batch(row).x)
    loader.close()


def test_absent_and_damaged_files_are_errors_of_one_line(library, tmp_path):
    for name in (f"{tmp_path}/none", "./none", "none.parquet"):
        with pytest.raises(FileNotFoundError, match=r"^no such file or folder: .*none"):
            hf(name)
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match=r"damaged\.parquet cannot be read \(") as caught:
        hf(str(tmp_path / "damaged.parquet"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        empty = tmp_path / "empty"
        empty.mkdir()
        hf(str(empty))


def test_a_data_set_missing_on_the_hub_is_an_error_that_says_how_to_prepare_it(library):
    with pytest.raises(
        FileNotFoundError, match=r"cannot be loaded from the hub .*load_dataset\('mnist'\)\.save_to"
    ) as caught:
        hf("mnist")
    assert "\n" not in str(caught.value) and str(caught.value).endswith("then take hf:DIR")


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ValueError, match=r"hf:mnist needs the extra hf: pip install 'score-sde\[hf\]'"
    ):
        hf("mnist")


class Rows(list):
    """A table that can only be cut."""

    def select(self, rows):
        return [self[row] for row in rows]


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", range(10)),
        ("train[:3]", range(3)),
        ("train[-2:]", (8, 9)),
        ("train[10%:50%]", range(1, 5)),
        ("train[:999]", range(10)),
        ("train[5:2]", ()),
    ],
)
def test_a_slice_of_a_split(split, rows):
    assert rows_of({"train": Rows(range(10))}, split, "hf:x") == list(rows)


@pytest.mark.parametrize("split", ["train[", "train[3]", "train[a:b]", "train[:1]x", "train[::2]"])
def test_another_form_of_a_slice_is_an_error_of_one_line(split):
    with pytest.raises(ValueError, match=r"hf:x has no split .*: a slice is train\[START:END\]"):
        rows_of({"train": Rows(range(10))}, split, "hf:x")
