"""Data sources by name: every entry loads, and every misspelling gets a suggestion."""

import sys

import numpy as np
import pytest
from PIL import Image

from score_sde.data import (
    DATA_SETS,
    FILE_SOURCES,
    SOURCES,
    DataSource,
    load_source,
    with_absolute_paths,
)

ELSEWHERE = """
import numpy as np
from score_sde.data import DataSource

def ramp(num_examples=4, **anything):
    x = np.arange(num_examples, dtype=np.float32)[:, None]
    return DataSource(train=x, test=x[:1], num_levels=None)

def strict(size=4):
    return ramp(size)

def wrong():
    return [1, 2]

value = 3
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    package = tmp_path / "elsewhere_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sources.py").write_text(ELSEWHERE)
    (package / "broken.py").write_text("import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    yield "elsewhere_package"
    for name in [name for name in sys.modules if name.startswith("elsewhere_package")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_loads(name):
    source = load_source(name, seed=3)
    assert isinstance(source, DataSource)
    np.testing.assert_array_equal(source.train, SOURCES[name](seed=3).train)


def test_every_prefix_loads(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(5, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=images, other=images)
    np.save(tmp_path / "images.npy", images)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    sources = [
        load_source(f"npz:{tmp_path}/images.npz", key="images"),
        load_source(f"npy:{tmp_path}/images.npy", num_levels=256),
        load_source(f"folder:{tmp_path}"),
    ]
    assert {"npz", "npy", "folder", "arrayrecord", "hf", "tfds"} == set(
        FILE_SOURCES
    )  # the last three: with extras
    for source in sources:
        np.testing.assert_array_equal(source.train, sources[0].train)


def test_a_path_may_hold_colons(tmp_path):
    np.save(tmp_path / "12:30.npy", np.zeros((3, 2)))
    assert load_source(f"npy:{tmp_path}/12:30.npy").shape == (2,)


def test_a_function_elsewhere_is_called(elsewhere):
    assert len(load_source(f"{elsewhere}.sources:ramp", num_examples=7, more=1).train) == 7
    assert len(load_source(f"{elsewhere}.sources:strict", size=5).train) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "digit",
            r"unknown data source 'digit', did you mean 'digits'\?; known: digits, mixture, "
            r".*npz:PATH",
        ),
        ("swissroll", r"did you mean 'swiss_roll'\?"),
        ("", "unknown data source ''; known: digits"),
        ("cifar-10", r"did you mean 'cifar10'\?; known: digits, .*, cifar10, .*npz:PATH"),
        ("zzz", "unknown data source 'zzz'; known: digits, .* package.module:function$"),
        ("folder", "data source 'folder' needs a path: folder:PATH"),
        ("npz:", "data source 'npz:' needs a path: npz:PATH"),
        ("foldr:photos", r"data source 'foldr:photos': no module 'foldr', did you mean 'folder'\?"),
        ("foldr:./photos", r"unknown data source 'foldr:./photos', did you mean 'folder'\?"),
        (":ramp", "unknown data source ':ramp'; known"),
        ("elsewhere_package.sources:", "unknown data source 'elsewhere_package.sources:'; known"),
        ("elsewhere_package.source:ramp", "no module 'elsewhere_package.source'"),
        (
            "elsewhere_package.sources:romp",
            r"has no function or class 'romp', did you mean 'ramp'\?",
        ),
        ("elsewhere_package.sources:value", "has no function or class 'value'"),
        ("elsewhere_package.sources:wrong", "returned list where a DataSource was expected"),
        ("npz:/no/such/file.npz", "no such file: /no/such/file.npz"),
    ],
)
def test_wrong_names_are_errors_of_one_line(elsewhere, name, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_source(name)
    assert "\n" not in str(caught.value)


def test_an_error_inside_an_imported_module_is_reported(elsewhere):
    with pytest.raises(
        ValueError, match=r"cannot be imported \(ModuleNotFoundError: .*a_module_that_is_not_there"
    ):
        load_source(f"{elsewhere}.broken:ramp")


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        (
            "digits",
            "sed",
            r"'digits' has no key 'sed', did you mean 'seed'\?; keys: test_fraction, seed$",
        ),
        (
            "mixture",
            "zzz",
            "'mixture' has no key 'zzz'; keys: num_examples, noise, seed, num_modes$",
        ),
        (
            "folder:photos",
            "size",
            r"has no key 'size'.*; keys: image_size, channels, .*, in_memory$",
        ),
        ("npz:a.npz", "path", "has no key 'path'"),
        ("elsewhere_package.sources:strict", "sizes", r"did you mean 'size'\?; keys: size$"),
        ("elsewhere_package.sources:wrong", "size", "has no key 'size'; keys: none$"),
    ],
)
def test_wrong_options_are_errors_of_one_line(elsewhere, name, option, message):
    with pytest.raises(ValueError, match=message):
        load_source(name, **{option: 1})


def test_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        DATA_SETS["mine"] = SOURCES["digits"]
    with pytest.raises(TypeError):
        SOURCES["mine"] = SOURCES["digits"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"source": "npz:a.npz", "key": "x"}, {"source": "npz:HERE/a.npz", "key": "x"}),
        ({"source": "folder:./b/../c"}, {"source": "folder:HERE/b/../c"}),
        ({"source": "arrayrecord:b/part-*"}, {"source": "arrayrecord:HERE/b/part-*"}),
        ({"source": "hf:there"}, {"source": "hf:HERE/there"}),
        ({"source": "celeba", "path": "c"}, {"source": "celeba", "path": "HERE/c"}),
        (
            {"source": "tfds:mnist", "data_dir": "d"},
            {"source": "tfds:mnist", "data_dir": "HERE/d"},
        ),
        *(
            (data, data)
            for data in (
                {"source": "hf:owner/name"},
                {"source": "npz:/a.npz"},
                {"source": "npz:~/a.npz"},
                {"source": "npz:gs://bucket/a.npz"},
                {"source": "celeba", "path": None},
                {"source": "celeba"},
                {"source": "digits"},
                {"source": "my.module:function", "path": "a"},
                {},
            )
        ),
    ],
)
def test_paths_are_made_absolute(tmp_path, monkeypatch, data, found):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    found = {
        key: value.replace("HERE", str(tmp_path)) if isinstance(value, str) else value
        for key, value in found.items()
    }
    assert with_absolute_paths(data) == found == with_absolute_paths(found)
