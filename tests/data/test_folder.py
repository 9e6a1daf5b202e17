"""Folders of images: sizes, colours and splits, and errors of one line."""

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
