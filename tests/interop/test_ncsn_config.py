"""Configs of NCSNv2's own code, from their YAML files."""

import pytest
import yaml

from score_sde.cli.config_file import read_config
from score_sde.cli.reference_config import read_reference_config
from score_sde.experiments.construction import construct
from score_sde.experiments.loading import config_from_reference
from score_sde.sampling import AnnealedLangevin, Sampler

FIELDS = {
    "training": {
        **{"batch_size": 128, "n_epochs": 500000, "n_iters": 300001, "snapshot_freq": 5000},
        **{"snapshot_sampling": True, "anneal_power": 2, "log_all_sigmas": False},
    },
    "sampling": {
        **{"batch_size": 100, "step_lr": 6.2e-6, "n_steps_each": 5, "ckpt_id": 300000},
        **{"denoise": True, "final_only": True, "num_samples4fid": 10000},
    },
    "fast_fid": {"batch_size": 1000, "step_lr": 6.2e-6},
    "data": {
        **{"dataset": "CIFAR10", "image_size": 32, "channels": 3, "random_flip": True},
        **{"logit_transform": False, "uniform_dequantization": False, "rescaled": False},
        **{"gaussian_dequantization": False, "num_workers": 4},
    },
    "model": {
        **{"sigma_begin": 50, "sigma_end": 0.01, "num_classes": 232, "sigma_dist": "geometric"},
        **{"ema": True, "ema_rate": 0.999, "spec_norm": False, "ngf": 128},
        **{"normalization": "InstanceNorm++", "nonlinearity": "elu"},
    },
    "optim": {
        **{"optimizer": "Adam", "lr": 1e-4, "beta1": 0.9, "eps": 1e-8},
        **{"weight_decay": 0.0, "amsgrad": False},
    },
}  # fmt: skip
"""The fields of the config of CIFAR-10."""


def changed(path, value):
    section, key = path.split(".")
    return {**FIELDS, section: {**FIELDS[section], key: value}}


def test_the_fields_give_the_config_of_the_same_name_here(tmp_path):
    """But for the sampler, which is of NCSNv2 itself, and the length of the training."""
    file = tmp_path / "cifar10.yml"
    file.write_text(yaml.safe_dump(FIELDS))
    found = read_reference_config(str(file))
    ours = read_config("ve/ncsnv2/cifar10")
    for section in ("sde", "parameterization", "objective", "optim", "data", "example"):
        assert {**ours[section], **found[section]} == {**found[section], **ours[section]}, section
    assert found.model.to_dict() == {**ours.model.to_dict(), "resolution": 64}
    assert (found.training.num_steps, found.training.ema_decay) == (300001, 0.999)
    sampler = {
        key: value for key, value in found.sampling.items() if key not in ("batch_size", "denoise")
    }
    assert construct("sampling", Sampler, sampler) == AnnealedLangevin(
        num_steps=232, steps_each=5, step_size=6.2e-6
    )


@pytest.mark.parametrize(
    ("path", "value", "section", "wanted"),
    [
        ("model.ema", False, "training", {"ema_decay": 0.0}),
        ("data.dataset", "CELEBA", "data", {"source": "celeba"}),
        ("data.dataset", "FFHQ", "data", {"source": "ffhq", "num_test": 7000}),
        ("data.dataset", "FFHQ", "model", {"name": "ncsnv2", "resolution": 256}),
        ("data.rescaled", True, "model", {"rescale_input": False}),
        ("training.snapshot_freq", 9, "training", {"checkpoint_every": 9, "sample_every": 9}),
    ],
)
def test_a_field_decides(path, value, section, wanted):
    found = config_from_reference(changed(path, value))[section].to_dict()
    assert found == {**found, **wanted}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.anneal_power", 1, "training.anneal_power=1 must be 2"),
        ("data.logit_transform", True, "data.logit_transform=True must be False"),
        ("data.dataset", "MNIST", "data.dataset='MNIST' must be one of cifar10, celeba"),
        ("model.sigma_dist", "uniform", "model.sigma_dist='uniform' must be one of geometric"),
        ("model.unknown", 1, "model.unknown=1 is an unknown option of the configs of NCSNv2"),
        ("optim.lr", "1e-4", "optim.lr='1e-4' must be a finite number"),
    ],
)
def test_other_values_are_an_error_of_one_line(path, value, message):
    with pytest.raises(ValueError) as error:
        config_from_reference(changed(path, value))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "it is not YAML"),
        ("!!python/object/apply:os.system ['true']", "it is not YAML"),
        ("[" * 5000, "it is nested too deeply"),
        ("3", "it holds no fields"),
        ("", "it holds no fields"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: &e [*d, *d]\nf: [*e, *e]\n"
         "g: &g [*e, *e, *e, *e]\nh: [*g, *g, *g, *g, *g, *g]", "repeated more often"),
    ],
)  # fmt: skip
def test_other_files_are_an_error_of_one_line(text, message, tmp_path):
    file = tmp_path / "a.yml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_reference_config(str(file))
    assert "\n" not in str(error.value)
