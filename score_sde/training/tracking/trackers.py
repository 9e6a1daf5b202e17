"""Writers of the scalars and images of a run to Weights & Biases, MLflow and Trackio.

A resumed run continues the same run of the tracker, whose name or id is kept in
``trackers.json`` of the workdir. No tracker can remove steps, as `MetricWriter.rewind`
asks. Instead, steps that a resumed run computes again are not written again, as far as
the tracker reports which it has.

Each library reads its own environment variables (``WANDB_MODE=offline``,
``MLFLOW_TRACKING_URI``, ``TRACKIO_DIR``, …).
"""

import json
import os
import re
import secrets
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.bounded_reading import read_json
from score_sde.runtime.unreadable import set_aside
from score_sde.training.tracking.guarded import plain_numbers
from score_sde.training.tracking.metrics import MetricWriter
from score_sde.typing import Array, ScalarLike

PROJECT = "score_sde"
"""The name of the project or experiment, unless the environment gives another."""

_MLFLOW_BATCH = 100
"""MLflow takes so many parameters at once."""


class RunIds:
    """The ids of the runs of one workdir by tracker, in a JSON file that is replaced atomically.

    Args:
        path: The file. A damaged one counts as empty, and is kept as ``NAME.damaged`` when
            the next id is written.
    """

    _lock = threading.Lock()

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def find(self, tracker: str) -> str | None:
        """The id of the run, or None."""
        found = self._read().get(tracker)
        return found if isinstance(found, str) and found else None

    def keep(self, tracker: str, run_id: str) -> str:
        """Write an id, and return it."""
        with self._lock:  # trackers open in threads of their own
            found = self._read_whole()
            if found is None and self.path.exists():
                set_aside(self.path)
            with replacing(self.path) as temporary:
                text = json.dumps({**(found or {}), tracker: run_id}, indent=2)
                temporary.write_text(text + "\n", encoding="utf-8")
        return run_id

    def _read(self) -> dict[str, Any]:
        return self._read_whole() or {}

    def _read_whole(self) -> dict[str, Any] | None:
        """The ids; None where the file is missing or damaged."""
        try:
            found = read_json(self.path)
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None


class _Tracker(MetricWriter):
    """A tracker: its folder, its config and its run ids."""

    def __init__(self, workdir: str | Path, config: Mapping[str, Any]) -> None:
        self.workdir, self.config = Path(workdir), dict(config)
        self.ids = RunIds(self.workdir / "trackers.json")

    def rewind(self, step: int) -> None:
        """Does nothing: steps that the tracker has are not written again."""


class _LoggedRun(_Tracker):
    """A tracker with one run that takes a dictionary for each step, from a first step on."""

    def __init__(self, workdir: str | Path, config: Mapping[str, Any]) -> None:
        super().__init__(workdir, config)
        self._run: Any = None
        self._first = 0

    @abstractmethod
    def _started(self) -> tuple[Any, int]:
        """The run, new or resumed, and the first step that it does not have."""

    @abstractmethod
    def _image(self, pixels: np.ndarray) -> Any:
        """An image of the library."""

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write scalars by name."""
        self._log(step, plain_numbers(scalars))

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write images by name."""
        self._log(step, {name: self._image(_pixels(image)) for name, image in images.items()})

    def close(self) -> None:
        """Finish the run. It resumes if anything more is written."""
        run, self._run = self._run, None
        if run is not None:
            run.finish()

    def _log(self, step: int, values: dict[str, Any]) -> None:
        if self._run is None:
            self._run, self._first = self._started()
        if step >= self._first:
            self._run.log(values, step=step)


@final
class WandbWriter(_LoggedRun):
    """A run of Weights & Biases, in a folder of the workdir until it is uploaded.

    Online, the library drops steps that are not larger than the last, with a warning;
    this writer drops them without one. Offline, each start makes a folder for ``wandb
    sync``, and steps that a resumed run computes again are in two folders.

    Args:
        workdir: The folder of the training run.
        config: The resolved config.
    """

    def _started(self) -> tuple[Any, int]:
        import wandb

        given = os.environ.get("WANDB_RUN_ID")
        run_id = given or self.ids.find("wandb") or self.ids.keep("wandb", secrets.token_hex(4))
        run = wandb.init(
            id=run_id,
            resume="allow",
            dir=str(self.workdir),
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=os.environ.get("WANDB_NAME") or self.workdir.resolve().name,
            config=self.config,
            allow_val_change=True,
            settings=wandb.Settings(console="off"),
        )
        return run, run.step

    def _image(self, pixels: np.ndarray) -> Any:
        import wandb

        return wandb.Image(pixels)


@final
class MlflowWriter(_Tracker):
    """A run of MLflow, in an SQLite file in the workdir unless ``MLFLOW_TRACKING_URI`` is set.

    MLflow keeps a step that is written twice as two points. On opening, the writer asks
    for the last step of each metric, and does not write earlier steps again.

    Args:
        workdir: The folder of the training run.
        config: The resolved config.
    """

    def __init__(self, workdir: str | Path, config: Mapping[str, Any]) -> None:
        super().__init__(workdir, config)
        self._client: Any = None
        self._run_id = ""
        self._old: dict[str, int] = {}

    def write_scalars(self, step: int, scalars: Mapping[str, ScalarLike]) -> None:
        """Write scalars by name."""
        client = self._opened()
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        named = {_mlflow_name(name): value for name, value in plain_numbers(scalars).items()}
        numbers = {name: value for name, value in named.items() if step > self._old.get(name, -1)}
        if numbers:
            client.log_batch(
                self._run_id,
                metrics=[Metric(name, value, now, step) for name, value in numbers.items()],
            )

    def write_images(self, step: int, images: Mapping[str, Array | np.ndarray]) -> None:
        """Write images by name."""
        client = self._opened()
        if step > max(self._old.values(), default=-1):
            for name, image in images.items():
                client.log_image(
                    self._run_id,
                    _pixels(image),
                    key=_mlflow_name(name),
                    step=step,
                    synchronous=True,
                )

    def close(self) -> None:
        """Mark the run as ended. It resumes if anything more is written."""
        client, self._client = self._client, None
        if client is not None:
            client.set_terminated(self._run_id)

    def _opened(self) -> Any:
        if self._client is None:
            from mlflow import MlflowClient

            client = MlflowClient(
                tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or self._local()
            )
            self._run_id = self.ids.find("mlflow") or self._made(client)
            client.update_run(self._run_id, status="RUNNING")
            data = client.get_run(self._run_id).data
            self._log_config(client, data.params)
            self._old = {
                name: max(
                    (metric.step for metric in client.get_metric_history(self._run_id, name)),
                    default=-1,
                )
                for name in data.metrics
            }
            self._client = client
        return self._client

    def _local(self) -> str:
        folder = (self.workdir / "mlflow").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'mlflow.db'}"

    def _made(self, client: Any) -> str:
        """The id of a new run, which is deleted again where the id cannot be kept."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = client.get_experiment_by_name(name)
        artifacts = (
            None
            if os.environ.get("MLFLOW_TRACKING_URI")
            else (self.workdir / "mlflow" / "artifacts").resolve()
        )
        experiment_id = (
            experiment.experiment_id
            if experiment is not None
            else client.create_experiment(name, artifact_location=artifacts and artifacts.as_uri())
        )
        run_id = client.create_run(experiment_id, run_name=self.workdir.resolve().name).info.run_id
        try:
            return self.ids.keep("mlflow", run_id)
        except OSError:
            client.delete_run(run_id)
            raise

    def _log_config(self, client: Any, there: Mapping[str, str]) -> None:
        """Log the values that the run does not have. MLflow lets none of them change, so the
        whole config is also logged as a file.
        """
        from mlflow.entities import Param

        flat = {_mlflow_name(key): str(value) for key, value in flattened(self.config).items()}
        params = [Param(key, value) for key, value in flat.items() if key not in there]
        for i in range(0, len(params), _MLFLOW_BATCH):
            client.log_batch(self._run_id, params=params[i : i + _MLFLOW_BATCH])
        client.log_dict(self._run_id, self.config, "config.json")


@final
class TrackioWriter(_LoggedRun):
    """A run of Trackio, in its folder on this machine unless ``TRACKIO_SPACE_ID`` or
    ``TRACKIO_SERVER_URL`` is set.

    Trackio keeps a step that is written twice as two points, so steps that it has are not
    written again. It writes in a thread of its own, and warns of failures.

    Args:
        workdir: The folder of the training run.
        config: The resolved config.
    """

    def _started(self) -> tuple[Any, int]:
        import trackio

        # a resumed run is found by its name
        name = f"{self.workdir.resolve().name}-{secrets.token_hex(2)}"
        name = self.ids.find("trackio") or self.ids.keep("trackio", name)
        project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        run = trackio.init(
            project=project,
            name=name,
            resume="allow",
            config=self.config,
            embed=False,
            auto_log_cpu=False,
        )
        return run, getattr(run, "_next_step", 0)  # there is no public name

    def _image(self, pixels: np.ndarray) -> Any:
        import trackio

        return trackio.Image(pixels)


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested sections by dotted names.

    >>> flattened({"model": {"name": "unet", "channels": 32}, "seed": 0})
    {'model.name': 'unet', 'model.channels': 32, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= (
            flattened(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": value}
        )
    return flat


def _mlflow_name(name: str) -> str:
    """A name with the characters that MLflow allows, without the plus of
    ``loss_at_log_snr_+0.69``.
    """
    return re.sub(r"[^\w\-. :/]", "_", name)


def _pixels(image: Array | np.ndarray) -> np.ndarray:
    """An image as every tracker takes it: uint8 ``[h, w, 3]``."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        pixels = np.rint(255.0 * np.clip(pixels, 0.0, 1.0)).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[2] == 1 else pixels
