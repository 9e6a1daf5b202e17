"""Training: state, step, optimizer, devices, checkpoints, logs, and the loop over them."""

from score_sde.training.checkpoint import Checkpoints, SamplingCheckpoint, restore_for_sampling
from score_sde.training.ema import EMA, Average, HalfLifeEMA, PowerEMA
from score_sde.training.logging import JsonLinesWriter, MetricWriter, MultiWriter, TensorBoardWriter, read_scalars
from score_sde.training.loop import Evaluation, Hook, TrainingRun, TrainResult, train
from score_sde.training.mesh import (
    check_batch_size,
    compile_eval_step,
    compile_step,
    data_mesh,
    replicate,
    shard_batch,
)
from score_sde.training.optimizer import adam
from score_sde.training.post_hoc import Fit, Reconstruction, fit_profile, reconstruct
from score_sde.training.processes import join_processes, meet
from score_sde.training.progress import Progress
from score_sde.training.snapshots import Snapshot, find_snapshots, snapshot_hook
from score_sde.training.state import TrainState, init_state
from score_sde.training.step import LossFn, make_eval_step, make_train_step

__all__ = [
    "EMA",
    "Average",
    "Checkpoints",
    "Evaluation",
    "Fit",
    "HalfLifeEMA",
    "Hook",
    "JsonLinesWriter",
    "LossFn",
    "MetricWriter",
    "MultiWriter",
    "PowerEMA",
    "Progress",
    "Reconstruction",
    "SamplingCheckpoint",
    "Snapshot",
    "TensorBoardWriter",
    "TrainResult",
    "TrainState",
    "TrainingRun",
    "adam",
    "check_batch_size",
    "compile_eval_step",
    "compile_step",
    "data_mesh",
    "find_snapshots",
    "fit_profile",
    "init_state",
    "join_processes",
    "make_eval_step",
    "make_train_step",
    "meet",
    "read_scalars",
    "reconstruct",
    "replicate",
    "restore_for_sampling",
    "shard_batch",
    "snapshot_hook",
    "train",
]
