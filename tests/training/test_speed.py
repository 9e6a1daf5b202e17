"""The speed and the memory of a run."""

import jax

from score_sde.training import speed
from score_sde.training.speed import Speed


def test_speed_is_measured_between_two_measurements_and_not_before(monkeypatch):
    clock = iter([100.0, 105.0, 106.0, 106.5, 109.0])  # start, measure, saving from and to, measure
    monkeypatch.setattr(speed.time, "monotonic", lambda: next(clock))
    meter = Speed(8)
    meter.start()
    assert {"steps_per_sec", "data_wait"}.isdisjoint(meter.measure(11, waited=3.0))
    with meter.saving():
        pass
    found = meter.measure(31, waited=3.2)
    assert found["steps_per_sec"] == 5.0 and found["images_per_sec"] == 40.0
    assert abs(found["data_wait"] - 0.05) < 1e-12 and found["checkpoint_wait"] == 0.125


def test_the_peak_memory_of_a_device_that_reports_it_is_a_metric(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"peak_bytes_in_use": 3 * 2**29}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert Speed(8).measure(1, waited=0.0) == {"device_memory_gib": 1.5}
