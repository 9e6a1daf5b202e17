"""ArrayRecord files: a round trip, and damage is named."""

import io
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from score_sde.data import DataSource, arrayrecord, load_source, make_loader, write_array_record
from score_sde.data.examples import LazyExamples

pytest.importorskip("array_record.python.array_record_module")

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "make_array_record.py"
LABELS = np.arange(9, dtype=np.int32)


def images(channels=3, levels=256):
    return np.random.default_rng(0).integers(levels, size=(9, 5, 4, channels)).astype(np.uint8)


def source_of(array, num_levels, **labels):
    return DataSource(train=array, test=array[:4], num_levels=num_levels, **labels)


def assert_same(found, expected):
    assert found.num_levels == expected.num_levels and found.shape == expected.shape
    for split in ("train", "test"):
        assert getattr(found, split).dtype == getattr(expected, split).dtype
        np.testing.assert_array_equal(getattr(found, split)[:], getattr(expected, split)[:])
        labels = getattr(expected, f"{split}_labels")
        assert (labels is None) == (getattr(found, f"{split}_labels") is None)
        if labels is not None:
            np.testing.assert_array_equal(getattr(found, f"{split}_labels"), labels)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("channels", "png"), [(3, False), (3, True), (1, True), (1, False)])
def test_images_and_labels_come_back(tmp_path, channels, png, in_memory):
    source = source_of(images(channels), 256, train_labels=LABELS, test_labels=LABELS[:4])
    write_array_record(source, tmp_path / "new", num_shards=2, png=png)
    assert len(list((tmp_path / "new").iterdir())) == 6
    found = arrayrecord(tmp_path / "new", in_memory=in_memory)
    assert isinstance(found.train, np.ndarray if in_memory else LazyExamples)
    assert_same(found, source)


def test_vectors_and_levels_come_back(tmp_path):
    vectors = source_of(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32), None)
    write_array_record(vectors, tmp_path / "vectors")
    assert_same(arrayrecord(str(tmp_path / "vectors")), vectors)
    levels = source_of(images(2, levels=17), 17)
    write_array_record(levels, tmp_path / "levels")
    assert_same(load_source(f"arrayrecord:{tmp_path}/levels", num_levels=17), levels)


def test_files_and_patterns_are_split_at_random(tmp_path):
    write_array_record(source_of(images(), 256), tmp_path / "new", num_shards=3)
    expected = DataSource.from_examples(images(), num_levels=256, seed=2)
    assert_same(arrayrecord(f"{tmp_path}/new/train-*", seed=2), expected)
    assert len(arrayrecord(tmp_path / "new" / "train-00001-of-00003.array_record").train) == 2
    for file in (tmp_path / "new").glob("test*"):
        file.unlink()
    assert_same(arrayrecord(tmp_path / "new", seed=2), expected)


def test_png_images_are_resized(tmp_path):
    write_array_record(source_of(images(1), 256), tmp_path / "new", png=True)
    assert arrayrecord(tmp_path / "new", image_size=2, channels=3).shape == (2, 2, 3)
    write_array_record(source_of(images(1), 256), tmp_path / "arrays")
    with pytest.raises(
        ValueError, match="holds arrays, not encoded images: omit image_size and channels"
    ):
        arrayrecord(tmp_path / "arrays", image_size=2)


@pytest.mark.parametrize("png", [True, False])
def test_a_damaged_record_is_named_with_its_file(tmp_path, png):
    write_array_record(source_of(images(), 256), tmp_path / "new", num_shards=2, png=png)
    file = tmp_path / "new" / "train-00001-of-00002.array_record"
    damaged, third = bytearray(file.read_bytes()), images()[7].tobytes()
    damaged[damaged.index(b"IEND" if png else third) + 1] ^= 4
    file.write_bytes(damaged)
    source = arrayrecord(tmp_path / "new", in_memory=False)
    with (
        pytest.raises(
            ValueError, match=rf"^{file}: record \d \(example \d\) cannot be read \(.*hash mismatch"
        ) as caught,
        closing(make_loader(source.train, batch_size=1)) as loader,
    ):
        for step in range(9):
            loader.batch(step)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"record \d \(example \d\) cannot be read"):
        arrayrecord(tmp_path / "new", in_memory=True)


def test_records_of_other_kinds_are_errors(tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    def write(*records):
        file = tmp_path / "a.array_record"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        return file

    with pytest.raises(
        ValueError,
        match=r"a\.array_record: record 0 \(example 0\) is not a PNG, JPEG, .* or GIF image",
    ):
        arrayrecord(write(b"a tf.train.Example", b""))
    with pytest.raises(ValueError, match=r"a\.array_record has no records"):
        arrayrecord(write())
    array = npy_bytes(images()[0])
    with pytest.raises(ValueError, match=r"record 1 \(example 1\) is no array \(ValueError"):
        arrayrecord(write(array, b"other"))
    with pytest.raises(
        ValueError,
        match=r"record 1 \(example 1\) is uint8 of shape \(4, 4, 3\), not uint8 of shape",
    ):
        source = arrayrecord(write(array, npy_bytes(images()[0, :4])), in_memory=False)
        np.concatenate([source.train[:], source.test[:]])
    with pytest.raises(
        ValueError,
        match=r"record 0 \(example 0\) is no array \(ValueError: Object arrays cannot be",
    ):
        arrayrecord(write(npy_bytes(np.array([None]), allow_pickle=True)))


def npy_bytes(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def test_absent_and_other_files_are_errors_of_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*none"):
        arrayrecord(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"no \.array_record files in "):
        arrayrecord(tmp_path)
    (tmp_path / "a.array_record").write_bytes(b"something else")
    with pytest.raises(
        ValueError, match=r"a\.array_record cannot be read as an ArrayRecord file \(RuntimeError: "
    ):
        arrayrecord(tmp_path)


def test_examples_that_cannot_be_written_are_errors(tmp_path):
    source = source_of(images(), 256)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_array_record(source, tmp_path / "full")
    with pytest.raises(ValueError, match="num_shards=0 must be at least 1"):
        write_array_record(source, tmp_path / "new", num_shards=0)
    with pytest.raises(
        ValueError,
        match="png=True needs 256 levels and 1 or 3 channels, these examples have num_levels=17",
    ):
        write_array_record(source_of(images(1, 17), 17), tmp_path / "new", png=True)
    assert not (tmp_path / "new").exists()


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_data_source", None)
    (tmp_path / "a.array_record").touch()
    with pytest.raises(
        ValueError, match=r"needs the extra arrayrecord: pip install 'score-sde\[arrayrecord\]'"
    ):
        arrayrecord(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.exists(), reason="not in a checkout")
def test_the_script_writes_any_source(tmp_path):
    command = [
        sys.executable,
        str(SCRIPT),
        "--source=digits",
        f"--output={tmp_path / 'new'}",
        "--shards=2",
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "1500 + 297 examples" in text and "--config.data.num_levels=17" in text
    assert_same(arrayrecord(tmp_path / "new", num_levels=17), load_source("digits"))
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 2 and "exists and is not an empty folder" in again.stderr


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_no_record_for_validation_is_trained_on(tmp_path, name):
    source = source_of(images(), 256, train_labels=LABELS, test_labels=LABELS[:4])
    write_array_record(source, tmp_path / "new")
    for file in (tmp_path / "new").glob("test*"):
        file.rename(file.with_name(file.name.replace("test", name)))
    if name == "Validation":
        (tmp_path / "new" / "Validation_labels.npy").rename(
            tmp_path / "new" / "validation_labels.npy"
        )
    found = arrayrecord(tmp_path / "new")
    assert_same(found, source)
    assert found.notes == (f"{tmp_path}/new: split train to train on, validation held out",)


def test_floats_and_channels_first_in_records(tmp_path):
    latents = np.random.default_rng(0).normal(size=(9, 3, 8, 8)).astype(np.float32)
    write_array_record(source_of(latents, None), tmp_path / "latents")
    assert arrayrecord(tmp_path / "latents").shape == (3, 8, 8)
    moved = arrayrecord(tmp_path / "latents", channels_first=True)
    np.testing.assert_array_equal(moved.train, latents.transpose(0, 2, 3, 1))


def test_labels_of_another_number_are_an_error(tmp_path):
    write_array_record(source_of(images(), 256), tmp_path / "new")
    for file in (tmp_path / "new").glob("test*"):
        file.unlink()
    np.save(tmp_path / "new" / "train_labels.npy", LABELS[:5])
    with pytest.raises(ValueError, match=r"labels must be integers of shape \(9,\)"):
        arrayrecord(tmp_path / "new")
