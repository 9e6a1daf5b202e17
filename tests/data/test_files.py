"""Arrays from NumPy's files: images and vectors, and errors of one line."""

import errno
import io
import pickle
import zipfile

import numpy as np
import pytest
from damaged_files import num_refused

from score_sde.data import DataSource, examples, npy, npz
from score_sde.data.examples import LazyExamples

IMAGES = np.random.default_rng(0).integers(256, size=(12, 4, 5)).astype(np.uint8)
VECTORS = np.random.default_rng(1).normal(size=(12, 3))


def all_rows(source):
    rows = np.concatenate([source.train, source.test])
    return rows[np.lexsort(rows.reshape(len(rows), -1).T)]


def sort_rows(rows):
    return rows[np.lexsort(rows.reshape(len(rows), -1).T)]


def save(tmp_path, kind, array):
    path = tmp_path / f"data.{kind}"
    np.save(path, array) if kind == "npy" else np.savez(path, data=array)
    return path


@pytest.fixture(params=["npz", "npy"])
def kind(request):
    return request.param


def read(kind, path, **options) -> DataSource:
    return npz(path, **options) if kind == "npz" else npy(path, **options)


def test_grey_images_get_a_channel(tmp_path, kind):
    source = read(kind, save(tmp_path, kind, IMAGES), test_fraction=0.25)
    assert source.shape == (4, 5, 1)
    assert source.num_levels == 256
    assert len(source.test) == 3
    np.testing.assert_array_equal(all_rows(source), sort_rows(IMAGES[..., None]))


def test_color_images_and_levels(tmp_path, kind):
    levels = (IMAGES % 17).reshape(4, 4, 5, 3).astype(np.int64)
    source = read(kind, str(save(tmp_path, kind, levels)), num_levels=17)
    assert source.shape == (4, 5, 3)
    assert source.num_levels == 17
    assert source.train.dtype == np.uint8


def test_binary_images_have_two_levels(tmp_path, kind):
    source = read(kind, save(tmp_path, kind, IMAGES > 128))
    assert source.num_levels == 2
    np.testing.assert_array_equal(all_rows(source), sort_rows((IMAGES > 128)[..., None]))


def test_vectors_become_float32(tmp_path, kind):
    source = read(kind, save(tmp_path, kind, VECTORS))
    assert source.num_levels is None
    np.testing.assert_array_equal(all_rows(source), sort_rows(VECTORS.astype(np.float32)))


def test_the_seed_chooses_the_split(tmp_path, kind):
    path = save(tmp_path, kind, IMAGES)
    np.testing.assert_array_equal(read(kind, path, seed=1).train, read(kind, path, seed=1).train)
    assert not np.array_equal(read(kind, path, seed=1).train, read(kind, path, seed=2).train)


def test_an_archive_may_hold_the_splits_and_their_labels(tmp_path):
    path, labels = tmp_path / "splits.npz", np.arange(len(IMAGES)) % 3
    np.savez(path, train=IMAGES, test=IMAGES[:2], train_labels=labels, test_labels=labels[:2])
    source = npz(path)
    np.testing.assert_array_equal(source.train[..., 0], IMAGES)
    np.testing.assert_array_equal(source.test[..., 0], IMAGES[:2])
    np.testing.assert_array_equal(source.train_labels, labels)
    np.testing.assert_array_equal(source.test_labels, labels[:2])
    assert npz(path, "train").train_labels is None
    np.savez(path, train=IMAGES, test=IMAGES[:2])
    assert npz(path).test_labels is None
    np.savez(path, train=IMAGES, test=IMAGES[:2], train_labels=labels[:-1])
    with pytest.raises(ValueError, match="train_labels must be integers of shape"):
        npz(path)
    np.savez(path, train=IMAGES, test=IMAGES[:2, :3])
    with pytest.raises(ValueError, match=r"splits.npz: test examples have shape .* expected"):
        npz(path)


def test_a_key_chooses_among_arrays(tmp_path):
    path = tmp_path / "two.npz"
    np.savez_compressed(path, images=IMAGES, vectors=VECTORS)
    assert npz(path, "images").shape == (4, 5, 1)
    assert npz(path, key="vectors").shape == (3,)


def with_nan(row):
    vectors = VECTORS.copy()
    vectors[row, 1] = np.nan
    return vectors


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (with_nan(7), {}, r"data\.np[yz]: example 7 has a NaN or infinite value"),
        (IMAGES.astype(np.int32) * 2, {}, r"example \d+ has levels .* 0 to 255 \(num_levels=256\)"),
        (IMAGES, {"num_levels": 17}, r"example 0 has levels .* 0 to 16 \(num_levels=17\)"),
        (IMAGES, {"num_levels": 0}, "num_levels=0 must be from 2 to 65536, or None"),
        (
            IMAGES[0],
            {},
            r"holds uint8 of shape \(4, 5\); images must be \[n, h, w\] or \[n, h, w, c\]",
        ),
        (VECTORS, {"num_levels": 256}, "num_levels=256 is for images of integers, so omit it"),
        (VECTORS[:, 0], {}, r"holds float64 of shape \(12,\); floats must be \[n, d\] or \[n, …\]"),
        (
            np.array(["a", "b"]),
            {},
            "holds <U1 of shape .*; images must be integers, latents and vectors floats",
        ),
        (VECTORS + 1j, {}, "holds complex128 of shape"),
        (np.float64(3.0), {}, r"holds float64 of shape \(\)"),
        (IMAGES[:1], {}, "need at least 2 examples, found 1"),
        (IMAGES, {"test_fraction": 1.5}, "test_fraction=1.5 must be between 0 and 1"),
    ],
)
def test_wrong_contents_are_errors_of_one_line(tmp_path, kind, array, options, message):
    path = save(tmp_path, kind, array)
    with pytest.raises(ValueError, match=message) as caught:
        read(kind, path, **options)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_keys_list_the_keys(tmp_path):
    path = tmp_path / "two.npz"
    np.savez(path, images=IMAGES, vectors=VECTORS)
    with pytest.raises(
        ValueError, match=r"no array 'image', did you mean 'images'\?; arrays: images, vectors$"
    ):
        npz(path, key="image")
    with pytest.raises(ValueError, match=r"no array 'zzz'; arrays: images, vectors$"):
        npz(path, key="zzz")
    with pytest.raises(ValueError, match=r"has 2 arrays; choose one by key=…: images, vectors$"):
        npz(path)
    np.savez(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"has no array; arrays: none$"):
        npz(tmp_path / "none.npz")


class Touch:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_objects_are_never_unpickled(tmp_path, kind):
    trace = tmp_path / "unpickled"
    path = save(tmp_path, kind, np.array([Touch(trace), None], dtype=object))
    with pytest.raises(
        ValueError, match="holds Python objects, which are never unpickled; save plain numbers"
    ):
        read(kind, path)
    path.write_bytes(pickle.dumps(Touch(trace)))
    with pytest.raises(ValueError, match=f"is not an .{kind} file"):
        read(kind, path)
    assert not trace.exists()


def test_absent_files_and_other_kinds_are_errors_of_one_line(tmp_path, kind):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*missing"):
        read(kind, tmp_path / "missing")
    with pytest.raises(ValueError, match="is not a file; a folder of images is named as folder:"):
        read(kind, tmp_path)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ValueError, match=f"empty is not an .{kind} file"):
        read(kind, empty)
    other = {"npz": "npy", "npy": "npz"}[kind]
    with pytest.raises(ValueError, match=f"; it is an? .{other} file: name it as {other}:"):
        read(kind, save(tmp_path, other, IMAGES))


def test_a_file_that_the_system_cannot_read_is_not_damaged(tmp_path, kind, monkeypatch):
    path = save(tmp_path, kind, VECTORS)

    def stale(*args, **kwargs):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(np, "load", stale)
    monkeypatch.setattr("score_sde.data.files.stored_array", stale)
    with pytest.raises(OSError, match=rf"Stale file handle: '{path}'"):
        read(kind, path)


def test_damaged_files_are_read_or_are_errors_of_one_line(tmp_path, kind):
    """A damaged ``.npz`` is never read as other numbers, as it has checksums."""
    path = save(tmp_path, kind, VECTORS)
    expected = read(kind, path).train

    def check(source):
        assert kind == "npy" or np.array_equal(source.train, expected)

    assert num_refused(path, lambda: read(kind, path), count=300, check=check) >= 150


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("in_memory", [None, True])
def test_an_archive_with_more_bytes_than_its_header_promises_is_an_error(
    tmp_path, save_as, in_memory
):
    """NumPy reads less then, and looks at no checksum."""
    images = np.random.default_rng(0).integers(256, size=(10, 64, 64, 3)).astype(np.uint8)
    path = tmp_path / "a.npz"
    with (
        path.open("wb") as file,
        zipfile.ZipFile(file, "w", method := 8 * (save_as is np.savez_compressed)) as archive,
    ):
        stream = io.BytesIO()
        np.save(stream, images)
        archive.writestr("x.npy", stream.getvalue().replace(b"64, 64, 3)", b"64, 14, 3)"), method)
    with pytest.raises(
        ValueError,
        match=r"a\.npz is damaged: .*values of uint8 are expected, and there are more bytes",
    ):
        npz(path, in_memory=in_memory)


@pytest.mark.parametrize(
    "array", [IMAGES, IMAGES[..., None] % 17, IMAGES > 128, VECTORS, VECTORS.astype(">f4")]
)
def test_rows_in_a_file_equal_rows_in_memory(tmp_path, kind, array):
    path = save(tmp_path, kind, array)
    expected, found = (read(kind, path, in_memory=in_memory, seed=2) for in_memory in (True, False))
    for split in ("train", "test"):
        assert isinstance(getattr(found, split), LazyExamples)
        np.testing.assert_array_equal(getattr(found, split)[:], getattr(expected, split))
    assert found.num_levels == expected.num_levels and found.train.dtype == expected.train.dtype


def test_the_splits_of_an_archive_may_stay_in_it(tmp_path):
    path, labels = tmp_path / "splits.npz", np.arange(len(IMAGES))
    np.savez(path, train_labels=labels, train=IMAGES, test=IMAGES, test_labels=labels)
    source = npz(path, in_memory=False, num_levels=256)
    np.testing.assert_array_equal(source.train[:][..., 0], IMAGES)
    np.testing.assert_array_equal(source.test[3][..., 0], IMAGES[3])
    np.testing.assert_array_equal(source.train_labels, labels)


def test_large_arrays_stay_in_their_files(tmp_path, kind, monkeypatch):
    path = save(tmp_path, kind, IMAGES)
    assert isinstance(read(kind, path).train, np.ndarray)
    monkeypatch.setattr(examples, "LAZY_ABOVE", IMAGES.nbytes - 1)
    assert isinstance(read(kind, path).train, LazyExamples)
    assert isinstance(read(kind, path, in_memory=True).train, np.ndarray)


def test_arrays_without_readable_rows_are_read_into_memory_or_are_errors(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "c.npz", data=IMAGES)
    np.save(tmp_path / "f.npy", np.asfortranarray(IMAGES))
    with pytest.raises(
        ValueError, match=r"c\.npz: array 'data' cannot stay in the file, because it is compressed"
    ):
        npz(tmp_path / "c.npz", in_memory=False)
    with pytest.raises(
        ValueError,
        match=r"f\.npy: its array cannot stay in the file, because its rows .*\(Fortran order\)",
    ):
        npy(tmp_path / "f.npy", in_memory=False)
    monkeypatch.setattr(examples, "LAZY_ABOVE", 0)
    for source in (npz(tmp_path / "c.npz"), npy(tmp_path / "f.npy")):
        assert isinstance(source.train, np.ndarray)
        np.testing.assert_array_equal(all_rows(source), sort_rows(IMAGES[..., None]))


def test_a_wrong_row_of_a_file_is_named_when_it_is_read(tmp_path, kind):
    path = save(tmp_path, kind, with_nan(7))
    source = read(kind, path, in_memory=False)
    with pytest.raises(ValueError, match=rf"^{path}: example 7 has a NaN or infinite value"):
        all_rows_of(source)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(VECTORS[7].tobytes()[:8])])
    with pytest.raises(
        OSError, match=rf"^{path}: example \d+ cannot be read: the file ends before it does"
    ):
        all_rows_of(source)


def all_rows_of(source):
    return np.concatenate([source.train[:], source.test[:]])


def test_damaged_files_are_read_by_rows_or_are_errors_of_one_line(tmp_path, kind):
    path = save(tmp_path, kind, VECTORS)
    rows = lambda: all_rows_of(read(kind, path, in_memory=False))  # noqa: E731
    assert num_refused(path, rows, count=200) >= 90


LATENTS = np.random.default_rng(2).normal(size=(12, 4, 5, 3)).astype(np.float32)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize("in_memory", [None, False])
@pytest.mark.parametrize("shape", [(12, 4, 5, 3), (12, 4, 15), (12, 2, 2, 3, 5), (12, 60)])
def test_floats_of_any_shape_pass_as_they_are(tmp_path, kind, shape, in_memory):
    latents = LATENTS.reshape(shape)
    source = read(kind, save(tmp_path, kind, latents), in_memory=in_memory, seed=3)
    assert source.num_levels is None and source.shape == shape[1:]
    expected = DataSource.from_examples(latents, num_levels=None, seed=3)
    np.testing.assert_array_equal(source.train[:], expected.train)


@pytest.mark.parametrize("in_memory", [None, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_first_are_recognised(tmp_path, kind, dtype, in_memory):
    images = np.random.default_rng(0).integers(256, size=(12, 3, 8, 8)).astype(dtype)
    path = save(tmp_path, kind, images)
    options = {"in_memory": in_memory, "seed": 2}
    if dtype is np.uint8:
        message = rf"^{path} holds uint8 of shape \(12, 3, 8, 8\), with channels first: "
        with pytest.raises(ValueError, match=message + "channels_first=True moves .*transpose"):
            read(kind, path, **options)
    else:
        source = read(kind, path, **options)
        assert source.shape == (3, 8, 8) and "may have their channels first" in source.notes[0]
    assert read(kind, path, channels_first=False, **options).shape == (3, 8, 8)
    moved = read(kind, path, channels_first=True, **options)
    assert moved.shape == (8, 8, 3) and not moved.notes
    levels = 256 if dtype is np.uint8 else None
    expected = DataSource.from_examples(images.transpose(0, 2, 3, 1), num_levels=levels, seed=2)
    np.testing.assert_array_equal(moved.train[:], expected.train)
    with pytest.raises(ValueError, match=r"channels_first=True is for \[n, c, h, w\]"):
        read(kind, save(tmp_path, kind, VECTORS), channels_first=True)


@pytest.mark.parametrize("shape", [(12, 3, 3, 3), (12, 1, 28, 1), (12, 32, 32, 3), (12, 8, 8)])
def test_images_with_their_channels_last_are_no_others(tmp_path, kind, shape):
    assert len(read(kind, save(tmp_path, kind, np.zeros(shape, np.uint8))).shape) == 3


@pytest.mark.parametrize(
    ("train", "train_labels", "test", "test_labels"),
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_val", "Y_val"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train", "train_labels", "validation", "validation_labels"),
    ],
)
def test_splits_and_labels_by_the_names_of_other_libraries(
    tmp_path, train, train_labels, test, test_labels
):
    path = tmp_path / "mnist.npz"
    arrays = {train: IMAGES, train_labels: LABELS[:, None].astype(np.uint8)}
    np.savez(path, **arrays, **{test: IMAGES[:2], test_labels: LABELS[:2]})
    source = npz(path)
    np.testing.assert_array_equal(source.train[..., 0], IMAGES)
    np.testing.assert_array_equal(source.test[..., 0], IMAGES[:2])
    np.testing.assert_array_equal(source.train_labels, LABELS)
    np.testing.assert_array_equal(source.test_labels, LABELS[:2])
    assert source.notes == (f"{path}: {train} to train on, {test} held out",)


def test_a_split_is_chosen_among_three(tmp_path):
    path = tmp_path / "medmnist.npz"
    np.savez(path, train_images=IMAGES, val_images=IMAGES[:3], test_images=IMAGES[:2])
    assert len(npz(path).test) == 2 and len(npz(path, test_split="validation").test) == 3
    with pytest.raises(ValueError, match=r"no split 'val'.*; splits: train, test, validation$"):
        npz(path, test_split="val")


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("images", "labels"), {}),
        (("x", "y"), {}),
        (("arr_0", "arr_1"), {}),
        (("a", "b"), {"key": "a", "label": "b"}),
        (("a", "b"), {"label": "b"}),
    ],
)
def test_an_archive_of_examples_and_their_labels(tmp_path, names, options):
    path = tmp_path / "a.npz"
    np.savez(path, **dict(zip(names, (IMAGES, LABELS), strict=True)))
    source = npz(path, seed=1, **options)
    expected = DataSource.from_examples(IMAGES[..., None], num_levels=256, labels=LABELS, seed=1)
    np.testing.assert_array_equal(source.train, expected.train)
    np.testing.assert_array_equal(source.train_labels, expected.train_labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:-1], r"labels must be integers of shape \(12,\), one per example, not int64 of"),
        (LABELS / 2, "labels must be integers of shape"),
        (LABELS + 2**31, r"labels are from 2147483648 to 2147483650: labels must be below 2"),
        (np.eye(12, dtype=int), "labels must be integers of shape"),
    ],
)
def test_wrong_labels_are_errors_of_one_line(tmp_path, labels, message):
    path = tmp_path / "a.npz"
    np.savez(path, a=IMAGES, b=labels)
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        npz(path, label="b")
    with pytest.raises(ValueError, match="no array 'c'"):
        npz(path, label="c")
