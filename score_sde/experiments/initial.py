"""Fine-tuning: a run that begins with the parameters of a trained model.

The folder of the run keeps in `RECORD` which model this was, from which the run begins again
where it is interrupted before its first checkpoint.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from score_sde import checks
from score_sde.experiments.base import AnyExperiment, fitted_params
from score_sde.experiments.loading import trained_params
from score_sde.experiments.meaning import differences, trust_in_code_of
from score_sde.experiments.workdir import json_in
from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.fingerprints import array_fingerprints, digest
from score_sde.runtime.object_store import url_of
from score_sde.runtime.trust import shortened
from score_sde.runtime.working_copy import local_path
from score_sde.training import newest_config

RECORD = "init_from.json"
"""The file of a workdir with the `Origin` of its run."""

COMPARED = ("sde", "parameterization", "model")
"""The sections that say what the parameters mean; where one differs, there is a warning."""

SomeExperiment = TypeVar("SomeExperiment", bound=AnyExperiment)


class Origin(NamedTuple):
    """The trained model that a run begins with.

    Attributes:
        path: its absolute path.
        average: its average, as in `load`; None for the default.
        step: the step of its checkpoint; None for the latest.
        fingerprint: of its parameters; None until they are read.
    """

    path: str
    average: str | None = None
    step: int | None = None
    fingerprint: str | None = None


def origin_of(
    workdir: Path, init_from: str | Path | None, average: str | None = None
) -> Origin | None:
    """The model that the run in ``workdir`` begins with, or has begun with; None for
    random parameters.

    Raises:
        ValueError: where ``init_from`` is another model than the run has begun with, or
            ``average`` is given without ``init_from``.
    """
    checks.require(
        average is None or init_from is not None,
        f"average={average!r} is of the model of init_from, which is missing",
    )
    recorded = _recorded(workdir)
    if init_from is None:
        return recorded
    is_local = url_of(init_from) is None
    given = Origin(
        str(Path(init_from).expanduser().absolute()) if is_local else str(init_from), average
    )
    if recorded is None:
        checks.require(
            not has_begun(workdir),
            f"the run in {workdir} has begun with random parameters: resume it without init_from, "
            "or choose another workdir",
        )
        return given
    same = Path(given.path).resolve() == Path(recorded.path).resolve()
    checks.require(
        same and average == recorded.average,
        f"the run in {workdir} has begun with {recorded.path}"
        f"{f', average {recorded.average}' if recorded.average else ''}: resume it without "
        "init_from, or choose another workdir",
    )
    return recorded


def has_begun(workdir: Path) -> bool:
    """Whether a run in a folder has a checkpoint, so that it needs no initial parameters."""
    return newest_config(workdir / "checkpoints") is not None


def started_from(
    experiment: SomeExperiment, origin: Origin
) -> tuple[SomeExperiment, Origin, str | None]:
    """An experiment with the parameters of a trained model; the origin with their step and
    fingerprint; and a warning where they have another meaning in the config of the model.

    Raises:
        FileNotFoundError: where there is no model.
        ValueError: where it is damaged, its parameters do not fit the network, or they
            are not those with which the run has begun.
    """
    model = experiment.model
    found = trained_params(local_path(origin.path), model, average=origin.average, step=origin.step)
    try:
        params = fitted_params(getattr(model, "network"), found.params)  # noqa: B009 - of all kinds
    except ValueError as error:
        raise ValueError(f"{origin.path}: {error}") from None
    fingerprint = digest(array_fingerprints(params))
    checks.require(
        origin.fingerprint in (None, fingerprint),
        f"{origin.path} has changed since the run has begun with it: choose another workdir",
    )
    known = origin._replace(step=found.step, fingerprint=fingerprint)
    warning = _warning(origin.path, found.config, model.saved_config)
    return replace(experiment, model=replace(model, params=params)), known, warning


def record(workdir: Path, origin: Origin) -> None:
    """Write the origin of a run to its folder."""
    with replacing(workdir / RECORD) as temporary:
        temporary.write_text(json.dumps(origin._asdict(), indent=2) + "\n", encoding="utf-8")


def _recorded(workdir: Path) -> Origin | None:
    found = json_in(workdir / RECORD)
    if found is None and not (workdir / RECORD).exists():
        return None
    kinds = {"path": str, "average": str | None, "step": int | None, "fingerprint": str | None}
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key), kind) for key, kind in kinds.items()
    ):
        raise ValueError(
            f"{workdir / RECORD} is damaged: it does not say with which model the run has begun"
        )
    return Origin(found["path"], *(found.get(key) for key in Origin._fields[1:]))


def _warning(path: str, theirs: Mapping[str, Any] | None, ours: Mapping[str, Any]) -> str | None:
    """The first key in which a config gives the parameters of a model another meaning."""
    for section in COMPARED:
        then, since = (theirs or {}).get(section), ours.get(section)
        found = differences(section, then, since, trust_in_code_of(ours)) if theirs else ()
        for key, was, now in found:
            return (
                f"{path} was trained with {key}={shortened(repr(was))}, this config has "
                f"{shortened(repr(now))}"
            )
    return None
