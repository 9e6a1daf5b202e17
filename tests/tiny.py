"""Two tiny models, trained once a process by the command line itself, from config files
outside the package.
"""

import atexit
import contextlib
import functools
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from score_sde.cli import main
from score_sde.data import Example, Scaling
from score_sde.experiments import builders
from score_sde.experiments.score_model import Model
from score_sde.experiments.settings import EvaluationOptions, SamplingOptions
from score_sde.models import ScoreNetwork
from score_sde.parameterization import ScorePrediction
from score_sde.sampling import Heun
from score_sde.sdes import SDE
from score_sde.training import Context

TOY = """
from ml_collections import ConfigDict
from score_sde.configs.default import get_default_config, section


def get_config():
    config = get_default_config()
    config.optim.lr, config.optim.warmup = 1e-3, 100
    config.data = ConfigDict({"source": "mixture", "num_examples": 120, "seed": 1})
    config.model = section("mlp", hidden_sizes=(8,), embedding_dim=4)
    config.sampling = section("heun", num_steps=3, num_samples=12, batch_size=8)
    config.training = ConfigDict(
        {"num_steps": 30, "batch_size": 16, "log_every": 10, "eval_every": 10, "checkpoint_every": 10}
    )
    config.training.sample_every = 0
    config.eval.batch_size = 8
    config.eval.divergence = section("exact")
    config.eval.rtol = config.eval.atol = 1e-3
    return config
"""  # noqa: E501
"""12 of the 120 examples are held out."""

DIGITS = """
from ml_collections import ConfigDict
from score_sde.configs.default import get_default_config, section


def get_config():
    config = get_default_config()
    config.model.channels = 8
    config.model.channel_mult = (1,)
    config.model.attention_resolutions = ()
    config.sampling = section("euler_maruyama", num_steps=3, num_samples=12, batch_size=8)
    config.training = ConfigDict(
        {"num_steps": 4, "batch_size": 8, "log_every": 1, "eval_every": 2, "checkpoint_every": 2, "sample_every": 4}
    )
    config.eval.batch_size = 8
    config.eval.max_examples = 10
    config.eval.rtol = config.eval.atol = 1e-1
    return config
"""  # noqa: E501

_folder = Path(tempfile.mkdtemp(prefix="score_sde_tests_"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def run(*argv: str) -> str:
    """What a command prints that must succeed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), quick_compilation():
        code = main(argv)
    assert code == 0, f"exit code {code}: {err.getvalue()}"
    return out.getvalue() + err.getvalue()


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    """Programs that compile in half the time; what is this small runs as fast without
    optimisations.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def config_file(text: str, folder: Path, name: str = "experiment.py") -> Path:
    """A config file of a user's own."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def config_of(text: str) -> ConfigDict:
    """The config of such a file."""
    names: dict[str, Any] = {}
    exec(text, names)
    return names["get_config"]()


def abstract_init() -> Any:
    """Networks start with zeros of the right shapes, which takes no compilation."""

    def init(network: Any, seed: int) -> Any:
        return jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(network.init, jax.random.key(0)),
        )

    return mock.patch.object(builders, "_init", init)


@functools.cache
def toy_run() -> Path:
    """The workdir of a trained MLP; to be read only."""
    return trained("toy", TOY)


@functools.cache
def digits_run() -> Path:
    """The workdir of a trained U-Net; to be read only."""
    return trained("digits", DIGITS)


def copy_of(workdir: Path, folder: Path) -> Path:
    """A copy of a workdir that a test may change."""
    return Path(shutil.copytree(workdir, folder / workdir.name))


def loss_of(experiment: Any, *, train: bool) -> Any:
    """``(params, key, u, x, condition=None, frozen=None) -> (loss, aux)`` of an experiment."""
    loss_fn = experiment.loss_fn(train=train)

    def loss(params, key, u, x, condition=None, frozen=None):
        context = Context(np.int32(0), params, frozen)
        return loss_fn(params, key, u, Example(x, condition), context)

    return loss


def model_of(sde: SDE, score_fn_of: Any, shape: tuple[int, ...], params: Any = None, **parts: Any):
    """A model whose score is ``score_fn_of(params)``, of no network."""
    nothing = ScoreNetwork(init=lambda key: {}, apply=lambda params, x, t, **options: x)
    values = {
        "params": params,
        "scaling": Scaling(num_levels=None),
        "network": nothing,
        "parameterization": ScorePrediction(),
        "sampler": Heun(num_steps=5),
        "drawing": SamplingOptions(),
        "evaluating": EvaluationOptions(),
        "seed": 0,
        "step": 0,
        "config": None,
        **parts,
    }
    model = Model(sde=sde, shape=shape, **values)
    return model.with_score(lambda _, params, condition: score_fn_of(params))


def trained(name: str, text: str) -> Path:
    """The workdir of a model that the command line trains; to be read only."""
    workdir = _folder / name
    file = config_file(text, _folder, f"{name}.py")
    run("train", f"--config={file}", f"--workdir={workdir}")
    return workdir
