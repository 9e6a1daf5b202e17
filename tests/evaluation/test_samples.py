"""The bar of ``score-sde sample`` moves within a batch."""

import io

import pytest

from score_sde.cli.generation_run import _Reports
from score_sde.runtime.progress import Progress


@pytest.mark.parametrize("parts", [[0.1, 0.5, 1.0], [0.5, 0.1, 1.0, 0.9], [], [0.7]])
def test_it_never_goes_back_and_ends_where_the_batch_does(parts):
    shown = []

    class Bar(Progress):
        def update(self, done, **fields):
            shown.append((done, fields["batch"]))
            super().update(done, **fields)

    bar = Bar("sample", 20, unit="samples", stream=io.StringIO())
    reports = _Reports()
    for start, size in ((0, 8), (8, 8), (16, 4)):
        reports.begin(bar, size)
        for part in parts:
            reports(part)
            assert start <= bar.done <= start + size
        reports.end()
        assert bar.done == start + size
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)
    assert shown[-1] == (20, "100%")
    if 0.5 in parts:
        assert (4, "50%") in shown and (12, "50%") in shown
