"""Whether a run may resume with another config: its length may change, its model may not."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from score_sde.data import DataSource, data_fingerprint, with_absolute_paths
from score_sde.experiments.builders import Config, as_mapping, source_of
from score_sde.experiments.loading import saved_config
from score_sde.experiments.meaning import differences, trust_in_code_of
from score_sde.experiments.sections import (
    CLASSES,
    SKIP_DAMAGED,
    as_begun,
    with_former_options,
)
from score_sde.experiments.tables import NOT_OF_THE_SOURCE
from score_sde.runtime.trust import ALL, NOTHING, shortened
from score_sde.runtime.working_copy import local_path
from score_sde.training import newest_about, newest_config

FIXED = ("data", "example", "sde", "parameterization", "model", "objective", "seed")
"""The sections that must mean the same; the others may change when a run resumes."""

FREE = (f"data.{SKIP_DAMAGED}",)
"""Keys of those sections that may change all the same."""

AVERAGES = "training.averages"
"""The key of ``training`` that must mean the same: the state has one array tree for each."""

DATA = "data"
"""What a checkpoint calls the fingerprint of the data of its run."""


def continued(workdir: Path, config: Config, init_from: str | None = None) -> Config:
    """The config for a run in ``workdir``, with the former defaults of the run that it
    resumes, or else of the model of this package that it begins with.
    """
    saved = newest_config(workdir / "checkpoints")
    if saved is None and init_from is not None and local_path(init_from).is_dir():
        saved = saved_config(init_from, allow=ALL).to_dict()  # nothing is built from it
    return config if saved is None else as_begun(as_mapping(config), saved)


def check_resumes(
    workdir: Path, config: Mapping[str, Any], source: DataSource | None = None
) -> None:
    """Raise ``ValueError`` where ``workdir`` holds a run of another model; the message
    names the first key that differs.

    Configs are compared by their meaning: a default may be written out, and the same data
    may lie elsewhere.

    Args:
        workdir: the folder.
        config: the config of the run to resume it.
        source: the data of that config.
    """
    saved = newest_config(workdir / "checkpoints")
    if saved is None:
        return
    if not isinstance(saved, Mapping):
        raise ValueError(f"{workdir} holds a run without a config: choose another workdir")
    saved, config = _alike(with_former_options(saved), config)
    trust = trust_in_code_of(config)
    same_data = cache(lambda: source is not None and _same_data(workdir, saved, source))
    sections = [(section, saved.get(section), config.get(section)) for section in FIXED]
    averages = [_averages(each.get("training")) for each in (saved, config)]
    sections.append(("training", averages[0], averages[1]))
    for section, then, since in sections:
        for key, was, now in differences(section, then, since, trust):
            if not (key in FREE or (_is_of_the_source(key) and same_data())):
                raise ValueError(
                    f"{workdir} holds a run with {key}={shortened(repr(was))} where this config "
                    f"has {shortened(repr(now))}: choose another workdir (a resumed run may change "
                    f"optim, sampling, eval, {FREE[0]}, training except {AVERAGES}, and the place "
                    "of its data)"
                )


def _alike(saved: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Any, Any]:
    """A saved config and the one to resume with, where those of earlier versions have
    relative paths, and no names of classes.
    """
    if isinstance(saved.get("data"), Mapping):
        saved = {**saved, "data": with_absolute_paths(saved["data"])}
    then, since = saved.get("example"), config.get("example")
    if isinstance(then, Mapping) and isinstance(since, Mapping) and CLASSES not in then:
        since = {key: value for key, value in since.items() if key != CLASSES}
        config = {**config, "example": since}
    return saved, config


def _averages(training: Any) -> dict[str, Any]:
    found = training.get("averages", []) if isinstance(training, Mapping) else []
    return {"averages": found}


def _is_of_the_source(key: str) -> bool:
    """Whether a key says what the data are; other keys of ``data`` say how they are used."""
    section, _, name = key.partition(".")
    return section == "data" and name.partition(".")[0] not in NOT_OF_THE_SOURCE


def _same_data(workdir: Path, saved: Mapping[str, Any], source: DataSource) -> bool:
    """Whether the data of the saved run have the values of ``source``."""
    was = newest_about(workdir / "checkpoints").get(DATA) or _fingerprint_of(saved)
    return was is not None and was == data_fingerprint(source)


def _fingerprint_of(saved: Mapping[str, Any]) -> str | None:
    """The fingerprint of the data of a saved config, for runs that have not kept it; None
    where they are no longer there.
    """
    try:
        return data_fingerprint(source_of(dict(saved), NOTHING))
    except (ValueError, OSError):
        return None
