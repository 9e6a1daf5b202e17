"""Folders of images: sizes, colours and splits, and errors of one line."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damaged_files import num_refused
from PIL import Image

from score_sde.data import DataSource, folder
from score_sde.data.examples import LazyExamples


def noise_image(height, width, channels, seed=0):
    return (
        np.random.default_rng(seed).integers(256, size=(height, width, channels)).astype(np.uint8)
    )


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(path, **options)
    return path


def as_set(source):
    return {image.tobytes() for image in (*source.train, *source.test)}


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_found_in_all_folders_below(tmp_path, channels):
    pixels = [noise_image(6, 4, channels, seed) for seed in range(4)]
    for name, image in zip(["b.png", "a.PNG", "sub/a.png", "sub/deep/c.png"], pixels, strict=True):
        save(tmp_path / name, image)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._a.png").write_text("a hidden file")
    save(tmp_path / ".thumbnails" / "a.png", noise_image(2, 2, 1))
    source = folder(str(tmp_path))
    assert source.shape == (6, 4, channels)
    assert source.num_levels == 256
    assert as_set(source) == {image.tobytes() for image in pixels}


def test_images_are_in_the_order_of_their_names_on_any_disk(tmp_path, monkeypatch):
    names = sorted(f"{seed % 3}/{seed}.png" for seed in range(9))
    pixels = np.stack([noise_image(2, 2, 1, seed) for seed in range(9)])
    for name, image in zip(names, pixels, strict=True):
        save(tmp_path / name, image)
    expected = DataSource.from_examples(pixels, num_levels=256, seed=4)
    listing = list(tmp_path.rglob("*"))
    for disk_order in (sorted(listing), sorted(listing, reverse=True)):
        monkeypatch.setattr(Path, "rglob", lambda self, pattern, order=disk_order: iter(order))
        source = folder(tmp_path, seed=4)
        np.testing.assert_array_equal(source.train, expected.train)
        np.testing.assert_array_equal(source.test, expected.test)


def test_jpeg_is_read(tmp_path):
    flat = np.full((8, 8, 3), 200, np.uint8)
    save(tmp_path / "a.jpg", flat)
    save(tmp_path / "b.jpeg", flat[..., :1])
    source = folder(tmp_path)
    assert source.shape == (8, 8, 3)  # one file in colour makes all of them RGB
    assert np.abs(source.train.astype(int) - 200).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_8_bits_keeps_its_pixels(tmp_path, mode):
    black_and_white = np.where(noise_image(4, 4, 1) > 128, 255, 0).astype(np.uint8)
    image = Image.fromarray(black_and_white.squeeze(-1)).convert(mode)
    for name in ("a.png", "b.png"):
        image.save(tmp_path / name, **({"transparency": b"\x80\x00"} if mode == "P" else {}))
    source = folder(tmp_path)
    channels = 1 if mode in ("1", "L", "LA") else 3
    np.testing.assert_array_equal(source.train[0], np.repeat(black_and_white, channels, axis=-1))


def test_photos_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    save(tmp_path / "turned.png", noise_image(3, 5, 1), exif=exif)
    save(tmp_path / "upright.png", noise_image(5, 3, 1, seed=1))
    source = folder(tmp_path)
    assert source.shape == (5, 3, 1)
    assert np.rot90(noise_image(3, 5, 1), -1).tobytes() in as_set(source)


def test_image_size_crops_the_middle_and_resizes(tmp_path):
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = 100  # the middle square
    save(tmp_path / "wide.png", wide)
    save(tmp_path / "tall.png", wide.transpose(1, 0, 2))
    save(tmp_path / "exact.png", np.full((4, 4, 3), 100, np.uint8))
    source = folder(tmp_path, image_size=4)
    assert source.shape == (4, 4, 3)
    assert (np.concatenate([source.train, source.test]) == 100).all()


def test_mixed_sizes_name_the_first_offender_and_the_remedy(tmp_path):
    save(tmp_path / "a.png", noise_image(6, 4, 1))
    save(tmp_path / "b.png", noise_image(6, 4, 1))
    save(tmp_path / "c.png", noise_image(5, 7, 1))
    save(tmp_path / "d.png", noise_image(9, 9, 1))
    message = (
        r"c\.png is 5×7 \(height × width\) but .*a\.png is 6×4; image_size=4 would crop and "
        r"resize them all"
    )
    with pytest.raises(ValueError, match=message):
        folder(tmp_path)
    assert folder(tmp_path, 4).shape == (4, 4, 1)


def test_unreadable_files_are_named(tmp_path):
    save(tmp_path / "a.png", noise_image(16, 16, 3))
    bad = tmp_path / "b.png"
    bad.write_text("this is not an image")
    with pytest.raises(
        ValueError, match=r"b\.png is not a PNG, JPEG, WEBP, TIFF, BMP or GIF image$"
    ):
        folder(tmp_path)
    whole = save(bad, noise_image(16, 16, 3)).read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b\.png cannot be read as an image \(") as caught:
        folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_deep_images_are_errors_rather_than_clipped(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(
        ValueError, match=r"deep\.png is a I;16 image; only images of 8 bits a channel can be read"
    ):
        folder(tmp_path)


def test_missing_and_empty_folders_are_errors_that_say_which_files_were_searched(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*missing"):
        folder(tmp_path / "missing")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        ValueError,
        match=r"no images in .*: looked for \.png, \.jpg, .* files in it and the folders",
    ):
        folder(tmp_path)
    with pytest.raises(ValueError, match=r"notes\.txt is not a folder"):
        folder(tmp_path / "notes.txt")
    save(tmp_path / "one.png", noise_image(2, 2, 1))
    with pytest.raises(ValueError, match=f"^{tmp_path}: .* at least 2 examples, found 1"):
        folder(tmp_path)
    with pytest.raises(ValueError, match="image_size=0 must be at least 1"):
        folder(tmp_path, image_size=0)


def test_damaged_images_are_read_or_are_errors_of_one_line(tmp_path):
    save(tmp_path / "a.png", noise_image(8, 8, 3))
    for suffix in ("png", "jpg"):
        path = save(tmp_path / f"b.{suffix}", noise_image(8, 8, 3))
        assert num_refused(path, lambda: folder(tmp_path), count=100) >= 40
        path.unlink()


def test_images_decoded_on_access_equal_images_in_memory(tmp_path):
    for seed in range(6):
        save(tmp_path / f"{seed}.png", noise_image(5 + seed, 4, 1 if seed else 3, seed))
    expected, found = (
        folder(tmp_path, 4, in_memory=in_memory, seed=2) for in_memory in (True, False)
    )
    assert isinstance(expected.train, np.ndarray) and isinstance(found.train, LazyExamples)
    for split in ("train", "test"):
        np.testing.assert_array_equal(getattr(found, split)[:], getattr(expected, split))


def test_a_damaged_image_is_named_when_it_is_read(tmp_path):
    for seed in range(4):
        path = save(tmp_path / f"{seed}.png", noise_image(16, 16, 3, seed))
    path.write_bytes(path.read_bytes()[:200])
    source = folder(tmp_path, in_memory=False)
    with pytest.raises(ValueError, match=rf"^example 3, {path} cannot be read as an image \("):
        np.concatenate([source.train[:], source.test[:]])


def test_an_image_whose_size_changes_later_is_an_error(tmp_path):
    for seed in range(2):
        save(tmp_path / f"{seed}.png", noise_image(4, 4, 1, seed))
    source = folder(tmp_path, in_memory=False)
    for seed in range(2):
        save(tmp_path / f"{seed}.png", noise_image(4, 5, 1, seed))
    with pytest.raises(ValueError, match=r"images differ in size: example \d.* is 4×5"):
        source.train[0]


SPLIT = {
    "train/dog/1.png": 10,
    "train/cat/2.png": 20,
    "train/cat/deep/3.png": 30,
    "test/dog/4.png": 40,
    "val/cat/5.png": 50,
}


def save_all(root, values=SPLIT):
    """Images of one grey level each."""
    for name, value in values.items():
        save(root / name, np.full((4, 4, 1), value, np.uint8))
    return root


def zipped(root, archive, method=zipfile.ZIP_DEFLATED, top=""):
    with zipfile.ZipFile(archive, "w", method) as file:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                file.write(path, top + path.relative_to(root).as_posix())
    return archive


def levels(examples):
    return np.asarray(examples[:])[:, 0, 0, 0].tolist()


@pytest.fixture(params=["folder", "zip", "stored zip", "zip of the folder"])
def place(request, tmp_path):
    """A function from a folder to the same images in a folder or an archive."""
    if request.param == "folder":
        return lambda root: root
    method = zipfile.ZIP_STORED if request.param == "stored zip" else zipfile.ZIP_DEFLATED
    top = "photos/" if request.param == "zip of the folder" else ""
    return lambda root: zipped(root, tmp_path / "photos.ZIP", method, top)


@pytest.mark.parametrize("in_memory", [True, False])
def test_no_held_out_image_is_trained_on(tmp_path, place, in_memory):
    source = folder(place(save_all(tmp_path / "root")), in_memory=in_memory)
    assert levels(source.train) == [20, 30, 10] and levels(source.test) == [40]
    assert source.class_names == ("cat", "dog")
    assert source.train_labels is not None and source.train_labels.tolist() == [0, 0, 1]
    assert source.test_labels is not None and source.test_labels.tolist() == [1]
    found = " ".join(source.notes)
    assert "train/ to train on, 1 held out in" in found and "val/ not used" in found
    assert "2 classes by folder: 0 cat, 1 dog" in found


def test_options_choose_splits_and_labels(tmp_path):
    save_all(tmp_path)
    validation = folder(tmp_path, test_split="validation", labels=False)
    assert levels(validation.test) == [50] and validation.train_labels is None
    assert len(folder(tmp_path, splits=False, test_fraction=0.4).test) == 2
    named = folder(tmp_path, train_split="val", test_split="test")
    assert levels(named.train) == [50] and levels(named.test) == [40]
    with pytest.raises(ValueError, match=rf"^{tmp_path} has no split 'tset', did you mean 'test'"):
        folder(tmp_path, test_split="tset")
    (tmp_path / "extra.png").write_bytes((tmp_path / "val/cat/5.png").read_bytes())
    with pytest.raises(ValueError, match=r"has images beside the folders .*, such as extra\.png"):
        folder(tmp_path)
    assert "1 in no split not used" in folder(tmp_path, splits=True).notes[0]


def test_class_folders_without_splits_are_split_at_random_with_their_labels(tmp_path):
    names = {f"{kind}/{number}.png": 10 * number + kind for kind in range(3) for number in range(6)}
    source = folder(save_all(tmp_path, names), test_fraction=0.3, seed=1)
    for split in ("train", "test"):
        labels = getattr(source, f"{split}_labels").tolist()
        assert labels == [level % 10 for level in levels(getattr(source, split))]
    images = np.stack([np.full((4, 4, 1), names[name], np.uint8) for name in sorted(names)])
    plain = DataSource.from_examples(images, num_levels=256, test_fraction=0.3, seed=1)
    np.testing.assert_array_equal(source.test, plain.test)  # the split of images without classes


@pytest.mark.parametrize("stored", [lambda pairs: pairs, dict])
def test_labels_of_stylegan(tmp_path, place, stored):
    names = {"00000/img0.png": 1, "00000/img1.png": 2, "00001/img2.png": 3}
    root = save_all(tmp_path / "root", names)
    labels = [[name, 7 - level] for name, level in names.items()]
    (root / "dataset.json").write_text(json.dumps({"labels": stored(labels)}))
    source = folder(place(root))
    for split in ("train", "test"):
        found = getattr(source, f"{split}_labels").tolist()
        assert found == [7 - level for level in levels(getattr(source, split))]
    assert source.class_names is None and "classes 0 to 6 of dataset.json" in source.notes[1]
    (root / "dataset.json").write_text(json.dumps({"labels": None}))
    assert folder(place(root)).class_names == (("00000", "00001"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"labels": [["1.png", 0]]}', "has no label for 2.png: labels=False omits all"),
        ('{"labels": [["1.png", 0], ["2.png", -1]]}', "has the label -1, no class from 0, for 2"),
        ('{"labels": {"1.png": [0.5], "2.png": 1}}', r"has the label \[0.5\], no class from 0"),
        ('{"labels": [1, 2]}', 'is damaged: its "labels" are no pairs of a file and a class'),
        ("{", r"dataset\.json is damaged and cannot be read \("),
    ],
)
def test_wrong_label_files_are_errors_of_one_line(tmp_path, text, message):
    save_all(tmp_path, {"1.png": 1, "2.png": 2})
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert folder(tmp_path, labels=False).train_labels is None


def test_files_that_are_passed_over_are_counted_with_the_reason(tmp_path):
    save_all(tmp_path, {"1.png": 1, "2.png": 2, ".thumbnails/3.png": 3})
    for name in ("notes.txt", "more.txt", "meta.json", "._1.png"):
        (tmp_path / name).touch()
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    *_, note = folder(tmp_path).notes
    assert note == (
        f"{tmp_path}: files passed over: 1 broken link or device, 2 hidden, "
        "3 not an image (.txt, .json)"
    )
    small = folder(tmp_path, image_size=8).notes[2]
    assert "smaller than image_size=8: 2, the smallest is 1.png, 4×4" in small


@pytest.mark.parametrize("kind", ["webp", "tif", "tiff", "bmp", "gif", "jpg"])
def test_further_formats_are_read(tmp_path, kind):
    pixels = np.full((6, 4, 3), 90, np.uint8)
    pixels[:3] = 200
    for number in range(2):
        lossless = (
            {"lossless": True} if kind == "webp" else {"quality": 95} if kind == "jpg" else {}
        )
        save(tmp_path / f"{number}.{kind.upper()}", pixels, **lossless)
    source = folder(tmp_path, channels=3)
    assert np.abs(source.train[0].astype(int) - pixels).max() <= (4 if kind == "jpg" else 0)
    assert folder(tmp_path, channels=1).shape == (6, 4, 1)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
def test_images_of_any_format_are_turned_upright(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.repeat(np.arange(0, 240, 40, dtype=np.uint8)[None, :, None], 4, axis=0)
    options = {"lossless": True} if kind == "webp" else {}
    for name in ("a", "b"):
        save(tmp_path / f"{name}.{kind}", np.repeat(wide, 3, axis=-1), exif=exif, **options)
    found = folder(tmp_path, channels=1).train[0]
    assert found.shape == (6, 4, 1)
    assert np.abs(found[:, 0, 0].astype(int) - wide[0, :, 0]).max() <= 6


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_animations_are_errors_of_one_line(tmp_path, kind):
    frames = [Image.fromarray(noise_image(8, 8, 3, seed)) for seed in range(3)]
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"a\.{kind} has 3 frames \(an animation, or pages\)"):
        folder(tmp_path)


def test_damaged_archives_are_read_or_are_errors_of_one_line(tmp_path):
    root = tmp_path / "root"
    for seed in range(3):
        save(root / f"{seed}.png", noise_image(8, 8, 3, seed))
    expected = as_set(folder(root))
    archive = zipped(root, tmp_path / "a.zip", zipfile.ZIP_STORED)

    def check(source):
        assert as_set(source) <= expected

    assert num_refused(archive, lambda: folder(archive), count=150, check=check) >= 60
    archive.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.zip cannot be read: it is no zip archive, or is cut"):
        folder(archive)


@pytest.mark.parametrize(
    ("flag", "message"), [(1, "it is encrypted"), (0, "by another method than deflate")]
)
def test_members_that_cannot_be_read_are_named(tmp_path, flag, message):
    save_all(tmp_path / "root", {"1.png": 1, "2.png": 2})
    archive = zipped(tmp_path / "root", tmp_path / "a.zip", zipfile.ZIP_BZIP2)
    stored = bytearray(archive.read_bytes())
    for at in (place.start() for place in re.finditer(b"PK\x01\x02", bytes(stored))):
        stored[at + 8] |= flag
    archive.write_bytes(stored)
    with pytest.raises(ValueError, match=rf"a\.zip/1\.png cannot be read: .*{message}"):
        folder(archive)
