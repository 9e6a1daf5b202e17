"""Training: state, step, optimizer, devices, checkpoints, logs, and the loop over them."""

from score_sde.training.agreement import check_agreement
from score_sde.training.checkpoints.manager import Checkpoints
from score_sde.training.checkpoints.sampling import (
    SamplingCheckpoint,
    config_of_checkpoint,
    newest_about,
    newest_config,
    restore_for_sampling,
)
from score_sde.training.ema import EMA, Average, HalfLifeEMA, PowerEMA
from score_sde.training.loop import train
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
from score_sde.training.optimizer import adam, adamw, evaluation_params, lion, muon, schedule_free
from score_sde.training.post_hoc import Fit, Reconstruction, fit_profile, reconstruct
from score_sde.training.run import Evaluation, Hook, TrainingRun, TrainResult
from score_sde.training.snapshots import Snapshot, find_snapshots, snapshot_hook
from score_sde.training.state import TrainState, init_state, renewed
from score_sde.training.step import Context, LossFn, make_eval_step, make_train_step
from score_sde.training.tracking.guarded import BackgroundWriter, GuardedWriter
from score_sde.training.tracking.metrics import (
    JsonLinesWriter,
    MetricWriter,
    MultiWriter,
    read_scalars,
)
from score_sde.training.tracking.tensorboard import TensorBoardWriter
from score_sde.training.tracking.trackers import MlflowWriter, TrackioWriter, WandbWriter
from score_sde.training.tracking.writers import make_writers

__all__ = [
    "EMA",
    "Average",
    "BackgroundWriter",
    "Checkpoints",
    "Context",
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
    "Reconstruction",
    "SamplingCheckpoint",
    "Snapshot",
    "TensorBoardWriter",
    "TrackioWriter",
    "TrainResult",
    "TrainState",
    "TrainingRun",
    "WandbWriter",
    "adam",
    "adamw",
    "check_agreement",
    "check_batch_size",
    "compile_eval_step",
    "compile_step",
    "compile_steps",
    "config_of_checkpoint",
    "device_mesh",
    "evaluation_params",
    "find_snapshots",
    "fit_profile",
    "init_state",
    "lion",
    "make_eval_step",
    "make_train_step",
    "make_writers",
    "muon",
    "newest_about",
    "newest_config",
    "place",
    "read_scalars",
    "reconstruct",
    "renewed",
    "restore_for_sampling",
    "schedule_free",
    "shard_batch",
    "snapshot_hook",
    "step_axes",
    "train",
]
