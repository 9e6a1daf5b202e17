"""TFRecords: every image is read, and every damaged byte is noticed."""

from pathlib import Path

import numpy as np
import pytest
from data_sets import example, field, pixels, write_records

from score_sde.data.named.crc32c import crc32c, masked_crc32c
from score_sde.data.named.tfrecord import RecordFile

GOLDEN = Path(__file__).parents[2] / "golden"
IMAGES = pixels(3, 3, 4, 4)


@pytest.fixture
def file(tmp_path):
    return write_records(
        tmp_path / "a-r02.tfrecords", [example((3, 4, 4), image.tobytes()) for image in IMAGES]
    )


def test_the_checksum_has_its_published_values():
    """Those of RFC 3720, appendix B.4, and of nine digits."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert (
        masked_crc32c(bytes(32))
        == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) & 0xFFFFFFFF
    )


@pytest.mark.parametrize("length", [64, 65, 66, 67, 1000, 4097])
def test_the_checksum_of_many_bytes_equals_the_checksum_byte_by_byte(length):
    data = pixels(length).tobytes()
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    assert crc32c(data) == register ^ 0xFFFFFFFF


def test_files_of_tensorflow_are_read():
    file, images = (
        RecordFile.of(GOLDEN / "tf_faces-r03.tfrecords"),
        np.load(GOLDEN / "tf_faces.npy"),
    )
    assert len(file) == len(images) == 3
    for row, image in enumerate(images):
        np.testing.assert_array_equal(file.image(row), image.transpose(1, 2, 0))


def test_images_are_read_in_any_order(file):
    records = RecordFile.of(file)
    for row in (2, 0, 1):
        np.testing.assert_array_equal(records.image(row), IMAGES[row].transpose(1, 2, 0))


def test_numbers_may_be_packed_and_other_fields_are_skipped(tmp_path):
    others = (
        field(2, b"unknown")
        + field(3, 2**63)
        + bytes([4 << 3 | 5, 1, 2, 3, 4])
        + bytes([5 << 3 | 1, *range(8)])
    )
    record = others + example((3, 4, 4), IMAGES[0].tobytes(), packed=False)
    records = RecordFile.of(write_records(tmp_path / "a.tfrecords", [record]))
    np.testing.assert_array_equal(records.image(0), IMAGES[0].transpose(1, 2, 0))


def test_any_changed_byte_is_noticed(file):
    """In each of 60 places, one in every part of the file among them, in one line that
    names the file.
    """
    whole = file.read_bytes()
    for place in [*range(16), *range(16, len(whole), len(whole) // 44)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        with pytest.raises(ValueError, match=rf"^{file}\S* .*(checksum|cut off)") as caught:
            records = RecordFile.of(file)
            for row in range(len(records)):
                records.image(row)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off_is_noticed(file):
    whole = file.read_bytes()
    size = len(whole) // 3
    for length, message in (
        (size - 1, "record 0 is cut off"),
        (size + 5, "record 1 is cut off"),
        (0, "it is empty"),
    ):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"^{file} is damaged: {message}"):
            RecordFile.of(file)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"", "has no features shape and data"),
        (b"\xff" * 20, "has no features shape and data"),
        (field(1, b"\x0a\x7f"), "has no features shape and data"),
        (bytes([1 << 3 | 3]), "has no features shape and data"),
        (
            example((3, 4, 4), b"short"),
            r"cannot be read: it has 5 bytes of data for an image of shape \(3, 4, 4\)",
        ),
        (
            example((48,), bytes(48)),
            r"cannot be read: it has 48 bytes of data for an image of shape \(48,\)",
        ),
        (example((2**40, 2**40, 0), b""), "cannot be read: it has 0 bytes of data"),
    ],
    ids=["empty", "no tag", "too long", "unknown kind", "too few bytes", "no image", "no channels"],
)
def test_records_without_an_image_are_errors(tmp_path, record, words):
    records = RecordFile.of(write_records(tmp_path / "a.tfrecords", [record]))
    with pytest.raises(ValueError, match=rf"a\.tfrecords: record 0 {words}") as caught:
        records.image(0)
    assert "\n" not in str(caught.value)
