"""README and documentation keep their word: their Python runs, their commands, files and
links exist.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import score_sde as ss
from score_sde.cli.config_file import read_config
from score_sde.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.skipif(not README.exists(), reason="not in a checkout")

RUN_ELSEWHERE = {"own_networks.md"}
"""Pages whose Python is run by tests of their own."""


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_readme_is_short():
    text = re.sub(r"```.*?```", "", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(text.split()) <= 900


def test_the_readme_leads_to_every_page():
    text = README.read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []


def test_the_script_of_a_user_draws_samples():
    scripts = [block for block in blocks(README, "python") if "ss.load(" in block]
    assert scripts
    for script in scripts:
        assert len(script.strip().splitlines()) <= 6
        names = {}
        with tiny.quick_compilation():
            exec(re.sub(r'ss\.load\(".*?"\)', f"ss.load({str(tiny.toy_run())!r})", script), names)
        images = np.asarray(names["images"])
        assert images.shape == (64, 2) and np.isfinite(images).all()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_other_python_runs(page, tmp_path, monkeypatch):
    golden = ROOT / "tests" / "golden"
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "golden").symlink_to(golden)  # a page reads a config from there
    monkeypatch.chdir(tmp_path)  # where a model is saved
    if page.name in RUN_ELSEWHERE:
        return
    others = [block for block in blocks(page, "python") if "ss.load(" not in block]
    for block in others:
        names = {}
        with tiny.quick_compilation():
            exec(block, names)
        if "get_config" in names:
            assert names["get_config"]().sde.name == "ve"
        if "z" in names:
            assert np.isfinite(names["z"]).all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_commands_are_known_and_their_configs_exist(page):
    text = page.read_text(encoding="utf-8")
    commands = re.findall(r"score-sde ([\w-]+)((?: --[\w.]+=[^\s`]+)*)[ `\n;,]", text)
    assert {command for command, _ in commands} <= set(COMMANDS)
    for _, flags in commands:
        for config in re.findall(r" --config=([\w./]+)", flags):
            if config != "FILE":
                read_config(config)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_and_links_it_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`(?:\./)?((?:scripts|configs|tests|score_sde)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
        assert (page.parent / name).exists(), name


def test_it_names_no_package_that_is_not_published():
    """Until then an extra is installed from a clone."""
    text = README.read_text(encoding="utf-8")
    assert not re.findall(r"pip install[^`]*[\"' ]score[-_]sde\b", text)
    assert re.findall(r"pip install -e", text)


GRADIENTS = {
    "loss": (jax.grad, lambda x: ss.DenoisingScoreMatching()(KEY, SDE, normal, x)),
    "bound": (jax.grad, lambda x: ss.variational_bound(KEY, SDE, normal, x, num_times=4).log_prob),
    "likelihood": (
        jax.grad,
        lambda x: ss.log_likelihood(KEY, SDE, normal, x, differentiate="reverse").log_prob,
    ),
    "sample": (
        jax.jacfwd,
        lambda x: ss.sample(KEY, SDE, lambda y, t: -y / (1 + x @ x), SAMPLER, (2,)).x,
    ),
    "encode": (jax.jacfwd, lambda x: ss.encode(SDE, normal, x)),
    "decode": (jax.jacfwd, lambda x: ss.decode(SDE, normal, x)),
}
"""The derivatives that `docs/features.md` promises: a transformation and a function."""

SDE, KEY, SAMPLER = ss.VPSDE(), jax.random.key(0), ss.default_sampler(nfe=3)


def normal(x, t):
    """Any smooth score will do."""
    return -x / (1.0 + t)


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_promised_derivative_exists(name):
    transformation, function = GRADIENTS[name]
    x = jnp.array([0.3, -0.7])
    derivative = jax.jit(transformation(function))(x)
    assert np.isfinite(derivative).all() and np.abs(derivative).max() > 1e-3
