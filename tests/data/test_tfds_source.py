"""TensorFlow Datasets, prepared as ArrayRecord files: written and read without TensorFlow."""

import io
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from score_sde.data import load_source, tfds
from score_sde.data.examples import LazyExamples

PIXELS = np.random.default_rng(0).integers(256, size=(9, 6, 4, 3)).astype(np.uint8)
LABELS = np.arange(9) % 3


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    stream.seek(0)
    return stream


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def tiny_images(library):
    """A data set whose builder is code of this module."""

    class TinyImages(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": library.features.Image(shape=(6, 4, 3)),
                "label": library.features.ClassLabel(names=["ant", "bee", "cow"]),
            }
            return library.core.DatasetInfo(
                builder=self, features=library.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(9), "test": self._generate_examples(2)}

        def _generate_examples(self, num):
            # The library shuffles by the keys; what it makes of them is read back by
            # the tests.
            for row in range(num):
                yield row, {"image": png(PIXELS[row]), "label": int(LABELS[row])}

    return TinyImages


@pytest.fixture(scope="module")
def data_dir(tiny_images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tiny_images(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return str(folder)


def label_of(image):
    return LABELS[next(row for row, pixels in enumerate(PIXELS) if np.array_equal(image, pixels))]


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_and_labels_are_read(data_dir, in_memory):
    source = load_source("tfds:tiny_images", data_dir=data_dir, in_memory=in_memory, label="label")
    assert isinstance(source.train, np.ndarray if in_memory else LazyExamples)
    assert (len(source.train), len(source.test), source.shape, source.num_levels) == (
        9,
        2,
        (6, 4, 3),
        256,
    )
    for split in ("train", "test"):
        images = getattr(source, split)[:]
        np.testing.assert_array_equal(
            getattr(source, f"{split}_labels"), [label_of(image) for image in images]
        )
    assert len({image.tobytes() for image in source.train[:]}) == 9


def test_labels_of_images_in_files_are_read_only_on_request(data_dir):
    source = tfds("tiny_images", data_dir=data_dir)
    assert source.train_labels is not None and source.class_names == ("ant", "bee", "cow")
    assert tfds("tiny_images", data_dir=data_dir, in_memory=False).train_labels is None


def test_a_folder_is_read_without_the_code_of_its_builder(data_dir):
    source, expected = tfds(f"{data_dir}/tiny_images/1.0.0"), tfds("tiny_images", data_dir=data_dir)
    np.testing.assert_array_equal(source.train, expected.train)
    np.testing.assert_array_equal(source.train_labels, expected.train_labels)


def test_splits_may_be_slices(data_dir):
    whole = tfds("tiny_images", data_dir=data_dir)
    source = tfds("tiny_images", data_dir=data_dir, train_split="train[:5]", test_split="train[5:]")
    np.testing.assert_array_equal(source.train, whole.train[:5])
    np.testing.assert_array_equal(source.test, whole.train[5:])
    assert tfds("tiny_images", data_dir=data_dir, image_size=4, channels=1).shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_split": "trian"},
            r"tfds:tiny_images has no split 'trian', did you mean 'train'\?; splits: train, test$",
        ),
        (
            {"image": "imag"},
            r"has no column 'imag', did you mean 'image'\?; columns: image, label$",
        ),
        ({"image": "label"}, "feature 'label' is no image; images: image"),
        ({"label": "kind"}, "has no column 'kind'; columns: image, label"),
    ],
)
def test_wrong_options_are_errors_of_one_line(data_dir, options, message):
    with pytest.raises(ValueError, match=message):
        tfds("tiny_images", data_dir=data_dir, **options)


def test_a_damaged_record_is_named(tiny_images, tmp_path):
    tiny_images(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    (file,) = tmp_path.glob("tiny_images/1.0.0/*train*")
    damaged = bytearray(file.read_bytes())
    damaged[damaged.rindex(b"IEND")] ^= 4
    file.write_bytes(damaged)
    source = tfds("tiny_images", data_dir=str(tmp_path), in_memory=False)
    with pytest.raises(
        ValueError, match=r"^tfds:tiny_images, split train: example 8 cannot be read \(.*mismatch"
    ) as caught:
        source.train[:]
    assert "\n" not in str(caught.value)


def test_unprepared_data_are_an_error_that_says_how_to_prepare_them(library, tiny_images, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"is not prepared in .*file_format='array_record'\)\.download_and_prep",
    ):
        tfds("tiny_images", data_dir=str(tmp_path))
    with pytest.raises(
        ValueError, match=r"^tfds:no_such_data cannot be loaded \(DatasetNotFoundError: "
    ) as caught:
        tfds("no_such_data", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"no dataset_info\.json in "):
        tfds(str(tmp_path))


def test_files_without_random_access_are_errors(data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / "copy")
    info = copy / "tiny_images" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(
        ValueError,
        match=r"is prepared as tfrecord, whose records .* in any order; prepare it again: python",
    ):
        tfds(str(info.parent))


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(
        ValueError, match=r"tfds:mnist needs the extra tfds: pip install 'score-sde\[tfds\]'"
    ):
        tfds("mnist")


def no_library(*arguments):
    pytest.fail("the library would import what the file names")


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_a_prepared_data_set_names_no_code_of_other_packages(key, tmp_path, monkeypatch):
    """The library imports the module of every feature that it does not know."""
    monkeypatch.setattr(
        "score_sde.data.tfds_source.imported_extra",
        lambda *names: SimpleNamespace(builder=no_library),
    )
    folder = tmp_path / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    for value in ({key: "os.path.Evil"}, {"a": [{"b": {key: "evil_module.Feature"}}]}):
        (folder / "features.json").write_text(
            json.dumps({"pythonClassName": "tensorflow_datasets.core.X", **value})
        )
        for path, options in (
            (str(folder), {}),
            ("tiny", {"data_dir": str(tmp_path)}),
            ("tiny/1.0.0", {"data_dir": str(tmp_path)}),
        ):
            with pytest.raises(
                ValueError, match=r"features\.json names the code '(os\.path|evil_module)\."
            ):
                tfds(path, **options)
    (folder / "features.json").write_text("{bad")
    with pytest.raises(ValueError, match="is damaged: it is no JSON"):
        tfds(str(folder))


def test_a_data_set_of_another_namespace_is_not_fetched(monkeypatch):
    monkeypatch.setattr(
        "score_sde.data.tfds_source.imported_extra",
        lambda *names: SimpleNamespace(builder=no_library),
    )
    with pytest.raises(
        ValueError,
        match=r"^tfds:somebody:cats: a data set of another namespace runs code of its own",
    ):
        tfds("somebody:cats")
