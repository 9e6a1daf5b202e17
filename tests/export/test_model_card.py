"""The model card: metadata that are YAML, and facts that come from the config."""

import pytest
import yaml

from score_sde.export.folder import README
from score_sde.export.model import export_model
from score_sde.export.model_card import model_card

CONFIG = {
    "seed": 0,
    "sde": {"name": "ve", "sigma_max": 50.0},
    "model": {"name": "mypkg.nets:Net"},
    "data": {"source": "folder:faces", "path": "private/faces"},
    "objective": {"name": "denoising", "weighting": {"name": "mypkg.weights:w"}},
    "sampling": {"name": "heun", "num_steps": 18},
    "example": {"shape": [32, 32, 3], "num_levels": 256},
}


def test_a_card_says_what_the_model_is_and_how_to_load_it(tmp_path):
    export_model(
        tmp_path / "faces",
        {},
        CONFIG,
        step=1_300_000,
        figures={"FID": "2.20 ± 0.01", "a|b": "c\nd"},
    )
    text = (tmp_path / "faces" / README).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "score_sde",
        "tags": ["score-based-generative-modeling", "diffusion", "jax"],
    }
    for line in (
        "# faces",
        "| SDE | `ve` with `sigma_max=50.0` |",
        "| network | `mypkg.nets:Net` |",
        "| data | `folder:faces` |",
        "| sampler | `heun` with `num_steps=18` |",
        "| example | 32 × 32 × 3, 256 levels |",
        "| training steps | 1,300,000 |",
        'model = ss.load("faces", allow=["mypkg.nets", "mypkg.weights"])',
        "| FID | 2.20 ± 0.01 |",
        "| a\\|b | c d |",
        "None is stated: whoever publishes this model adds one here, and as `license:` above.",
    ):
        assert line in body.splitlines(), line
    assert "| score-sde |" in body and "private" not in text


@pytest.mark.parametrize("name", ["", " ", "a: b", "# x", "x\n---\nlicense: mit", '"'])
def test_no_name_of_a_folder_breaks_the_card(name):
    text = model_card(name, {"sde": "broken", "data": {"source": "`|\n"}}, step=1, num_parameters=2)
    _, front, body = text.split("---\n", 2)
    assert set(yaml.safe_load(front)) == {"library_name", "tags"}
    assert sum(line.startswith("# ") for line in body.splitlines()) == 1
    assert "| parameters | 2, averaged over training |" in body and "## Figures" not in body
