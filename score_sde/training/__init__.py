"""Training: state, step, optimizer, devices, checkpoints, logs, and the loop over them."""

from score_sde.training.agreement import check_agreement
from score_sde.training.checkpoint import Checkpoints
from score_sde.training.ema import EMA, Average, HalfLifeEMA, PowerEMA
from score_sde.training.guarded import BackgroundWriter, GuardedWriter
from score_sde.training.logging import JsonLinesWriter, MetricWriter, MultiWriter, read_scalars
from score_sde.training.loop import Evaluation, Hook, TrainingRun, TrainResult, train
from score_sde.training.mesh import (
    check_batch_size,
    compile_eval_step,
    compile_step,
    compile_steps,
    device_mesh,
    place,
    shard_batch,
    step_axes,
)
from score_sde.training.optimizer import adam
from score_sde.training.post_hoc import Fit, Reconstruction, fit_profile, reconstruct
from score_sde.training.processes import by_first, join_processes, meet
from score_sde.training.progress import Progress
from score_sde.training.sampling_checkpoint import (
    SamplingCheckpoint,
    newest_config,
    restore_for_sampling,
)
from score_sde.training.signals import StopRequest
from score_sde.training.snapshots import Snapshot, find_snapshots, snapshot_hook
from score_sde.training.state import TrainState, init_state
from score_sde.training.step import LossFn, make_eval_step, make_train_step
from score_sde.training.tensorboard import TensorBoardWriter
from score_sde.training.trackers import MlflowWriter, TrackioWriter, WandbWriter
from score_sde.training.versions import versions
from score_sde.training.writers import make_writers

__all__ = [
    "EMA",
    "Average",
    "BackgroundWriter",
    "Checkpoints",
    "Evaluation",
    "Fit",
    "GuardedWriter",
    "HalfLifeEMA",
    "Hook",
    "JsonLinesWriter",
    "LossFn",
    "MetricWriter",
    "MlflowWriter",
    "MultiWriter",
    "PowerEMA",
    "Progress",
    "Reconstruction",
    "SamplingCheckpoint",
    "Snapshot",
    "StopRequest",
    "TensorBoardWriter",
    "TrackioWriter",
    "TrainResult",
    "TrainState",
    "TrainingRun",
    "WandbWriter",
    "adam",
    "by_first",
    "check_agreement",
    "check_batch_size",
    "compile_eval_step",
    "compile_step",
    "compile_steps",
    "device_mesh",
    "find_snapshots",
    "fit_profile",
    "init_state",
    "join_processes",
    "make_eval_step",
    "make_train_step",
    "make_writers",
    "meet",
    "newest_config",
    "place",
    "read_scalars",
    "reconstruct",
    "restore_for_sampling",
    "shard_batch",
    "snapshot_hook",
    "step_axes",
    "train",
    "versions",
]
