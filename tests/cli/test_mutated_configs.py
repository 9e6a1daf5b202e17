"""Configs with mistakes in them: each trains, or ends with a usage error that names what
is wrong with it.
"""

import contextlib
import io
import tempfile
from pathlib import Path
from unittest import mock

import jax
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from mutations import Mutated, mutated
from usage_errors import check_usage_error

from score_sde.cli import main, train, training
from score_sde.experiments.score_model import Experiment
from score_sde.sampling import sample
from score_sde.training import TrainResult, compile_eval_step, compile_step


def trace_steps(run, *, stop=None):
    """The first step and the first evaluation of a run, traced in place of being run."""
    step = compile_step(run.step, run.mesh, run.state)
    jax.eval_shape(step, run.state, run.loader.batch(0), run.key)
    if run.evaluation is not None:
        step = compile_eval_step(run.evaluation.step, run.mesh, run.state)
        jax.eval_shape(step, run.state, run.evaluation.loader.batch(0), run.key)
    return TrainResult(state=run.state, signum=None)


def trace_sample(experiment):
    """One sample of the model of an experiment, traced; a classifier has none."""
    if isinstance(experiment, Experiment):
        model = experiment.model
        draw = lambda params: sample(  # noqa: E731
            jax.random.key(0),
            model.sde,
            model.score_fn_of(params),
            model.sampler,
            model.shape,
            **model.drawing.options,
        )
        jax.eval_shape(draw, model.params)


def outcome(config: Mutated) -> tuple[int, str, str]:
    """Exit code, standard output and error of ``score-sde train`` up to its first step
    and sample, which are traced.
    """

    def train_in(workdir, experiment, stop, *, train_in=train.train_in, **options):
        code = train_in(workdir, experiment, stop, **options)
        trace_sample(experiment)
        return code

    text, errors = io.StringIO(), io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        tiny.abstract_init(),
        mock.patch.object(training, "train", trace_steps),
        mock.patch.object(train, "train_in", train_in),
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(errors),
    ):
        file = tiny.config_file(config.file, Path(folder))
        code = main(
            ["train", f"--config={file}", f"--workdir={Path(folder) / 'run'}", *config.flags]
        )
    return code, text.getvalue(), errors.getvalue()


def check(config: Mutated) -> None:
    code, text, errors = outcome(config)
    if code:
        assert code == 2, errors
        check_usage_error("train", text, errors)
        assert any(word in errors for word in config.words), (
            f"{errors} names none of {config.words}"
        )


quiet = settings(derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@settings(quiet, max_examples=15)
@given(mutated())
def test_fifteen_mutated_configs_train_or_are_usage_errors(config):
    check(config)


@pytest.mark.slow
@settings(quiet, max_examples=300)
@given(mutated())
def test_three_hundred_mutated_configs_train_or_are_usage_errors(config):
    check(config)
