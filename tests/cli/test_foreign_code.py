"""A file from elsewhere runs no code: exported models and workdirs whose configs name
it, in every place.
"""

import functools
import itertools
import json
import sys

import pytest
import tiny
from foreign_code import (
    NAMES,
    command_runs_nothing,
    config_of,
    places,
    put_config,
    runs_nothing,
    spoilt,
    witness,
)
from launched import run_in

from score_sde import Heun, LearnedDequantizer, NoisyClassifier, TrainedModel, load, saved_config
from score_sde.cli.command_flags import FLAGS
from score_sde.cli.flags import UsageError
from score_sde.cli.own_code import command_line, look_in_current_folder
from score_sde.cli.sample import examples_if_there
from score_sde.cli.workdir import load_examples
from score_sde.experiments.code_names import CHOICES
from score_sde.experiments.loading import load_trusting
from score_sde.experiments.score_model import Model
from score_sde.export.model import export_model
from score_sde.runtime.trust import NOTHING

LOADERS = {
    "load": load,
    **{
        kind.__name__: functools.partial(load, kind=kind)
        for kind in (NoisyClassifier, LearnedDequantizer, TrainedModel)
    },
}

ISSUE = [
    ("sampling", {"name": "os:system", "command": "echo RAN > PWNED"}),
    ("sde", {"name": "os:system", "command": "echo RAN > PWNED"}),
    ("parameterization", {"name": "os:system", "command": "echo RAN > PWNED"}),
    ("eval", {"divergence": {"name": "os:system", "command": "echo RAN > PWNED"}}),
]
"""What ran when it was loaded."""


@pytest.fixture
def spy(tmp_path, monkeypatch):
    return witness(tmp_path / "modules", monkeypatch)


@pytest.fixture
def exported(tmp_path):
    """An exported model whose config may be rewritten."""
    model = load(tiny.toy_run())
    export_model(tmp_path / "model", model.params, model.config, step=model.step)
    return tmp_path / "model"


@pytest.fixture
def workdir(tmp_path):
    """A workdir whose config may be rewritten."""
    return tiny.copy_of(tiny.toy_run(), tmp_path)


@pytest.mark.parametrize(("section", "values"), ISSUE)
def test_a_command_in_a_saved_config_is_not_run(
    section, values, exported, workdir, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for folder in (exported, workdir):
        put_config(folder, {**config_of(folder), section: values})
        with pytest.raises(
            ValueError, match=r"names code: .*name='os:system'; .*allow=\['os'\].*--allow_code=os$"
        ):
            load(folder)
        assert not (tmp_path / "PWNED").exists()


def choices_of(config):
    """The spoilt configs of which something would be looked up, by what was done."""
    lookups = {
        ".".join(path)
        for path in places(config)
        if path[-1] in CHOICES and path[0] not in ("data", "example")
    }
    lookups |= {"data.source", "training.trackers"}
    found = {what: changed for what, changed in spoilt(config) if what.partition("=")[0] in lookups}
    return {
        what: changed for what, changed in found.items() if not what.startswith("data.source={")
    }  # it is a text


def test_no_place_of_an_exported_model_names_code_that_is_run(exported, spy):
    """Each is an error, or no key whose value is looked up; every seventh of all."""
    models = 0
    for what, config in itertools.islice(spoilt(config_of(exported)), 0, None, 7):
        put_config(exported, config)
        models += isinstance(runs_nothing(spy, what, lambda: load(exported)), Model)
    assert models > 5, "all were errors: nothing is known of the others"


def test_each_place_that_is_looked_up_is_a_usage_error_by_every_loader(exported, spy):
    rejected = 0
    for (what, config), (name, loader) in zip(
        choices_of(config_of(exported)).items(),
        itertools.cycle([*LOADERS.items(), ("config", saved_config)]),
    ):
        put_config(exported, config)
        error = runs_nothing(spy, f"{name}: {what}", lambda loader=loader: loader(exported))
        assert isinstance(error, ValueError), f"{name}: {what}"
        rejected += "names code: " in str(error)
    assert rejected > 150


def test_what_is_looked_up_is_a_usage_error_without_the_check_at_the_door(
    exported, spy, monkeypatch
):
    """So that a section which the door does not know cannot be forgotten."""
    monkeypatch.setattr(
        "score_sde.experiments.loading.check_code", lambda *arguments, **options: None
    )
    for what, config in itertools.islice(choices_of(config_of(exported)).items(), 0, None, 17):
        put_config(exported, config)
        runs_nothing(spy, what, lambda: load(exported))
        runs_nothing(
            spy, what, lambda config=config: load_trusting(NOTHING, exported, config=config)
        )


@pytest.mark.slow
def test_no_place_of_a_workdir_names_code_that_is_run(workdir, spy):
    for what, config in itertools.islice(spoilt(config_of(workdir)), 0, None, 5):
        put_config(workdir, config)
        for loader in (load, saved_config):
            runs_nothing(spy, what, lambda loader=loader: loader(workdir))


COMMANDS = {
    "sample": (),
    "plot": (),
    "likelihood": ("--config.eval.max_examples=4",),
    "export": ("--output=none",),
    "encode": ("--config.sampling.num_steps=5",),
    "interpolate": ("--num_pairs=1",),
    "train-dequantizer": ("--config=dequantizer/digits",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_what_a_workdir_names(command, workdir, spy, monkeypatch):
    """For every section whose name is looked up; ``plot`` builds the SDE alone."""
    monkeypatch.chdir(workdir.parent)
    config = config_of(workdir)
    for name, section in zip(
        itertools.cycle(NAMES), ("sde", "model", "sampling", "eval", "data", "training")
    ):
        if command == "plot" and section != "sde":
            continue
        changed = {
            "eval": {"bound": name},
            "data": {"source": name},
            "training": {"trackers": [name]},
        }
        put_config(
            workdir, {**config, section: changed.get(section, {"name": name, "command": "x"})}
        )
        code, line = command_runs_nothing(
            spy, f"{command}: {section}", command, f"--workdir={workdir}", *COMMANDS[command]
        )
        assert code == 2 and line.count("\n") == 1, line
        assert (
            f"names code: {section}." in line and f"--allow_code={name.partition(':')[0]}" in line
        ), line


STRIDES = {"plot": 97, "reconstruct-ema": 7}
"""Every which case is taken of the commands that build the SDE alone, or nothing, and
name little code.
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, "reconstruct-ema"])
def test_no_command_runs_what_any_place_of_a_workdir_names(command, workdir, spy, tmp_path):
    if command == "reconstruct-ema":
        file = tiny.config_file(tiny.TOY, tmp_path)
        averages = "--config.training.averages=('power:0.05','power:0.15')"
        workdir = tmp_path / "with_snapshots"
        tiny.run(
            "train",
            f"--config={file}",
            f"--workdir={workdir}",
            averages,
            "--config.training.snapshot_every=10",
        )
    flags = COMMANDS.get(command, ("--sigma_rel=0.1", "--output=none"))
    done = rejected = 0
    for number, (what, config) in enumerate(
        itertools.islice(spoilt(config_of(workdir)), 0, None, STRIDES.get(command, 7))
    ):
        put_config(workdir, config)
        output = [
            flag.replace("output=none", f"output={tmp_path / f'none{number}'}") for flag in flags
        ]
        code, line = command_runs_nothing(
            spy, f"{command}: {what}", command, f"--workdir={workdir}", *output
        )
        done += code == 0
        rejected += "names code: " in line
    assert done or command == "train-dequantizer", "all were errors: nothing is known of the others"
    assert (rejected > 20) != (command in STRIDES)


def test_the_data_of_a_dequantizer_are_those_of_an_allowed_package(
    workdir, spy, tmp_path, usage_error
):
    """What an allowed package only hands on is not allowed; the section ``data`` is not
    built with the score model.
    """
    (tmp_path / "modules" / "reexporting_module.py").write_text("from loaded_module import make\n")
    put_config(workdir, {**config_of(workdir), "data": {"source": "reexporting_module:make"}})
    line = usage_error(
        "train-dequantizer",
        f"--workdir={workdir}",
        *COMMANDS["train-dequantizer"],
        "--allow_code=reexporting_module",
    )
    assert "'reexporting_module:make' is defined in 'loaded_module', which is not allowed" in line
    assert "called" not in spy.found()


def test_a_name_that_is_overridden_is_not_imported_to_find_what_belonged_to_it(
    workdir, spy, tmp_path
):
    config = config_of(workdir)
    put_config(workdir, {**config, "sde": {"name": "foreign_module:make", "beta_max": 3.0}})
    errors = command_runs_nothing(
        spy, "export", "export", f"--workdir={workdir}", f"--output={tmp_path / 'a'}"
    )[1]
    assert "sde.name='foreign_module:make'" in errors
    done = command_runs_nothing(
        spy,
        "export",
        "export",
        f"--workdir={workdir}",
        f"--output={tmp_path / 'b'}",
        "--config.sde.name=brownian",
    )
    assert done == (0, "") and config_of(tmp_path / "b")["sde"] == {"name": "brownian"}
    put_config(
        workdir, {**config, "data": {"source": "foreign_module:make", "x": 3, "centered": True}}
    )
    done = command_runs_nothing(
        spy,
        "export",
        "export",
        f"--workdir={workdir}",
        f"--output={tmp_path / 'c'}",
        "--config.data.source=moons",
    )
    assert done == (0, "") and config_of(tmp_path / "c")["data"] == {
        "source": "moons",
        "centered": True,
    }


OWN = """
from dataclasses import dataclass
from score_sde import Heun
from score_sde.data import DataSource
from score_sde.data.toy import mixture

class OwnSampler(Heun):
    pass

def points(**options) -> DataSource:
    return mixture(**options)
"""


@pytest.fixture
def own(workdir, tmp_path, monkeypatch):
    """A workdir with a sampler and data of the user's own, whose module lies in the
    current folder.
    """
    folder = tmp_path / "here"
    (folder / "own_package").mkdir(parents=True)
    (folder / "own_package" / "__init__.py").write_text("from os import system\n")
    (folder / "own_package" / "parts.py").write_text(OWN)
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if entry not in ("", str(folder))]
    )
    monkeypatch.chdir(folder)
    config = config_of(workdir)
    config["sampling"]["name"] = "own_package.parts:OwnSampler"
    config["data"]["source"] = "own_package.parts:points"
    put_config(workdir, config)
    yield workdir
    for name in ("own_package", "own_package.parts"):
        sys.modules.pop(name, None)


OWN_NETWORK = """
from score_sde.models import ScoreNetwork

def net(shape, sigmas, num_blocks) -> ScoreNetwork:
    return ScoreNetwork(lambda key: {}, lambda params, x, t, **options: 0.0 * x)
"""


def test_an_own_network_may_have_options_of_any_length(exported, tmp_path, monkeypatch):
    """The bounds are those of the networks here: it was trained, and rejected for having
    fewer tensors than options.
    """
    (tmp_path / "own_network.py").write_text(OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    model = {"name": "own_network:net", "sigmas": [0.1] * 100, "num_blocks": 100}
    config = {**config_of(exported), "model": model}
    export_model(tmp_path / "own", {}, config, step=1)
    try:
        assert load(tmp_path / "own", allow="own_network").config["model"]["num_blocks"] == 100
    finally:
        sys.modules.pop("own_network", None)


def test_own_code_is_taken_where_it_is_allowed(own, monkeypatch):
    monkeypatch.syspath_prepend(own.parent / "here")
    for allow in (
        "own_package",
        ["own_package.*"],
        ["own_package.parts:OwnSampler", "own_package.parts:points"],
        "*",
    ):
        model = load(own, allow=allow)
        assert isinstance(model.sampler, Heun) and type(model.sampler).__name__ == "OwnSampler"
        assert saved_config(own, allow=allow).sampling.name == "own_package.parts:OwnSampler"
    with pytest.raises(
        ValueError, match=r"names code: data\.source='own_package\.parts:points'; code"
    ):
        load(own, allow=["own_package.parts:OwnSampler"])
    # What the caller gives is the caller's.
    assert type(load(own, config=model.config).sampler).__name__ == "OwnSampler"
    config = config_of(own)
    put_config(
        own, {**config, "sde": {"name": "own_package:system", "command": "echo RAN > PWNED"}}
    )
    with pytest.raises(
        ValueError, match=r"^sde 'own_package:system' is defined in 'posix', which is not allowed"
    ):
        load(own, allow="own_package")
    assert not (own.parent / "here" / "PWNED").exists()


def test_commands_take_own_code_where_a_flag_allows_or_names_it(own, usage_error):
    command = "export", f"--workdir={own}"
    line = usage_error(*command, "--output=a")
    assert (
        "data.source='own_package.parts:points'" in line
        and "sampling.name='own_package.parts:OwnSampler'" in line
    )
    assert "" not in sys.path, "where nothing is allowed, nothing is looked for here"
    tiny.run(*command, "--output=b", "--allow_code=other, own_package.parts")
    assert sys.path[-1] == ""
    line = usage_error(
        *command, "--output=c", "--config.sampling.name=own_package.parts:OwnSampler"
    )
    assert "names code: data.source='own_package.parts:points'; " in line
    typed = [
        "--config.sampling.name=own_package.parts:OwnSampler",
        "--config.data.source=own_package.parts:points",
    ]
    tiny.run(*command, "--output=d", *typed)
    line = usage_error(*command, "--output=e", "--allow_code=own-package")
    assert "must be 'package', 'package.*', 'package.module:Name' or '*'" in line
    assert "--allow_code is for the saved config of a --workdir" in usage_error(
        "plot", "--allow_code=a", "--config=digits/vp"
    )


@pytest.mark.slow
def test_a_run_with_own_code_goes_on_and_is_drawn_from(tmp_path, monkeypatch, usage_error):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "own_module.py").write_text(OWN)
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if entry not in ("", str(folder))]
    )
    monkeypatch.chdir(folder)
    file = tiny.config_file(tiny.TOY, tmp_path)
    own = ["--config.sampling.name=own_module:OwnSampler", "--config.data.source=own_module:points"]
    tiny.run("train", f"--config={file}", "--workdir=run", *own)
    tiny.run("train", f"--config={file}", "--workdir=run", *own, "--config.training.num_steps=40")
    assert "--allow_code=own_module" in usage_error("sample", "--workdir=run")
    tiny.run("sample", "--workdir=run", "--allow_code=own_module")
    tiny.run("likelihood", "--workdir=run", "--allow_code=own_module.*")
    tiny.run("plot", "--workdir=run")  # of whose SDE nothing is own
    sys.modules.pop("own_module")


def test_the_current_folder_comes_last_and_only_where_it_is_needed(
    tmp_path, monkeypatch, usage_error
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "path", before := [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    )
    assert "no such workdir" in usage_error("sample", "--workdir=none")
    assert "unknown sde 'x'" in usage_error("plot", "--config=digits/vp", "--config.sde.name=x")
    assert sys.path == before and "" not in sys.path
    look_in_current_folder()
    look_in_current_folder()
    assert sys.path[-1] == "" and sys.path.count("") == 1


def test_processes_that_are_started_do_not_look_there_either():
    assert command_line() == (sys.executable, "-P", "-m", "score_sde")


@pytest.mark.slow
@pytest.mark.parametrize("launched", [False, True])
def test_a_file_in_the_current_folder_takes_the_place_of_no_library(launched, tmp_path):
    marks = tmp_path / "marks"
    for name in ("matplotlib", "datasets", "sklearn", "safetensors", "jax_plugins/evil", "libtpu"):
        path = tmp_path / "here" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(marks)!r}, 'a').write(__name__)\n")
    words = ("launch", "local", "-n", "1", "--") if launched else ()
    command = [
        sys.executable,
        "-P",
        "-m",
        "score_sde",
        *words,
        "sample",
        f"--workdir={tiny.toy_run()}",
    ]
    done = run_in(tmp_path / "here", *command, f"--output={tmp_path / 'samples'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "samples" / "samples.npz").exists() and not marks.exists()


def test_samples_need_no_module_of_the_data(exported):
    config = config_of(exported)
    put_config(exported, {**config, "data": {"source": "no_module:photos", "size": 3}})
    values = FLAGS["sample"]().parse([f"--workdir={exported}", "--allow_code=no_module"])
    model = load(exported, allow="no_module")
    source, reason = examples_if_there(model, values)
    assert source is None and "no module 'no_module'" in reason
    with pytest.raises(UsageError, match="no module 'no_module'"):
        load_examples(model, values)  # as commands do that need data
    put_config(exported, {**config, "data": {"source": "tiny:photos"}})
    values = FLAGS["sample"]().parse([f"--workdir={exported}", "--allow_code=tiny"])
    with pytest.raises(UsageError, match="module 'tiny' has no function or class 'photos'"):
        examples_if_there(load(exported, allow="tiny"), values)


def test_a_saved_config_may_have_no_example(exported):
    for example in (
        None,
        "a:b",
        {},
        {"shape": 3, "num_levels": None},
        {"shape": [2], "num_levels": "x"},
    ):
        put_config(exported, {**config_of(exported), "example": example})
        with pytest.raises(ValueError, match=r"^example"):
            load(exported)
    card = json.loads((exported / "model.json").read_text())
    del card["config"]["example"]
    (exported / "model.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="lacks the section example"):
        load(exported)
