"""CIFAR-10, SVHN and the MNISTs: every pixel and label, and errors of one line for missing
or damaged files.
"""

import re

import numpy as np
import pytest
from data_sets import CIFAR10_FILES, pixels, write_cifar10, write_idx
from scipy.io import savemat

from score_sde.data import crops, load_source
from score_sde.data.named import idx
from score_sde.data.named.cifar import cifar10
from score_sde.data.named.idx import fashion_mnist, mnist
from score_sde.data.named.places import ROOT_VARIABLE
from score_sde.data.named.svhn import svhn


def refused(error, load, *parts):
    with pytest.raises(error) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line and all(part in line for part in parts), line


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10_is_what_its_files_hold(tmp_path, below):
    images, labels = write_cifar10(tmp_path / below)
    source = cifar10(tmp_path)
    np.testing.assert_array_equal(source.train, images[:15])
    np.testing.assert_array_equal(source.test, images[15:])
    np.testing.assert_array_equal(source.train_labels, labels[:15])
    np.testing.assert_array_equal(source.test_labels, labels[15:])
    assert source.num_levels == 256 and source.train.flags.c_contiguous


def test_cifar10_is_found_by_its_name_in_the_folder_of_all(tmp_path, monkeypatch):
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    images, _ = write_cifar10(tmp_path / "cifar10")
    np.testing.assert_array_equal(load_source("cifar10").train, images[:15])
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "elsewhere"))
    np.testing.assert_array_equal(
        load_source("cifar10", path=str(tmp_path / "cifar10")).test, images[15:]
    )


def test_other_sizes_are_resized(tmp_path):
    images, _ = write_cifar10(tmp_path)
    np.testing.assert_array_equal(
        cifar10(tmp_path, image_size=16).test[0], crops.plain(images[15], 16)
    )


def test_damage_of_cifar10_is_named(tmp_path):
    write_cifar10(tmp_path)
    file = tmp_path / CIFAR10_FILES[2]
    whole = file.read_bytes()
    for damaged, words in (
        (whole[:-1], "is damaged: 9218 bytes are not whole images of 3073 bytes"),
        (b"", "is damaged: 0 bytes"),
        (whole[:3073], "has 1 images where data_batch_1.bin has 3"),
        (
            whole[:3073] + b"\x0a" + whole[3074:],
            "image 1 has the class 10, not one of 0 to 9",
        ),
    ):
        file.write_bytes(damaged)
        refused(ValueError, lambda: cifar10(tmp_path), str(file), words)
    file.unlink()
    refused(
        FileNotFoundError, lambda: cifar10(tmp_path), f"no CIFAR-10 ({file.name}) in {tmp_path}"
    )


def test_the_python_version_of_cifar10_is_not_unpickled(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    refused(
        ValueError,
        lambda: cifar10(tmp_path),
        "cifar-10-batches-py is the python version",
        "cifar-10-binary.tar.gz",
    )


@pytest.mark.parametrize("name", ["cifar10", "svhn", "mnist", "fashion_mnist"])
def test_missing_data_are_an_error_that_says_how_to_prepare_them(tmp_path, monkeypatch, name):
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(idx, "FASHION_OF_DEBIAN", tmp_path / "nowhere")
    refused(
        FileNotFoundError,
        lambda: load_source(name),
        str(tmp_path / name),
        "--config.data.path=FOLDER",
        " there",
    )


def write_svhn(folder, **changes):
    images, labels = pixels(5, 32, 32, 3), np.array([10, 1, 2, 9, 10], np.uint8)
    for name, rows in (("train_32x32.mat", slice(0, 3)), ("test_32x32.mat", slice(3, 5))):
        arrays = {"X": images[rows].transpose(1, 2, 3, 0), "y": labels[rows, None]}
        savemat(folder / name, {**arrays, **changes}, do_compression=True)
    return images


def test_svhn_is_what_its_files_hold_and_its_class_10_is_the_digit_0(tmp_path):
    images = write_svhn(tmp_path)
    source = svhn(tmp_path)
    np.testing.assert_array_equal(source.train, images[:3])
    np.testing.assert_array_equal(source.test, images[3:])
    assert [*source.train_labels, *source.test_labels] == [0, 1, 2, 9, 0]
    assert svhn(tmp_path, image_size=8).shape == (8, 8, 3)


def test_damage_of_svhn_is_named(tmp_path):
    write_svhn(tmp_path, X=np.zeros((32, 32, 3, 3)))
    refused(
        ValueError,
        lambda: svhn(tmp_path),
        "train_32x32.mat cannot be read: it is not SVHN: its X is float64 of shape (32, 32, 3, 3)",
    )
    write_svhn(tmp_path, y=np.array([[0], [1], [2]]))
    refused(
        ValueError,
        lambda: svhn(tmp_path),
        "train_32x32.mat is damaged: its y is not a class from 1 to 10",
    )
    write_svhn(tmp_path)
    file = tmp_path / "test_32x32.mat"
    file.write_bytes(file.read_bytes()[:-200])
    refused(ValueError, lambda: svhn(tmp_path), f"{file} is damaged")
    file.unlink()
    refused(
        FileNotFoundError,
        lambda: svhn(tmp_path),
        f"no SVHN in {tmp_path}",
        "train_32x32.mat and test_32x32.mat",
    )


def write_mnist(folder, names="{split}-{kind}-idx{dimensions}-ubyte"):
    images, labels = pixels(6, 28, 28), np.arange(6)
    for split, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        for kind, array in (("images", images[rows]), ("labels", labels[rows])):
            write_idx(folder / names.format(split=split, kind=kind, dimensions=array.ndim), array)
    return images


@pytest.mark.parametrize(
    "names", ["{split}-{kind}-idx{dimensions}-ubyte.gz", "{split}-{kind}.idx{dimensions}-ubyte"]
)
@pytest.mark.parametrize("load", [mnist, fashion_mnist])
def test_mnist_is_what_its_files_hold(tmp_path, names, load):
    images = write_mnist(tmp_path, names)
    source = load(tmp_path)
    np.testing.assert_array_equal(source.train[..., 0], images[:4])
    np.testing.assert_array_equal(source.test[..., 0], images[4:])
    assert [*source.train_labels, *source.test_labels] == [0, 1, 2, 3, 4, 5]
    assert load(tmp_path, image_size=32).shape == (32, 32, 1)


def test_fashion_mnist_is_found_where_debian_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "nowhere"))
    monkeypatch.setattr(idx, "FASHION_OF_DEBIAN", tmp_path)
    images = write_mnist(tmp_path)
    np.testing.assert_array_equal(load_source("fashion_mnist").test[..., 0], images[4:])


@pytest.mark.skipif(
    not idx.FASHION_OF_DEBIAN.exists(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_the_fashion_mnist_of_debian_has_60000_training_images():
    source = fashion_mnist(idx.FASHION_OF_DEBIAN)
    assert source.train.shape == (60_000, 28, 28, 1) and len(source.test) == 10_000
    assert (np.bincount(source.train_labels) == 6_000).all()


def test_damage_of_mnist_is_named(tmp_path):
    write_mnist(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for damaged, words in (
        (whole[:-1], "is damaged: 3135 bytes of data where 4 × 28 × 28 are promised"),
        (whole[:10], "it is no IDX file of bytes in 3 dimensions"),
        (b"\x00\x00\x0d\x03" + whole[4:], "it is no IDX file of bytes in 3 dimensions"),
    ):
        images.write_bytes(damaged)
        refused(ValueError, lambda: mnist(tmp_path), str(images), words)
    images.unlink()
    write_idx(tmp_path / f"{images.name}.gz", pixels(4, 28, 28))
    compressed = (tmp_path / f"{images.name}.gz").read_bytes()
    for damaged in (
        compressed[:-9],
        b"not gzip" + compressed,
        compressed[:40] + b"??" + compressed[42:],
    ):
        (tmp_path / f"{images.name}.gz").write_bytes(damaged)
        refused(
            ValueError, lambda: mnist(tmp_path), f"{images.name}.gz is damaged and cannot be read ("
        )
    images.write_bytes(whole)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.arange(3))
    refused(
        ValueError,
        lambda: mnist(tmp_path),
        f"{tmp_path}: test_labels must be integers of shape (2,)",
    )


def test_no_hint_names_a_host():
    assert not re.search(
        r"https?:|www\.|\.(org|com|edu)\b",
        idx.REMEDY + cifar10.__doc__ + svhn.__doc__ + mnist.__doc__,
    )
