"""Whether a run may go on with another config: its lengths may change, what is learned may not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from score_sde.training import newest_config

FIXED = ("data", "example", "sde", "parameterization", "model", "objective", "seed")
"""The sections that a run keeps; ``optim``, ``sampling``, ``training`` and ``eval`` may change."""

AVERAGES = "training.averages"
"""What of ``training`` may not: the state has an average for each."""


def check_resumes(workdir: Path, config: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where ``workdir`` holds a run of another model, naming the first key that differs."""
    saved = newest_config(workdir / "checkpoints")
    if saved is None:
        return
    if not isinstance(saved, Mapping):
        raise ValueError(f"{workdir} holds a run without a config: choose another --workdir")
    sections = [(section, saved.get(section), config.get(section)) for section in FIXED]
    sections.append((AVERAGES, *(_averages(each.get("training")) for each in (saved, config))))
    for section, then, since in sections:
        for key, was, now in _differences(section, then, since):
            raise ValueError(
                f"{workdir} holds a run with {key}={was!r} where this config has {now!r}: choose another --workdir "
                f"(only optim, sampling, training and eval may change when a run goes on, but for {AVERAGES})"
            )


def _averages(training: Any) -> Any:
    return training.get("averages", []) if isinstance(training, Mapping) else []


def _differences(path: str, saved: Any, config: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(saved, Mapping) and isinstance(config, Mapping):
        for key in sorted(saved.keys() | config.keys(), key=lambda key: (key != "name", key)):
            yield from _differences(f"{path}.{key}", saved.get(key), config.get(key))
    elif saved != config:
        yield path, saved, config
