"""Splits and classes by the names of folders: right, or one line that asks."""

import pytest

from score_sde.data.layout import Part, classes_of, labels_of, parts_of


def parts(*names, splits=None, label_files=(), also=frozenset()):
    return parts_of("photos", sorted(names), list(label_files), splits, set(also))


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a.png", "b/c.png"], {"train": ""}),
        (["train/a.png", "test/b.png"], {"train": "train/", "test": "test/"}),
        (["Train/a.png", "VAL/b.png"], {"train": "Train/", "validation": "VAL/"}),
        (
            ["training/x/a.png", "testing/x/b.png", "valid/x/c.png"],
            {"train": "training/", "test": "testing/", "validation": "valid/"},
        ),
        (["archive/train/a.png", "archive/test/b.png"], None),
        (["train/a.png"], {"train": "train/"}),
        (["test/a.png"], {"test": "test/"}),
        (["trains/a.png", "tests/b.png"], {"train": ""}),
        (["cat/a.png", "cat/b.png"], {"train": "cat/"}),
        (["train.png", "test.png"], {"train": ""}),
    ],
)
def test_folders_at_the_top_are_splits_by_their_names(names, folders):
    folders = folders or {"train": "archive/train/", "test": "archive/test/"}
    found = parts(*names)
    assert {split: part.folder for split, part in found.items()} == folders
    assert sorted(name for part in found.values() for name in part.names) == sorted(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train/a.png", "test/b.png", "extra/c.png"],
            "images beside the folders test, train, such as extra/c.png: splits=True takes",
        ),
        (["train/a.png", "b.png"], "images beside the folders train, such as b.png"),
        (["car/a.png", "train/b.png"], "splits=False all images as one set"),
        (["val/a.png", "valid/b.png"], "two folders for the split validation: val/ and valid/"),
        (["Train/a.png", "train/b.png"], "two folders for the split train: Train/ and train/"),
        (
            ["cat/test/a.png", "cat/train/b.png", "dog/test/c.png"],
            "the splits test and train in cat: only folders at the top are splits",
        ),
    ],
)
def test_what_could_be_meant_in_two_ways_is_one_line(names, message):
    with pytest.raises(ValueError, match=f"^photos has .*{message}") as caught:
        parts(*names)
    assert "\n" not in str(caught.value)
    assert parts(*names, splits=False)["train"].names == sorted(names)


def test_options_choose_between_the_two():
    names = ["train/a.png", "test/b.png", "extra/c.png"]
    found = parts(*names, splits=True)
    assert found == {"test": Part("test/", names[1:2]), "train": Part("train/", names[:1])}
    assert set(parts("day/a.png", "night/b.png", also={"day", "night"})) == {"day", "night"}
    with pytest.raises(ValueError, match="no folders train and test: omit splits=True"):
        parts("a.png", splits=True)


@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        (["dog/a.png", "cat/b.png", "cat/deep/c.png"], None, ("cat", "dog")),
        (["10/a.png", "9/b.png"], None, ("10", "9")),  # the order of ImageFolder
        (["dog/a.png", "b.png"], None, None),
        (["dog/a.png", "dog/b.png"], None, None),
        (["dog/a.png", "dog/b.png"], True, ("dog",)),
        (["dog/a.png", "cat/b.png"], False, None),
        (["train/a.png", "test/b.png"], None, None),
        (["train/a.png", "car/b.png"], None, ("car", "train")),
    ],
)
def test_folders_are_classes_where_every_image_is_in_one(names, labels, classes):
    assert classes_of("photos", Part("", names), labels) == classes
    below = Part("train/", [f"train/{name}" for name in names])
    assert classes_of("photos", below, labels) == classes


def test_labels_are_the_same_in_every_split():
    test = Part("test/", ["test/dog/a.png", "test/dog/b.png"])
    found = labels_of("photos", test, ("cat", "dog"))
    assert found is not None and found.tolist() == [1, 1]
    assert labels_of("photos", Part("test/", ["test/a.png"]), ("cat", "dog")) is None
    with pytest.raises(
        ValueError,
        match=r"test/dgo is no class of the training split, did you mean 'dog'\?; labels=False",
    ):
        labels_of("photos", Part("test/", ["test/dgo/a.png"]), ("cat", "dog"))
    with pytest.raises(ValueError, match="labels=True needs each image in a folder of its class"):
        classes_of("photos", test._replace(names=["test/a.png"]), True)
