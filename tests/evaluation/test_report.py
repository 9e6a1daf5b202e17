"""The report of a folder and its table."""

import json

import pytest

from score_sde.evaluation import report


def test_rows_are_added_to_the_recorded_ones(tmp_path):
    report.record(tmp_path, {"trained": "3 steps", "loss": "1"})
    report.record(tmp_path, {"loss": "± 2"})
    assert report.read(tmp_path) == {"trained": "3 steps", "loss": "± 2"}
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("damage", ["", "{", "[1]", "3"])
def test_a_damaged_report_counts_as_none(damage, tmp_path):
    (tmp_path / "report.json").write_text(damage)
    assert report.read(tmp_path) == {}
    report.record(tmp_path, {"a": "b"})
    assert json.loads((tmp_path / "report.json").read_text()) == {"a": "b"}


def test_the_table_has_two_columns(capsys):
    report.show("title", {"a": "1", "long name": "2"})
    assert capsys.readouterr().out == "title\n  a          1\n  long name  2\n"
    report.show("empty", {})
    assert capsys.readouterr().out == "empty\n"
