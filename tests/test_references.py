"""Citations: one key a paper, and every key is in `docs/references.md`."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REFERENCES = ROOT / "docs" / "references.md"

CITATION = re.compile(
    r"\b(?:[A-Z][a-z][\w'-]*, )*[A-Z][a-zä][\w'-]*(?: et al\.| (?:&|and) [A-Z][a-z][\w'-]*)?,? "
    r"\(?(?:19|20)\d\d[a-z]?\b"
)
"""``Song et al. 2021``, ``Song & Ermon 2019``, ``Vincent 2011``, and the forms that are
not to be used: ``Song and Ermon (2019)``.
"""

pytestmark = pytest.mark.skipif(not REFERENCES.exists(), reason="not in a checkout")


def keys():
    return re.findall(r"^\| (.+?\d{4}b?) \|", REFERENCES.read_text(encoding="utf-8"), re.MULTILINE)


def texts():
    """The name and the text of each file that may cite, with its lines joined."""
    for folder, kind in {"score_sde": "py", "configs": "py", "scripts": "py", "docs": "md"}.items():
        for path in sorted((ROOT / folder).rglob(f"*.{kind}")):
            if path != REFERENCES:
                text = re.sub(r"\s+(?:# )?", " ", path.read_text(encoding="utf-8"))
                yield path.relative_to(ROOT).as_posix(), text


def test_each_paper_has_one_key():
    assert len(keys()) == len(set(keys()))
    papers = re.findall(r"arxiv.org/abs/([\d.]+)", REFERENCES.read_text(encoding="utf-8"))
    assert len(papers) == len(set(papers))


def test_every_citation_is_a_key_and_every_key_is_cited():
    known, cited = set(keys()), {}
    for name, text in texts():
        for citation in CITATION.findall(text):
            cited.setdefault(citation, name)
    assert {key: name for key, name in cited.items() if key not in known} == {}
    assert known - cited.keys() == set()


@pytest.mark.parametrize(
    "text",
    ["Song and Ermon 2019", "Song & Ermon (2019)", "Vincent, 2011", "Ho et al. (2020)"],
)
def test_other_forms_of_a_key_are_found(text):
    assert CITATION.findall(f"as in {text}, equation 3") == [text.removesuffix(")")]
