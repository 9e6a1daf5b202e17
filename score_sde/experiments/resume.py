"""Whether a run may resume with another config: its length may change, its model may not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from score_sde.experiments.builders import Config, as_mapping
from score_sde.experiments.sections import SKIP_DAMAGED, as_begun, with_former_options
from score_sde.runtime.trust import shortened
from score_sde.training import newest_config

FIXED = ("data", "example", "sde", "parameterization", "model", "objective", "seed")
"""The sections that must stay the same; the others may change when a run resumes."""

FREE = (f"data.{SKIP_DAMAGED}",)
"""Keys of those sections that may change all the same."""

AVERAGES = "training.averages"
"""The key of ``training`` that must stay the same: the state has one array tree for each."""


def continued(workdir: Path, config: Config) -> Config:
    """The config for a run in ``workdir``, with the former defaults of the run that it
    resumes.
    """
    saved = newest_config(workdir / "checkpoints")
    return config if saved is None else as_begun(as_mapping(config), saved)


def check_resumes(workdir: Path, config: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where ``workdir`` holds a run of another model; the message
    names the first key that differs.
    """
    saved = newest_config(workdir / "checkpoints")
    if saved is None:
        return
    if not isinstance(saved, Mapping):
        raise ValueError(f"{workdir} holds a run without a config: choose another workdir")
    saved = with_former_options(saved)
    sections = [(section, saved.get(section), config.get(section)) for section in FIXED]
    sections.append((AVERAGES, *(_averages(each.get("training")) for each in (saved, config))))
    for section, then, since in sections:
        for key, was, now in _differences(section, then, since):
            if key in FREE:
                continue
            raise ValueError(
                f"{workdir} holds a run with {key}={shortened(repr(was))} where this config has "
                f"{shortened(repr(now))}: choose another workdir (a resumed run may change "
                f"optim, sampling, eval, {FREE[0]}, and training except {AVERAGES})"
            )


def _averages(training: Any) -> Any:
    return training.get("averages", []) if isinstance(training, Mapping) else []


def _differences(path: str, saved: Any, config: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(saved, Mapping) and isinstance(config, Mapping):
        for key in sorted(saved.keys() | config.keys(), key=lambda key: (key != "name", key)):
            yield from _differences(f"{path}.{key}", saved.get(key), config.get(key))
    elif saved != config:
        yield path, saved, config
