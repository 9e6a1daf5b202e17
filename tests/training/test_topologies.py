"""One run on any devices of any number of processes: the same batches, losses,
parameters and samples.
"""

import functools

import numpy as np
import pytest
import recorded as program
from launched import finished, together
from recorded import read, record

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
"""Of every array, relative to its largest value: sums over devices are taken in another order."""


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    """What one device gives."""

    @functools.cache
    def recorded(name):
        folder = tmp_path_factory.mktemp(name)
        record(name, folder, num_devices=1)
        return read(folder)

    return recorded


def differences(found, expected):
    """Between two runs, relative to the largest value of each array."""
    pairs = {"samples": (found.samples, expected.samples)}
    pairs |= {
        f"state {number}": pair
        for number, pair in enumerate(zip(found.state, expected.state, strict=True))
    }
    pairs |= {name: (found.metrics[name], values) for name, values in expected.metrics.items()}
    largest = {name: np.abs(theirs).max() or 1.0 for name, (_, theirs) in pairs.items()}
    return {
        name: np.abs(np.subtract(ours, theirs, dtype=np.float64)).max() / largest[name]
        for name, (ours, theirs) in pairs.items()
    }


def assert_same(found, expected):
    np.testing.assert_array_equal(found.batches, expected.batches)
    assert found.metrics.keys() == expected.metrics.keys()
    wrong = {
        name: value
        for name, value in differences(found, expected).items()
        if not value <= TOLERANCE
    }
    assert not wrong


@pytest.mark.parametrize(
    ("name", "num_devices", "fsdp"),
    [
        *((name, number, 1) for name in ("toy", "digits") for number in (2, 4, 8)),
        ("toy", 4, 4),
        ("digits", 8, 2),
    ],
)
def test_the_number_of_devices_does_not_change_a_run(name, num_devices, fsdp, on_one, tmp_path):
    record(name, tmp_path, num_devices=num_devices, fsdp=fsdp)
    assert_same(read(tmp_path), on_one(name))


def in_two_processes(name, folder, *, devices_each=1, num_steps=20):
    env = {"JAX_NUM_CPU_DEVICES": str(devices_each)}
    finished(together(program.__file__, name, str(folder), str(num_steps), processes=2, env=env))


@pytest.mark.parametrize(("name", "devices_each"), [("toy", 1), ("toy", 2), ("digits", 1)])
def test_two_processes_give_the_run_of_one(name, devices_each, on_one, tmp_path):
    in_two_processes(name, tmp_path, devices_each=devices_each)
    assert_same(read(tmp_path), on_one(name))


def test_a_run_goes_from_one_process_to_two_and_back(on_one, tmp_path):
    record("toy", tmp_path, num_devices=8, fsdp=4, num_steps=6)
    in_two_processes("toy", tmp_path, num_steps=12)
    for path in tmp_path.glob("end_*.npz"):
        path.unlink()
    record("toy", tmp_path, num_devices=2)
    expected = on_one("toy")
    assert_same(read(tmp_path), expected._replace(batches=expected.batches[12:]))
