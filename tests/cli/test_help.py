"""The help of the commands."""

import os
import re
import subprocess
import sys

import pytest
from launched import ROOT

from score_sde.cli import main
from score_sde.cli.main import COMMANDS

OWN = ("--allow_code", "--overwrite")

FLAGS = {
    "train": [
        *("--config", "--config.section.key=value", "--workdir", "--init_from", "--average"),
        *(*OWN, "--lock", "--independent"),
    ],
    "sample": [
        *(
            "--config.section.key=value",
            "--workdir",
            "--checkpoint",
            "--average",
            *OWN,
            "--sampler",
            "--num_samples",
        ),
        *("--classes", "--batch", "--seed", "--format", "--output", "--independent"),
    ],
    "likelihood": [
        *(
            "--config.section.key=value",
            "--workdir",
            "--checkpoint",
            "--average",
            *OWN,
            "--split",
            "--dequantizer",
        ),
        *("--num_examples", "--batch", "--seed", "--independent"),
    ],
    "train-dequantizer": [
        "--config",
        "--config.section.key=value",
        "--workdir",
        "--checkpoint",
        "--output",
        *OWN,
        *("--lock", "--independent"),
    ],
    "encode": [
        *(
            "--config.section.key=value",
            "--workdir",
            "--checkpoint",
            "--average",
            *OWN,
            "--split",
            "--num_examples",
        ),
        *("--batch", "--seed", "--output"),
    ],
    "interpolate": [
        *(
            "--config.section.key=value",
            "--workdir",
            "--checkpoint",
            "--average",
            *OWN,
            "--split",
            "--num_pairs",
            "--first",
        ),
        *("--second", "--num_steps", "--temperature", "--batch", "--seed", "--output"),
    ],
    "import": [
        "--config",
        "--config.section.key=value",
        "--reference_config",
        "--checkpoint",
        "--workdir",
        "--allow_code",
    ],
    "export": [
        "--config.section.key=value",
        "--workdir",
        "--checkpoint",
        "--average",
        *OWN,
        "--output",
        "--sampler",
    ],
    "launch": [],
    "reconstruct-ema": ["--workdir", "--sigma_rel", "--step", "--output"],
    "plot": ["--config", "--config.section.key=value", "--workdir", "--output", *OWN],
}


@pytest.mark.parametrize("command", FLAGS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_command_lists_its_flags_with_their_defaults(command, flag, capsys):
    with pytest.raises(SystemExit) as ending:
        main([command, "--workdir=none", flag])
    assert ending.value.code == 0
    text, errors = capsys.readouterr()
    assert not errors and text.startswith(f"usage: score-sde {command} ")
    listed = re.findall(r"^  (--\S+) +(.+)$", text, flags=re.MULTILINE)
    assert [name for name, _ in listed] == [*FLAGS[command], "--help"]
    for name, description in listed:
        assert name in ("--help", "--config.section.key=value") or re.search(
            r"\((required|default: .+)\)$", description
        ), (name, description)


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_lists_the_commands(argv, capsys):
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in FLAGS)


@pytest.mark.parametrize(
    ("command", "hint"), [("trian", ", did you mean 'train'?"), ("x", ""), ("--workdir=runs/x", "")]
)
def test_an_unknown_command(command, hint, capsys):
    assert main([command]) == 2
    text, errors = capsys.readouterr()
    assert not text
    assert errors == f"score-sde: unknown command {command!r}{hint}; commands: {', '.join(FLAGS)}\n"


WITHOUT_LIBRARIES = """
import contextlib, io, sys

from score_sde.cli import main

def code(*argv):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return main(argv)
        except SystemExit as end:
            return end.code

for command in sys.argv[1:]:
    assert code(command, "--help") == 0
for argv in ((), ["help"], ["launch", "local", "--help"], ["launch", "slurm", "--help"]):
    assert code(*argv) == 0
for argv in (
    ["trian"],
    ["train"],
    ["train", "--config=digits/vq"],
    ["sample"],
    ["sample", "--workdir=none"],
    ["launch", "local", "--n=x"],
):
    assert code(*argv) == 2
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


HEAVY = {
    *("jax", "jaxlib", "numpy", "scipy", "flax", "optax", "orbax", "diffrax", "equinox"),
    *("grain", "safetensors", "matplotlib", "PIL", "sklearn", "tensorboardX"),
}


def test_help_and_early_usage_errors_import_no_large_library():
    """They come at once, whatever the commands need for their work."""
    command = [sys.executable, "-c", WITHOUT_LIBRARIES, *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = set(done.stdout.split())
    assert {"score_sde", "absl"} <= found and not found & HEAVY


@pytest.mark.parametrize("command", ["", "train", "launch"])
def test_help_prints_on_an_ascii_terminal(command):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "score_sde", *command.split(), "--help"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("ascii").startswith("usage: score-sde")
