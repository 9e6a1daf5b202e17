"""Overrides ``--config.section.key=value``: every value can be changed."""

import pytest

from score_sde.cli.overrides import override

CONFIG = {
    "seed": 0,
    "sde": {"name": "vp", "t_min": 1e-3},
    "model": {"name": "mlp", "hidden_sizes": (8, 8), "dropout": None},
    "objective": {"name": "denoising", "weighting": "variance", "stratified": False},
    "optim": {"name": "adam", "lr": 2e-4, "warmup": 10, "grad_clip": 1.0},
    "sampling": {"name": "heun", "threshold": {"name": "static"}, "classes": None},
    "data": {"source": "folder:a", "path": "7"},
}

VALUES = [
    # A section in place of a name, and its keys one by one; in Python and in JSON.
    ("objective.weighting.name=p2 objective.weighting.gamma=2", {"name": "p2", "gamma": 2}),
    ("objective.weighting={'name':'min_snr','gamma':2}", {"name": "min_snr", "gamma": 2}),
    ('objective.weighting={"name":"min_snr","own":true}', {"name": "min_snr", "own": True}),
    ("objective.weighting.gamma=2", {"name": "variance", "gamma": 2}),
    ("objective.weighting=likelihood", "likelihood"),
    ("sampling.grid.name=edm sampling.grid.rho=5", {"name": "edm", "rho": 5}),
    ("sampling.grid=[1,0.5]", [1, 0.5]),
    # Any value may become None, and anything may become of None.
    ("optim.grad_clip=None", None),
    ("optim.warmup=None", None),
    ("sampling.threshold=None", None),
    ("model.hidden_sizes=None", None),
    ("data.path=None", None),
    ("objective.stratified=None", None),
    ("sampling.threshold=dynamic", "dynamic"),
    ("model.dropout=0.5", 0.5),
    ("model.dropout=[1,2]", [1, 2]),
    ("sampling.classes=3,1", (3, 1)),
    # Numbers.
    ("optim.warmup=1e3", 1000),
    ("optim.warmup=007", 7),
    ("optim.warmup=0.5", 0.5),
    ("optim.warmup='auto'", "auto"),
    ("optim.lr=1", 1.0),
    ("optim.lr={'a':1}", {"a": 1}),
    ("data.path=8", "8"),
    ("data.path=(a", "(a"),
    ("data.path=", ""),
    # Sequences.
    ("model.hidden_sizes=[4,5]", (4, 5)),
    ("model.hidden_sizes=4", (4,)),
    ("model.hidden_sizes=4,5", (4, 5)),
    ("model.hidden_sizes=()", ()),
    # True and False.
    ("objective.stratified=T", True),
    ("objective.stratified=1", True),
    ("sampling.denoise=false", False),
    ("objective.stratified=5", 5),
]  # fmt: skip


@pytest.mark.parametrize(("words", "value"), VALUES, ids=[words for words, _ in VALUES])
def test_a_value_becomes_of_any_type(words, value):
    found = override(CONFIG, [f"--config.{word}" for word in words.split()])
    section, key = words.partition("=")[0].split(".")[:2]
    assert found.config[section][key] == value
    assert type(found.config[section][key]) is type(value)
    assert not found.rest


def test_the_given_config_stays():
    before = repr(CONFIG)
    override(CONFIG, ["--config.sampling.threshold.limit=2", "--config.sde.t_min=0.5"])
    assert repr(CONFIG) == before


@pytest.mark.parametrize(
    ("argv", "path", "value", "rest"),
    [
        (["--config.optim.lr", "0.5", "--x"], "optim.lr", 0.5, ["--x"]),
        (["-config.optim.lr=0.5", "a"], "optim.lr", 0.5, ["a"]),
        (["--config.objective.stratified", "a"], "objective.stratified", True, ["a"]),
        (["--noconfig.objective.stratified"], "objective.stratified", False, []),
        (["--config.sampling.own", "--x"], "sampling.own", True, ["--x"]),
        (["--config.sampling.own", "7"], "sampling.own", 7, []),
        (["--config.optim.lr=1", "--config.optim.lr=2"], "optim.lr", 2.0, []),
        (["--config.seed=1", "--", "--config.seed=2"], "seed", 1, ["--", "--config.seed=2"]),
    ],
)
def test_forms_of_flags(argv, path, value, rest):
    found = override(CONFIG, argv)
    assert (found.given, found.rest) == ({path: value}, rest)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config.optim.lr"], "--config.optim.lr has no value"),
        (["--config.optim.lr", "--config.seed=1"], "--config.optim.lr has no value"),
        (["--config.optim.lr="], "--config.optim.lr has no value"),
        (["--config.optim.lr=much"], "--config.optim.lr=much must be a number"),
        (["--noconfig.optim.lr=1"], "--noconfig.optim.lr takes no value"),
        (["--config.optim.lr.x=1"], "--config.optim.lr.x: optim.lr is not a section but 0.0002"),
        (["--config.data.path.x=1"], "--config.data.path.x: data.path is not a section but '7'"),
        (["--config.sde=None"], "--config.sde=None must be a section such as"),
        (
            ["--config.sde.t_min=1", "--config.sde={}"],
            "--config.sde comes after --config.sde.t_min and would overwrite it",
        ),
        ([f"--config.optim.lr={'[' * 999}"], "--config.optim.lr=[[[["),
        ([f"--config.sde={'{' * 99}"], "--config.sde={{{{"),
    ],
)
def test_wrong_overrides_are_one_line(argv, message):
    with pytest.raises(ValueError) as error:
        override(CONFIG, argv)
    assert message in str(error.value) and "\n" not in str(error.value)
