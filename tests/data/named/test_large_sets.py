"""CelebA, LSUN, FFHQ, CelebA-HQ and ImageNet: every pixel, read on access, and errors of
one line.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from data_sets import example, pixels, write_image, write_records

from score_sde.data import crops, load_source
from score_sde.data.named.celeba import celeba
from score_sde.data.named.faces import celebahq, ffhq
from score_sde.data.named.imagenet import imagenet32, imagenet64
from score_sde.data.named.lmdb_file import open_database
from score_sde.data.named.lsun import lsun
from score_sde.data.named.places import ROOT_VARIABLE
from score_sde.runtime.damage import WrongBytesError


def refused(error, load, *parts):
    with pytest.raises(error) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line and all(part in line for part in parts), line


def everything(examples):
    """All rows of examples that are not in memory."""
    assert not isinstance(examples, np.ndarray)
    return examples[:]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("celeba", {}),
        ("lsun", {"category": "bedroom"}),
        ("ffhq", {}),
        ("celebahq", {}),
        ("imagenet32", {}),
        ("imagenet64", {}),
    ],
)
def test_missing_data_are_an_error_that_says_how_to_prepare_them(
    tmp_path, monkeypatch, name, options
):
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    refused(
        FileNotFoundError,
        lambda: load_source(name, **options),
        str(tmp_path / name),
        " there",
        "--config.data.path=",
    )


FACES = pixels(6, 218, 178, 3)


@pytest.fixture
def faces(tmp_path):
    for number, image in enumerate(FACES, 1):
        write_image(tmp_path / "img_align_celeba" / f"{number:06}.jpg", image, quality=95)
    parts = (0, 0, 1, 2, 0, 1)
    lines = [f"{number:06}.jpg {part}" for number, part in enumerate(parts, 1)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def stored(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def test_celeba_is_cut_resized_and_split_as_published(faces):
    images = [
        crops.celeba(stored(faces / "img_align_celeba" / f"{number:06}.jpg"), 64)
        for number in range(1, 7)
    ]
    source = celeba(faces)
    assert source.shape == (64, 64, 3) and source.num_levels == 256
    np.testing.assert_array_equal(everything(source.train), [images[row] for row in (0, 1, 4)])
    np.testing.assert_array_equal(everything(source.test), [images[row] for row in (2, 5)])
    np.testing.assert_array_equal(everything(celeba(faces, held_out="test").test), [images[3]])
    assert celeba(faces, image_size=32).shape == (32, 32, 3)


@pytest.mark.parametrize("header", ["image_id,partition\n", ""])
def test_the_partition_of_celeba_may_be_a_csv_file(faces, header):
    expected = celeba(faces)
    lines = (faces / "list_eval_partition.txt").read_text()
    (faces / "list_eval_partition.txt").unlink()
    file = faces / "list_eval_partition.csv"
    file.write_text(header + lines.replace(" ", ","))
    np.testing.assert_array_equal(everything(celeba(faces).test), everything(expected.test))
    file.write_text(header + lines.replace(" ", ",") + "000001.jpg;2\n")
    refused(ValueError, lambda: celeba(faces), "list_eval_partition.csv is ", "is no file name")


def test_nothing_is_read_before_it_is_accessed(faces):
    source = celeba(faces)
    file = faces / "img_align_celeba" / "000002.jpg"
    file.write_bytes(file.read_bytes()[:3000])
    source.train[np.array([0, 2])]
    refused(ValueError, lambda: source.train[np.array([1])], f"{file} cannot be read as an image")
    write_image(file, FACES[0][:100])
    refused(ValueError, lambda: source.train[np.array([1])], f"{file}: the image is 100 × 178")
    file.write_bytes(b"not an image")
    refused(
        ValueError, lambda: source.train[np.array([1])], f"{file} is not a PNG, JPEG or WEBP image"
    )
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"000002\.jpg"):
        source.train[np.array([1])]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("000001.jpg 0\n000002.jpg\n", "line 2 is no file name and 0, 1 or 2"),
        ("000001.jpg 3\n", "line 1 is no"),
        ("../../secret.jpg 0\n", "line 1 is no"),
        ("000001.jpg 0\n000002.jpg 2\n", "names no image for validation (1)"),
    ],
)
def test_a_damaged_partition_is_an_error(faces, text, words):
    (faces / "list_eval_partition.txt").write_text(text)
    refused(ValueError, lambda: celeba(faces), "list_eval_partition.txt is ", words)


SCENES = pixels(4, 40, 53, 3)
"""Of the shape of LSUN's, and small."""


def test_a_category_of_lsun_is_read_from_images(tmp_path):
    for name, image in zip(("a/b.png", "a/a.webp", "c.webp"), SCENES, strict=False):
        write_image(
            tmp_path / "tower_train" / name, image, **({"lossless": True} if "webp" in name else {})
        )
    write_image(tmp_path / "tower_val" / "a.png", SCENES[3])
    source = lsun(tmp_path, category="tower", image_size=40)
    np.testing.assert_array_equal(everything(source.train), SCENES[[1, 0, 2], :, 6:46])
    np.testing.assert_array_equal(everything(source.test), SCENES[3:, :, 6:46])


LMDB = Path(__file__).parents[2] / "golden" / "lsun.mdb"
"""90 images in a database that LMDB itself has written; of scripts/make_lmdb_golden.py."""


@pytest.fixture
def database(tmp_path):
    """The file of a category's database."""
    for split in ("train", "val"):
        (tmp_path / f"tower_{split}_lmdb").mkdir()
        shutil.copy(LMDB, tmp_path / f"tower_{split}_lmdb" / "data.mdb")
    return tmp_path / "tower_train_lmdb" / "data.mdb"


def test_a_category_of_lsun_is_read_from_its_database(tmp_path, database):
    images = np.random.default_rng(0).integers(256, size=(90, 4, 4, 3)).astype(np.uint8)
    order = np.argsort(np.arange(90) * 7919 % 90)  # that of the keys
    source = lsun(tmp_path, category="tower", image_size=4)
    np.testing.assert_array_equal(everything(source.train), images[order])
    np.testing.assert_array_equal(source.test[np.array([89, 3])], images[order[[89, 3]]])
    content = database.read_bytes()
    database.write_bytes(content.replace(b"\x89PNG", b"?PNG"))
    refused(
        ValueError,
        lambda: source.train[:],
        "tower_train_lmdb: image 000",
        "is not a PNG, JPEG or WEBP image",
    )
    database.write_bytes(content[:20_000])  # where a map of it would end the process
    refused(
        ValueError,
        lambda: source.train[:],
        "tower_train_lmdb: image 000",
        "is damaged: the file ends before the value does",
    )


def test_lmdb_itself_reads_the_same(database):
    lmdb = pytest.importorskip("lmdb")
    found = open_database(database)
    with (
        lmdb.open(str(database.parent), readonly=True, lock=False) as library,
        library.begin() as transaction,
    ):
        assert list(transaction.cursor()) == [
            (bytes(key), found.read(row)) for row, key in enumerate(found.keys)
        ]


def test_a_database_without_records(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    lmdb.open(str(tmp_path)).close()
    assert len(open_database(tmp_path / "data.mdb").keys) == 0


def test_a_damaged_database_of_lsun_is_an_error(tmp_path, database):
    content, folder = database.read_bytes(), database.parent
    for damaged in (
        b"not a database" * 1000,
        b"",
        content[:4096],
        content[:-4097],
        content[:20_000],
    ):
        database.write_bytes(damaged)
        refused(
            ValueError,
            lambda: lsun(tmp_path, category="tower"),
            f"{folder} is damaged: ",
        )


def test_any_change_of_a_database_is_read_or_is_an_error(tmp_path, database):
    """The library of LMDB follows every number to wherever it leads, which ends the process."""
    content, rng = database.read_bytes(), np.random.default_rng(0)
    whole, found = open_database(database), {"refused": 0, "read": 0}
    records = [whole.read(row) for row in range(90)]
    for _ in range(400):
        damaged = bytearray(content)
        place = int(rng.integers(len(content) // 4096)) * 4096 + int(
            rng.choice([rng.integers(16), rng.integers(160)])
        )
        damaged[place : place + 2] = int(
            rng.choice([0, 1, 16, 4095, 65535, rng.integers(65536)])
        ).to_bytes(2, "little")
        database.write_bytes(damaged)
        try:
            changed = open_database(database)
            values = [changed.read(row) for row in range(len(changed.keys))]
        except WrongBytesError as error:
            assert "\n" not in str(error)
            found["refused"] += 1
        else:
            found["read"] += 1
            assert sum(value != record for value, record in zip(values, records, strict=True)) <= 2
    assert found["refused"] > 100 and found["read"] > 100, found


def test_a_database_that_the_system_cannot_read_is_not_damaged(tmp_path, database, monkeypatch):
    source = lsun(tmp_path, category="tower", image_size=4)

    def failing(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.pread", failing)
    for read in (lambda: lsun(tmp_path, category="tower"), lambda: source.train[:]):
        with pytest.raises(OSError, match=r"^\[Errno 5\] Input/output error"):
            read()


def test_lsun_needs_a_category():
    with pytest.raises(ValueError, match="'lsun' needs category"):
        load_source("lsun")


PORTRAITS = pixels(5, 16, 16, 3)


def write_portraits(path):
    records = [example((3, 16, 16), image.transpose(2, 0, 1).tobytes()) for image in PORTRAITS]
    return write_records(path, records)


@pytest.mark.parametrize("load", [ffhq, celebahq])
@pytest.mark.parametrize("below", ["", "ffhq"])
def test_faces_are_read_from_the_records_of_their_size(tmp_path, load, below):
    file = write_portraits(tmp_path / below / "faces-r04.tfrecords")
    write_records(tmp_path / below / "faces-r03.tfrecords", [b"of another size"])
    for place in (tmp_path, file):
        source = load(place, image_size=16, num_test=2)
        np.testing.assert_array_equal(everything(source.train), PORTRAITS[:3])
        np.testing.assert_array_equal(everything(source.test), PORTRAITS[3:])


def test_faces_are_read_from_images_of_their_size_or_of_twice_that(tmp_path):
    for row, image in enumerate(PORTRAITS):
        write_image(tmp_path / "images" / f"0{row}.png", image)
    np.testing.assert_array_equal(
        everything(ffhq(tmp_path, image_size=16, num_test=1).train), PORTRAITS[:4]
    )
    halves = [crops.halved(image, 8) for image in PORTRAITS]
    np.testing.assert_array_equal(
        everything(ffhq(tmp_path, image_size=8, num_test=1).test), halves[4:]
    )
    refused(
        ValueError,
        lambda: ffhq(tmp_path, image_size=12, num_test=1).train[:],
        "00.png: the image is 16 × 16",
    )


def test_all_faces_can_be_trained_on_as_published(tmp_path):
    write_portraits(tmp_path / "faces-r04.tfrecords")
    source = ffhq(tmp_path, image_size=16, num_test=0)
    np.testing.assert_array_equal(everything(source.train), PORTRAITS)
    np.testing.assert_array_equal(everything(source.test), PORTRAITS)
    for num_test in (5, -1):
        refused(
            ValueError,
            lambda n=num_test: ffhq(tmp_path, image_size=16, num_test=n),
            "must be from 0 to 4, ",
            "has 5 images",
        )


def test_faces_that_are_damaged_or_of_another_size_are_errors(tmp_path):
    file = write_portraits(tmp_path / "faces-r04.tfrecords")
    refused(
        ValueError,
        lambda: ffhq(file, image_size=8),
        f"an image of {file} has shape (16, 16, 3) and must have (8, 8, 3)",
    )
    refused(
        FileNotFoundError,
        lambda: ffhq(tmp_path, image_size=8),
        "no FFHQ at 8 × 8 in",
        "…-r03.tfrecords",
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:-400] + b"??" + whole[-398:])
    source = ffhq(tmp_path, image_size=16, num_test=1)
    np.testing.assert_array_equal(source.train[:], PORTRAITS[:4])
    refused(
        ValueError, lambda: source.test[:], f"{file}: record 4 is damaged: it has another checksum"
    )
    write_portraits(tmp_path / "other-r04.tfrecords")
    refused(
        ValueError,
        lambda: ffhq(tmp_path, image_size=16),
        "has 2 files -r04.tfrecords: name one of them",
    )


THUMBNAILS, CLASSES = pixels(26, 32, 32, 3), np.arange(26) * 39 + 1


def write_imagenet(folder, save=np.savez, **changes):
    """Twelve files for training with two images each, and one to be held out."""
    folder.mkdir(exist_ok=True)
    for number in range(1, 14):
        rows = slice(2 * number - 2, 2 * number)
        name = f"train_data_batch_{number}" if number < 13 else "val_data"
        arrays = {
            "data": THUMBNAILS[rows].transpose(0, 3, 1, 2).reshape(2, -1),
            "labels": CLASSES[rows],
        }
        save(folder / f"{name}.npz", **{**arrays, **changes}, mean=np.zeros(3072))
    return folder / "train_data_batch_1.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_imagenet_is_what_its_files_hold_in_the_order_of_their_numbers(tmp_path, save):
    write_imagenet(tmp_path / "npz", save)
    source = imagenet32(tmp_path)
    np.testing.assert_array_equal(everything(source.train), THUMBNAILS[:24])
    np.testing.assert_array_equal(everything(source.test), THUMBNAILS[24:])
    np.testing.assert_array_equal(source.train[np.array([23, 0, 7])], THUMBNAILS[[23, 0, 7]])
    np.testing.assert_array_equal(source.train_labels, CLASSES[:24] - 1)
    np.testing.assert_array_equal(source.test_labels, CLASSES[24:] - 1)


def test_uncompressed_images_stay_in_their_file(tmp_path):
    file = write_imagenet(tmp_path)
    source = imagenet32(tmp_path)
    write_imagenet(tmp_path, data=255 - THUMBNAILS[:2].transpose(0, 3, 1, 2).reshape(2, -1))
    np.testing.assert_array_equal(source.train[np.array([1])], 255 - THUMBNAILS[1:2])
    file.write_bytes(b"")
    with pytest.raises(OSError, match=rf"{file}: example 1 cannot be read"):
        source.train[np.array([1])]


def test_imagenet_is_read_from_images(tmp_path):
    for split, images in (("train_32x32", THUMBNAILS[:3]), ("valid_32x32", THUMBNAILS[3:5])):
        for row, image in enumerate(images):
            write_image(tmp_path / split / f"{row}.png", image)
    source = imagenet32(tmp_path)
    np.testing.assert_array_equal(everything(source.train), THUMBNAILS[:3])
    np.testing.assert_array_equal(everything(source.test), THUMBNAILS[3:5])
    assert source.train_labels is None


def test_damaged_and_pickled_files_of_imagenet_are_errors(tmp_path):
    file = write_imagenet(tmp_path)
    refused(
        ValueError,
        lambda: imagenet64(tmp_path),
        f"{file} cannot be read: it is not ImageNet at 64 × 64: data is uint8 of shape (2, 3072)",
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    refused(ValueError, lambda: imagenet32(tmp_path), f"{file} is damaged and cannot be read")
    for changes, words in (
        ({"labels": np.array([1, None])}, "holds Python objects, which are never unpickled"),
        ({"data": np.array([[b""], [None]])}, "holds Python objects, which are never unpickled"),
        (
            {"labels": np.array([1, 1001])},
            "labels are not a class from 1 to 1000 for each of 2 images",
        ),
        ({"labels": np.array([1])}, "labels are not a class from 1 to 1000 for each of 2 images"),
        ({"data": np.zeros((2, 3072))}, "data is float64"),
    ):
        write_imagenet(tmp_path, **changes)
        refused(ValueError, lambda: imagenet32(tmp_path), str(file), words)


def test_imagenet_as_pickles_is_an_error(tmp_path):
    (tmp_path / "train_data_batch_1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    refused(
        ValueError,
        lambda: imagenet32(tmp_path),
        "train_data_batch_1 is pickled",
        "Imagenet32_*_npz.zip",
    )


def test_sources_take_their_sizes_from_the_published_code(tmp_path):
    file = write_records(
        tmp_path / "f-r08.tfrecords", [example((3, 256, 256), bytes(3 * 256 * 256))] * 2
    )
    source = ffhq(file, num_test=1)
    assert source.shape == (256, 256, 3) and not isinstance(source.train, np.ndarray)
