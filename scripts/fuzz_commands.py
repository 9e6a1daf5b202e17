"""The flags and configs for ``scripts/fuzz.py``: the commands up to their first work.

Each case reads flags, builds what they describe with parameters that are zeros, and does
not train or sample.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from unittest import mock

import yaml
from fuzz_runs import trained
from fuzz_targets import CANARY, PLACES_OF_NAMES, Target, json_changed, mutated, value_of_any_kind

NUMBERS = (
    *("0", "-1", "1", "3", "1e3", "1.5", "nan", "-inf", "2147483648", "4294967296"),
    *("18446744073709551616", "-9223372036854775809", "1e400", "9" * 5000, "0x10", "1_0", "٣"),
)
TEXTS = (
    *("", " ", "None", "True", "false", "none", "x", "a b", "a=b", "--", "é", "\udcff", "\n", ".."),
    *("/", "/dev/null", "/etc/passwd", "/proc/self/mem", "~", "~nobody/x", ".", "case", "a" * 300),
    *("no_such_module:run", "score_sde:VPSDE", "a:b:c", ":", "\x1b[2J", "%s%n", "$HOME"),
)  # fmt: skip
LITERALS = (
    *("()", "(1,)", "[1, 2]", "[[[]]]", "{}", "{'name': 'none'}", "{'name': 3}", "{1: 2}"),
    *("{1, 2}", "{'a':" * 90 + "1" + "}" * 90, '{"a":' * 900 + "1" + "}" * 900, "[" * 100_000),
    *("{'name': {'name': 'vp'}}", '{"name": null}', "1j", "b'x'", "-5", "'x'", "(" * 300),
    *("(1", "1 +", "lambda: 1"),
)  # fmt: skip
VALUES = (*NUMBERS, *TEXTS, *LITERALS)
"""The values of flags, of every type and of none."""

COSTLY = ("num_examples", "num_modes", "hidden_sizes", "embedding_dim", "num_scales", "num_levels")
"""Keys whose large values only take memory or time, as the user asks for."""

SOUND = (
    *("sde.t_min=2e-3", "sampling.nfe=5", "optim.grad_clip=None", "optim.lr=1", "seed=7"),
    *("objective.weighting.name=min_snr", "objective.weighting=variance", "eval.bound=variational"),
    *("sampling.name=heun", "sampling.threshold=static", "training.averages=power:0.1"),
    *("model.hidden_sizes=(4,)", "training.num_steps=1e2", "objective.time_sampling.t_min=1e-4"),
)
"""Overrides that are right."""

KEYS = (
    *PLACES_OF_NAMES,
    *("seed", "sde.t_min", "model.activation", "objective.weighting.gamma", "optim.lr"),
    *("optim.grad_clip", "optim.warmup", "sampling.nfe", "sampling.num_samples"),
    *("sampling.batch_size", "sampling.classes", "sampling.threshold.limit", "sampling.grid.rho"),
    *("data.flip", "data.centered", "data.x", "training.num_steps", "training.averages"),
    *("training.batch_size", "training.fsdp", "training.trackers", "eval.max_examples"),
    *("eval.bound", "eval.divergence.num_probes", "example.shape", "x", "a..b", "sde.name.x"),
)
"""The keys of overrides."""

OF_WORKDIRS = ("sample", "likelihood", "encode", "interpolate", "export")
"""The commands that load the model of a workdir."""


def _without_compilation() -> mock._patch:
    import jax
    import numpy as np

    from score_sde.experiments import builders

    def init(network: object, seed: int) -> object:
        shapes = jax.eval_shape(network.init, jax.random.key(0))  # type: ignore[attr-defined]
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

    return mock.patch.object(builders, "_init", init)


def _refused(call: object, *args: object) -> object:
    """The result of a call, with usage errors as the ``ValueError`` that the fuzz expects."""
    from score_sde.cli.flags import UsageError
    from score_sde.runtime.unreadable import UnreadableError

    try:
        return call(*args)  # type: ignore[operator]
    except (UsageError, UnreadableError) as error:
        raise ValueError(str(error)) from None
    except SystemExit as error:
        if error.code:
            raise
        return None


def _build(argv: Sequence[str]) -> object:
    from score_sde.cli.command_flags import FLAGS
    from score_sde.cli.flags import usage_errors
    from score_sde.experiments.base import AnyExperiment
    from score_sde.experiments.builders import build

    values = FLAGS["train"]().parse(argv)
    with usage_errors(), _without_compilation():
        return build(values.config, AnyExperiment)


def _load(command: str, argv: Sequence[str]) -> object:
    from score_sde.cli.command_flags import FLAGS
    from score_sde.cli.workdir import load_model

    return load_model(FLAGS[command]().parse(argv))


# --- flags ---


def _override(rng: Random) -> str:
    if rng.random() < 0.4:
        return f"--config.{rng.choice(SOUND)}"
    value = rng.choice(VALUES) if rng.random() < 0.8 else _own(json.dumps(value_of_any_kind(rng)))
    return f"--config.{rng.choice(KEYS)}={value}"


def _own(text: str) -> str:
    """A text without names of code: code that the user names is run."""
    return text.replace(CANARY, "no_such_module").replace("os:system", "no_such_module:run")


def _flags(rng: Random, names: Sequence[str]) -> list[str]:
    found = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(4)
        if kind < 2:
            found.append(_override(rng))
        else:
            form = "--{}={}" if kind == 2 else rng.choice(("--{} {}", "-{}={}", "--no{}", "{}={}"))
            found += form.format(rng.choice(names), rng.choice(VALUES)).split(" ", 1)
    return found


def _write_flags(rng: Random, folder: Path) -> None:
    (folder / "argv.json").write_text(json.dumps(["train", "--config=toy/mixture", SMALL]))


def _spoil_flags(rng: Random, folder: Path) -> None:
    from score_sde.cli.command_flags import FLAGS

    command = rng.choice(sorted(FLAGS))
    names = [name for name in FLAGS[command]()._values if name != "flagfile"]
    start = ["--config=toy/mixture", SMALL] if command == "train" else []
    if command in OF_WORKDIRS:
        start = ["--workdir=run"]
        shutil.copytree(trained("run")[0] / "checkpoints", folder / "run" / "checkpoints")
    argv = [command, *start, *_flags(rng, names)]
    (folder / "argv.json").write_text(json.dumps(argv))


SMALL = "--config.data.num_examples=50"


def _read_flags(folder: Path) -> object:
    from score_sde.cli.command_flags import FLAGS

    command, *argv = json.loads((folder / "argv.json").read_text())
    if command == "train":
        return _refused(_build, argv)
    if command in OF_WORKDIRS:
        return _refused(_load, command, argv)
    return _refused(FLAGS[command]().parse, argv)


def _spoil_overrides(rng: Random, folder: Path) -> None:
    overrides = [_override(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    argv = ["train", "--config=toy/mixture", SMALL, *overrides]
    (folder / "argv.json").write_text(json.dumps(argv))


# --- configs ---


def _resolved() -> dict[str, object]:
    path = trained("run")[0] / "config.json"
    return json.loads(path.read_text())


def _write_json(rng: Random, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(_resolved()))


def _write_python(rng: Random, folder: Path) -> None:
    (folder / "config.py").write_text(_python(_resolved()))


def _python(config: object) -> str:
    return f"inf, nan = 1e999, 1e999 - 1e999\ndef get_config():\n    return {config!r}\n"


def _changed(rng: Random) -> object:
    found = json_changed(rng, _resolved())
    if isinstance(found, dict):  # what only takes memory is no fault
        for section in found.values():
            for key in COSTLY:
                value = section.get(key) if isinstance(section, dict) else None
                if isinstance(value, int) and value > 10**4:
                    section[key] = 4
    return found


def _spoil_json(rng: Random, folder: Path) -> None:
    path = folder / "config.json"
    if rng.random() < 0.2:
        path.write_bytes(mutated(rng, path.read_bytes()))
    else:
        path.write_text(json.dumps(_changed(rng)))


def _spoil_python(rng: Random, folder: Path) -> None:
    (folder / "config.py").write_text(_own(_python(_changed(rng))))


def _read_config(folder: Path) -> object:
    path = next(path for path in folder.iterdir() if path.stem == "config")
    return _refused(_build, [f"--config={path}"])


NCSNV2 = {
    "training": {"batch_size": 8, "n_iters": 9, "snapshot_freq": 5, "anneal_power": 2},
    "sampling": {"step_lr": 6.2e-6, "n_steps_each": 5, "denoise": True},
    "data": {"dataset": "CIFAR10", "image_size": 32, "channels": 3, "rescaled": False},
    "model": {"sigma_begin": 50, "sigma_end": 0.01, "num_classes": 10, "ngf": 8, "ema": True},
    "optim": {"optimizer": "Adam", "lr": 1e-4, "weight_decay": 0.0, "beta1": 0.9, "eps": 1e-8},
}


def _write_yaml(rng: Random, folder: Path) -> None:
    (folder / "config.yml").write_text(yaml.safe_dump(NCSNV2))


def _spoil_yaml(rng: Random, folder: Path) -> None:
    changed = json_changed(rng, json.loads(json.dumps(NCSNV2)))
    strange = (
        yaml.safe_dump(changed),
        f"model: !!python/object/apply:{CANARY}.run []",
        "a: &a [*a]",
        "a: &a [1]\n" + "\n".join(f"b{n}: &a [*a, *a, *a]" for n in range(40)),
        "[" * 10_000,
        "? [1]\n: 2",
        "1: 2\n3.5: {4: 5}",
        "data: {? {a: 1} : 2}",
        "\x00",
        "2001-01-01",
        "model: 2001-01-01",
    )
    (folder / "config.yml").write_text(rng.choice((strange[0], rng.choice(strange))))


def _read_yaml(folder: Path) -> object:
    from score_sde.cli.reference_config import read_reference_config

    return read_reference_config(str(folder / "config.yml"))


def _run() -> object:
    return trained("run")


COMMAND_TARGETS = {
    "flags": Target(_write_flags, _read_flags, _spoil_flags, _run, bytes=False),
    "overrides": Target(_write_flags, _read_flags, _spoil_overrides, bytes=False),
    "json config": Target(_write_json, _read_config, _spoil_json, _run, bytes=False),
    "python config": Target(_write_python, _read_config, _spoil_python, _run, bytes=False),
    "ncsnv2 config": Target(_write_yaml, _read_yaml, _spoil_yaml),
}
"""Flags and configs by name."""
