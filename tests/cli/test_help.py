"""What the command says of itself."""

import re

import pytest

from score_sde.cli import main

OWN = ("--allow_code", "--overwrite")

FLAGS = {
    "train": ["--config", "--config.section.key=value", "--workdir", "--overwrite"],
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
        *("--classes", "--batch", "--seed", "--format", "--output"),
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
        *("--num_examples", "--batch", "--seed"),
    ],
    "train-dequantizer": [
        "--config",
        "--config.section.key=value",
        "--workdir",
        "--checkpoint",
        "--output",
        *OWN,
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


@pytest.mark.parametrize("verb", FLAGS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_verb_lists_its_flags_with_their_defaults(verb, flag, capsys):
    with pytest.raises(SystemExit) as ending:
        main([verb, "--workdir=none", flag])
    assert ending.value.code == 0
    text, errors = capsys.readouterr()
    assert not errors and text.startswith(f"usage: score-sde {verb} ")
    listed = re.findall(r"^  (--\S+) +(.+)$", text, flags=re.MULTILINE)
    assert [name for name, _ in listed] == [*FLAGS[verb], "--help"]
    for name, description in listed:
        assert name in ("--help", "--config.section.key=value") or re.search(
            r"\((required|default: .+)\)$", description
        ), (name, description)


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_lists_the_verbs(argv, capsys):
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in FLAGS)


@pytest.mark.parametrize(
    ("verb", "hint"), [("trian", ", did you mean 'train'?"), ("x", ""), ("--workdir=runs/x", "")]
)
def test_an_unknown_verb(verb, hint, capsys):
    assert main([verb]) == 2
    text, errors = capsys.readouterr()
    assert not text
    assert errors == f"score-sde: unknown verb {verb!r}{hint}; verbs: {', '.join(FLAGS)}\n"
