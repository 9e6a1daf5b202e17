"""Every text prints on a terminal of any encoding."""

import io
import sys

import pytest

from score_sde.runtime.terminal import print_in_any_encoding

TEXT = "usage … 2×3 ± σ → é 日本 \udcff"


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", rb"usage ... 2x3 +/- \u03c3 -> \xe9 \u65e5\u672c " + b"\xff"),
        ("latin-1", b"usage ... 2\xd73 \xb1 \\u03c3 -> \xe9 \\u65e5\\u672c \xff"),
        ("utf-8", "usage … 2×3 ± σ → é 日本 ".encode() + b"\xff"),
    ],
)
def test_a_stream_replaces_what_its_encoding_lacks(encoding, printed, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # stays as it is
    print_in_any_encoding()
    print(TEXT, end="", flush=True)  # noqa: T201
    assert stream.buffer.getvalue() == printed
