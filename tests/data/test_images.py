"""Images of every depth and kind in every reader: right, or an error of one line."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from score_sde.data import arrayrecord, folder
from score_sde.data.images import MAX_PIXELS, encoded_images
from score_sde.data.named.celeba import celeba
from score_sde.data.named.faces import celebahq, ffhq
from score_sde.data.named.imagenet import imagenet32
from score_sde.data.named.lsun import lsun

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""The colour types of PNG."""

KINDS = [
    *((depth, GREY) for depth in (1, 2, 4, 8, 16)),
    *((depth, PALETTE) for depth in (1, 2, 4, 8)),
    *((depth, kind) for depth in (8, 16) for kind in (RGB, GREY_ALPHA, RGBA)),
]
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples, depth, kind, transparency=b""):
    """A PNG of samples ``[h, w, c]`` by its specification, without Pillow, which writes
    few of the kinds.
    """
    height, width, _ = samples.shape
    bits = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(height, -1, 2), axis=-1)[
        ..., 16 - depth :
    ]
    rows = np.packbits(bits.reshape(height, -1), axis=-1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    palette = chunk(b"PLTE", colors(2**depth).tobytes()) if kind == PALETTE else b""
    alpha = chunk(b"tRNS", transparency) if transparency else b""
    body = palette + alpha + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def colors(count):
    return np.random.default_rng(1).integers(256, size=(count, 3)).astype(np.uint8)


def image_of(depth, kind, side, seed=0):
    """A PNG, and its pixels in RGB without what is transparent."""
    samples = (
        np.random.default_rng(seed)
        .integers(2**depth, size=(side, side, CHANNELS[kind]))
        .astype(np.uint16)
    )
    visible = {GREY_ALPHA: samples[..., :1], RGBA: samples[..., :3]}.get(kind, samples)
    levels = np.broadcast_to(visible * (255 // (2 ** min(depth, 8) - 1)), (side, side, 3))
    pixels = colors(2**depth)[samples[..., 0]] if kind == PALETTE else levels
    return png(samples, depth, kind), pixels.astype(np.uint8)


def of_folder(path, image):
    (path / "a.png").write_bytes(image)
    (path / "b.png").write_bytes(image)
    return folder(path)


def of_faces(reader):
    def read(path, image):
        (path / "a.png").write_bytes(image)
        (path / "b.png").write_bytes(image)
        return reader(path, image_size=32, num_test=1)

    return read


def of_lsun(path, image):
    for split in ("bedroom_train", "bedroom_val"):
        (path / split).mkdir()
        (path / split / "a.png").write_bytes(image)
    return lsun(path, category="bedroom", image_size=32)


def of_imagenet(path, image):
    for split in ("train_32x32", "valid_32x32"):
        (path / split).mkdir()
        (path / split / "a.png").write_bytes(image)
    return imagenet32(path)


def of_celeba(path, image):
    (path / "img_align_celeba").mkdir()
    lines = []
    for part in range(3):
        (path / "img_align_celeba" / f"{part}.png").write_bytes(image)
        lines.append(f"{part}.png {part}")
    (path / "list_eval_partition.txt").write_text("\n".join(lines))
    return celeba(path, image_size=140)


def of_array_record(path, image):
    module = pytest.importorskip("array_record.python.array_record_module")
    for split in ("train", "test"):
        writer = module.ArrayRecordWriter(str(path / f"{split}.array_record"), "group_size:1")
        writer.write(image)
        writer.close()
    return arrayrecord(path)


READERS = {
    "folder": of_folder,
    "ffhq": of_faces(ffhq),
    "celebahq": of_faces(celebahq),
    "lsun": of_lsun,
    "imagenet32": of_imagenet,
    "celeba": of_celeba,
    "arrayrecord": of_array_record,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("depth", "kind"), KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_an_image_of_any_depth_is_right_or_an_error(tmp_path, reader, depth, kind):
    image, pixels = image_of(depth, kind, 140 if reader == "celeba" else 32)
    if depth == 16:
        with pytest.raises(
            ValueError, match=r"only images of 8 bits a channel can be read"
        ) as refusal:
            np.asarray(READERS[reader](tmp_path, image).train[0])
        assert "\n" not in str(refusal.value)
        return
    found = np.asarray(READERS[reader](tmp_path, image).train[0])
    np.testing.assert_array_equal(np.broadcast_to(found, pixels.shape), pixels)
    # The sources that keep grey images grey do so for all that are.
    grey = reader in ("folder", "arrayrecord") and kind in (GREY, GREY_ALPHA)
    assert found.shape[-1] == (1 if grey else 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kind", "transparency"),
    [(GREY, b"\0\x07"), (RGB, b"\0\x07\0\x08\0\x09"), (PALETTE, bytes(range(0, 256, 4)))],
)
@pytest.mark.parametrize("reader", ["folder", "ffhq"])
def test_transparent_pixels_keep_their_colour(tmp_path, reader, kind, transparency):
    samples = (
        np.random.default_rng(0).integers(256, size=(32, 32, CHANNELS[kind])).astype(np.uint16)
    )
    image = png(samples, 8, kind, transparency)
    expected = (
        colors(256)[samples[..., 0]] if kind == PALETTE else np.broadcast_to(samples, (32, 32, 3))
    )
    found = np.asarray(READERS[reader](tmp_path, image).train[0])
    np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("reader", ["folder", "ffhq"])
def test_jpeg_images_of_every_mode_are_read(tmp_path, reader, mode):
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 60, 60) if mode != "L" else (90, 90, 90)).convert(mode).save(
        stream, "JPEG"
    )
    found = np.asarray(READERS[reader](tmp_path, stream.getvalue()).train[0]).astype(int)
    assert np.abs(found - ([90] if mode == "L" else [200, 60, 60])).max() <= 3


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("I", "TIFF", "is a I image; only images of 8 bits a channel can be read"),
        ("F", "TIFF", "is a F image; only images of 8 bits a channel can be read"),
        ("I;16", "TIFF", "is a I;16 image; only images of 8 bits a channel can be read"),
        ("LAB", "TIFF", "is a LAB image; only images"),
        ("L", "PPM", "is not a PNG, JPEG, WEBP, TIFF, BMP or GIF image"),
    ],
)
def test_files_of_other_formats_and_kinds_are_errors(mode, kind, message):
    stream = io.BytesIO()
    Image.new(mode, (4, 4)).save(stream, kind)
    with pytest.raises(ValueError, match=message):
        encoded_images(1, lambda _: stream.getvalue(), "example {}".format)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 10**5])
def test_an_image_of_a_hundred_bytes_that_promises_many_pixels_is_an_error_by_its_header(side):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, GREY, 0, 0, 0))
    image = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match=f"more than (the )?{MAX_PIXELS} pixels"):
        encoded_images(1, lambda _: image, "example {}".format)
