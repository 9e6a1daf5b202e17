"""Configs of the 2021 code, from their fields."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.cli.config_file import read_config
from score_sde.experiments.builders import build_sde
from score_sde.experiments.construction import construct
from score_sde.experiments.loading import config_from_reference
from score_sde.interop.reference_fields import IDLE
from score_sde.objectives import ScoreMatching

GOLDEN = Path(__file__).parents[1] / "golden"
WITH_FIELDS = sorted(
    path.stem for path in GOLDEN.glob("*.json") if "config" in json.loads(path.read_text())
)


def fields_of(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())["config"]


def changed(name, **changes):
    return {**fields_of(name), **{key.replace("__", "."): value for key, value in changes.items()}}


def test_there_are_configs_to_convert():
    assert len(WITH_FIELDS) == 7


@pytest.mark.parametrize("name", WITH_FIELDS)
def test_a_config_has_the_values_of_its_fields(name):
    fields, config = fields_of(name), config_from_reference(fields_of(name))
    assert config.sde.name + "sde" == fields["training.sde"]
    assert config.model.name == fields["model.name"]
    assert config.example.shape == (16, 16, 3)
    for key in (
        "nf",
        "ch_mult",
        "num_res_blocks",
        "attn_resolutions",
        "dropout",
        "resamp_with_conv",
        "conditional",
    ):
        value = fields[f"model.{key}"]
        assert config.model[key] == (tuple(value) if isinstance(value, list) else value)
    assert config.model.rescale_input is not fields["data.centered"]
    assert config.model.scale_by_sigma is fields["model.scale_by_sigma"]
    assert config.training.num_steps == fields["training.n_iters"]
    assert config.training.ema_decay == fields["model.ema_rate"]
    assert config.objective.reduce == ("mean" if fields["training.reduce_mean"] else "half_sum")


def test_the_sde_and_its_levels_decide_the_parameterization():
    names = {
        name: config_from_reference(fields_of(name)).parameterization.to_dict()
        for name in WITH_FIELDS
    }
    assert names["ncsnpp_ve"] == {"name": "score", "time_label": "noise_level"}
    assert names["ddpmpp_subvp"] == {"name": "noise", "time_label": "scaled_time"}
    assert names["ncsnpp_vp_discrete"] == {
        "name": "discrete_noise", "num_scales": 1000, "beta_min": 0.1, "beta_max": 20.0,
    }  # fmt: skip
    discrete = config_from_reference(
        changed("ncsnpp_ve", training__continuous=False)
    ).parameterization
    assert discrete.to_dict() == {"name": "discrete_score", "num_scales": 1000}


def test_the_published_fields_give_the_published_config():
    """The fixture is a small network: with the size of the paper's it is the experiment
    of the same name here.
    """
    fields = changed(
        "flax_ncsnpp_ve",
        model__nf=128,
        model__ch_mult=[1, 2, 2, 2],
        model__num_res_blocks=4,
        model__attn_resolutions=[16],
        data__image_size=32,
        seed=42,
    )
    ours, published = (
        config_from_reference(fields).to_dict(),
        read_config("ve/cifar10_ncsnpp_continuous").to_dict(),
    )
    for section in (
        "sde",
        "model",
        "parameterization",
        "objective",
        "optim",
        "data",
        "training",
        "example",
        "seed",
    ):
        assert ours[section] == published[section], section
    for key in ("name", "num_steps", "predictor", "corrector", "snr", "corrector_steps", "denoise"):
        assert ours["sampling"][key] == published["sampling"][key], key


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data__dataset": "CIFAR10"}, {"source": "cifar10", "image_size": 16}),
        ({"data__dataset": "SVHN", "data__image_size": 32}, {"source": "svhn"}),
        ({"data__dataset": "MNIST", "data__image_size": 28}, {"source": "mnist"}),
        (
            {"data__dataset": "CELEBA", "data__image_size": 64},
            {"source": "celeba", "image_size": 64},
        ),
        (
            {"data__dataset": "LSUN", "data__category": "church_outdoor", "data__image_size": 256},
            {"source": "lsun", "category": "church_outdoor", "image_size": 256},
        ),
        ({"data__dataset": "FFHQ"}, {"source": "ffhq", "image_size": 16, "num_test": 0}),
        (
            {
                "data__dataset": "CelebAHQ",
                "data__tfrecords_path": "celebahq/r08.tfrecords",
                "data__image_size": 256,
            },
            {
                "source": "celebahq",
                "path": "celebahq/r08.tfrecords",
                "image_size": 256,
                "num_test": 0,
            },
        ),
        ({"data__dataset": "ImageNet", "data__image_size": 32}, {"source": "imagenet32"}),
        (
            {"data__dataset": "Birds", "data__image_size": 32},
            {"source": "folder:data/birds", "image_size": 32},
        ),
    ],
)
@pytest.mark.parametrize("flip", [True, False])
def test_the_data_set_and_its_flips_are_as_published(changes, expected, flip):
    data = config_from_reference(
        changed("ddpm_vp", **changes, data__random_flip=flip)
    ).data.to_dict()
    assert data == {**expected, "centered": True, "dequantize": False, "flip": flip}


def test_lsun_needs_its_category():
    with pytest.raises(ValueError, match=r"lacks data\.category"):
        config_from_reference(changed("ddpm_vp", data__dataset="LSUN"))


def test_nested_sections_are_fields_too():
    fields = fields_of("ddpm_vp")
    nested = {}
    for name, value in fields.items():
        section, key = name.split(".")
        nested.setdefault(section, {})[key] = value
    assert config_from_reference(nested) == config_from_reference(fields)


@pytest.mark.parametrize(
    ("method", "predictor", "corrector", "expected"),
    [
        ("pc", "euler_maruyama", "none", ("euler_maruyama", None, None)),
        (
            "pc",
            "reverse_diffusion",
            "langevin",
            ("predictor_corrector", "reverse_diffusion", "langevin"),
        ),
        ("pc", "ancestral_sampling", "none", ("predictor_corrector", "ancestral_large", "none")),
        ("pc", "none", "ald", ("predictor_corrector", "none", "annealed_langevin")),
        ("ode", "none", "none", ("probability_flow", None, None)),
    ],
)
def test_samplers_by_their_names_of_2021(method, predictor, corrector, expected):
    sampling = config_from_reference(
        changed(
            "ddpm_vp",
            sampling__method=method,
            sampling__predictor=predictor,
            sampling__corrector=corrector,
        )
    ).sampling
    assert (sampling.name, sampling.get("predictor"), sampling.get("corrector")) == expected


def test_the_refinenets_have_their_resolution():
    fields = {
        "training.sde": "vesde", "training.continuous": False, "data.image_size": 128,
        "model.name": "ncsnv2_128",
        "model.sigma_min": 0.01, "model.sigma_max": 190, "model.num_scales": 1086,
        "sampling.predictor": "none",
        "sampling.corrector": "ald", "model.dropout": 0.0,
    }  # fmt: skip
    model = config_from_reference(fields).model
    assert (model.name, model.resolution, model.num_scales, model.sigma_max) == (
        "ncsnv2",
        128,
        1086,
        190.0,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training.sde": "vpsed"},
            "training.sde='vpsed' must be one of .*, did you mean 'vpsde'?",
        ),
        ({"training.sde": "subvpsde", "training.continuous": False}, "it has no discrete model"),
        (
            {"model.fir_kernl": [1]},
            "model.fir_kernl=.* is an unknown option of the published configs, did you mean",
        ),
        ({"model.name": "ncsnp"}, "model.name='ncsnp' must be one of .*did you mean 'ncsnpp'?"),
        ({"sampling.predictor": "euler"}, "sampling.predictor='euler' must be one of"),
        ({"sampling.corrector": "x"}, "sampling.corrector='x' must be one of none, langevin, ald"),
    ],
)
def test_unknown_fields_and_values_are_errors_of_one_line(changes, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as refusal:
        config_from_reference({**fields_of("ncsnpp_ve"), **changes})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["training.sde", "data.image_size", "model.name", "model.sigma_max"]
)
def test_a_missing_field_is_named(name):
    fields = fields_of("ncsnpp_ve")
    del fields[name]
    with pytest.raises(ValueError, match=f"the config lacks {name}"):
        config_from_reference(fields)


SCORE_FLOW = {
    "training.sde": "subvpsde", "training.batch_size": 128, "training.n_iters": 1300001,
    "training.log_freq": 100,
    "training.snapshot_freq": 50000, "training.eval_freq": 100,
    "training.snapshot_freq_for_preemption": 10000,
    "training.snapshot_sampling": True, "training.likelihood_weighting": False,
    "training.importance_weighting": False,
    "training.continuous": True, "training.n_jitted_steps": 5, "training.reduce_mean": True,
    "training.smallest_time": 1e-2, "deq.n_iters": 300001, "deq.ema_rate": 0.99, "deq.dropout": 0.0,
    "deq.offset": True,
    "sampling.method": "ode", "sampling.n_steps_each": 1, "sampling.noise_removal": True,
    "sampling.probability_flow": False, "sampling.snr": 0.16, "sampling.smallest_time": 2e-2,
    "eval.begin_ckpt": 26,
    "eval.end_ckpt": 26, "eval.ckpt_id": 26, "eval.batch_size": 1024, "eval.enable_sampling": False,
    "eval.num_samples": 50000, "eval.enable_loss": False, "eval.enable_bpd": True,
    "eval.bpd_dataset": "test",
    "eval.num_repeats": 5, "eval.bound": False, "eval.dsm": True, "eval.dequantizer": False,
    "eval.offset": True,
    "data.dataset": "CIFAR10", "data.image_size": 32, "data.random_flip": True,
    "data.centered": True,
    "data.uniform_dequantization": False, "data.num_channels": 3, "model.name": "ncsnpp",
    "model.sigma_min": 0.01,
    "model.sigma_max": 50, "model.num_scales": 1000, "model.beta_min": 0.1, "model.beta_max": 20.0,
    "model.dropout": 0.1, "model.data_init": False, "model.trainable_embedding": False,
    "model.scale_by_sigma": False,
    "model.ema_rate": 0.9999, "model.normalization": "GroupNorm", "model.nonlinearity": "swish",
    "model.nf": 128,
    "model.ch_mult": (1, 2, 2, 2), "model.num_res_blocks": 4, "model.attn_resolutions": (16,),
    "model.resamp_with_conv": True, "model.conditional": True, "model.fir": False,
    "model.fir_kernel": [1, 3, 3, 1],
    "model.skip_rescale": True, "model.resblock_type": "biggan", "model.progressive": "none",
    "model.progressive_input": "none", "model.progressive_combine": "sum",
    "model.attention_type": "ddpm",
    "model.init_scale": 0.0, "model.embedding_type": "positional", "model.fourier_scale": 16,
    "model.conv_size": 3,
    "optim.weight_decay": 0, "optim.optimizer": "Adam", "optim.lr": 2e-4, "optim.beta1": 0.9,
    "optim.eps": 1e-8,
    "optim.warmup": 5000, "optim.grad_clip": 1.0, "seed": 42,
}  # fmt: skip
"""The fields of a config of ScoreFlow; the two smallest times are one number there, and
two here.
"""

REFINENET = {
    "training.sde": "vesde", "training.continuous": False, "data.image_size": 32,
    "model.name": "ncsn",
    "model.sigma_min": 0.01, "model.sigma_max": 1.0, "model.num_scales": 10,
    "model.num_classes": 10,
    "model.normalization": "InstanceNorm++", "model.interpolation": "bilinear",
    "sampling.predictor": "none",
    "sampling.corrector": "ald",
}  # fmt: skip

LSUN = {"data.dataset": "LSUN", "data.category": "bedroom"}

BASES = {
    "score_flow": SCORE_FLOW,
    "importance": {
        **SCORE_FLOW,
        "training.likelihood_weighting": True,
        "training.importance_weighting": True,
    },
    "bound": {**SCORE_FLOW, "eval.bound": True},
    "ve": {**fields_of("ncsnpp_ve"), "model.trainable_embedding": False},
    "vp": fields_of("ddpm_vp"),
    "lsun": {**fields_of("ddpm_vp"), **LSUN},
    "ffhq": {
        **fields_of("ncsnpp_ve"),
        "data.dataset": "FFHQ",
        "data.tfrecords_path": "r08.tfrecords",
    },
    "refinenet": REFINENET,
}

OTHER_VALUES = {
    "data.category": "church_outdoor", "data.centered": None, "data.channels": 1,
    "data.dataset": "SVHN",
    "data.image_size": 64, "data.num_channels": 1, "data.random_flip": None,
    "data.tfrecords_path": "r10.tfrecords",
    "data.uniform_dequantization": None, "deq.dropout": 0.5, "deq.ema_rate": 0.9, "deq.n_iters": 7,
    "deq.offset": None,
    "device": "cuda", "eval.batch_size": 512, "eval.begin_ckpt": 1, "eval.bound": None,
    "eval.bpd_dataset": "train",
    "eval.ckpt_id": 1, "eval.dequantizer": None, "eval.dsm": None, "eval.enable_bpd": None,
    "eval.enable_loss": None,
    "eval.enable_sampling": None, "eval.end_ckpt": 96, "eval.num_repeats": 1,
    "eval.num_samples": 100,
    "eval.offset": None, "model.attention_type": "other", "model.attn_resolutions": [8],
    "model.beta_max": 10.0,
    "model.beta_min": 0.2, "model.ch_mult": [1, 2], "model.conditional": None, "model.conv_size": 1,
    "model.data_init": None, "model.dropout": 0.3, "model.ema_rate": 0.9,
    "model.embedding_type": "positional",
    "model.fir": None, "model.fir_kernel": [1, 1, 1, 1], "model.fourier_scale": 4.0,
    "model.init_scale": 0.5,
    "model.interpolation": "nearest_neighbor", "model.name": "ncsnpp", "model.nf": 256,
    "model.nonlinearity": "relu",
    "model.normalization": "VarianceNorm", "model.num_classes": 11, "model.num_res_blocks": 3,
    "model.num_scales": 77,
    "model.progressive": "residual", "model.progressive_combine": "cat",
    "model.progressive_input": "input_skip",
    "model.resamp_with_conv": None, "model.resblock_type": "ddpm", "model.scale_by_sigma": None,
    "model.sigma_begin": 90, "model.sigma_end": 0.1, "model.sigma_max": 13.0,
    "model.sigma_min": 0.02,
    "model.skip_rescale": None, "model.trainable_embedding": True, "optim.amsgrad": True,
    "optim.beta1": 0.5,
    "optim.eps": 1e-3, "optim.grad_clip": 3.0, "optim.lr": 1.0, "optim.optimizer": "SGD",
    "optim.warmup": 3,
    "optim.weight_decay": 0.5, "sampling.corrector": "none", "sampling.method": "pc",
    "sampling.n_steps_each": 9,
    "sampling.noise_removal": None, "sampling.predictor": "euler_maruyama",
    "sampling.probability_flow": None,
    "sampling.smallest_time": 0.03, "sampling.snr": 0.9, "seed": 5, "training.batch_size": 3,
    "training.continuous": None, "training.continuouse": False, "training.eval_freq": 7,
    "training.importance_weighting": None, "training.likelihood_weighting": None,
    "training.log_freq": 7,
    "training.loss": "vpsde", "training.n_iters": 7, "training.n_jitted_steps": 1,
    "training.reduce_mean": None,
    "training.sde": "vpsde", "training.smallest_time": 0.04, "training.snapshot_freq": 7,
    "training.snapshot_freq_for_preemption": 7, "training.snapshot_sampling": None,
}  # fmt: skip
"""Every field of every config of Score-SDE (JAX, PyTorch) and of ScoreFlow, and another
value; None turns a flag.
"""


def test_every_field_of_the_configs_above_has_another_value():
    assert set().union(*BASES.values()) <= OTHER_VALUES.keys()


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_every_field_is_read_or_known_to_be_idle_or_an_error(field):
    """A field that is read changes the config of some base; an idle one changes none,
    and says why.
    """
    effects = set()
    for base in BASES.values():
        value = (
            OTHER_VALUES[field] if OTHER_VALUES[field] is not None else not base.get(field, False)
        )
        try:
            effects.add(
                "read"
                if config_from_reference({**base, field: value}) != config_from_reference(base)
                else ""
            )
        except ValueError as refusal:
            assert "\n" not in str(refusal)
            effects.add("refused")
    assert (effects == {""}) == (field in IDLE), effects
    assert field not in IDLE or IDLE[field]


@pytest.mark.parametrize("name", BASES)
def test_a_field_that_no_code_of_2021_has_is_an_error_in_every_section(name):
    for field in (
        "training.smallest_tme",
        "sampling.snrr",
        "data.centred",
        "optim.beta2",
        "eval.bond",
        "model.x",
        "y",
    ):
        with pytest.raises(ValueError, match=field):
            config_from_reference({**BASES[name], field: 1})


def test_score_flow_has_a_smallest_time_for_sampling_and_one_for_training_and_likelihoods():
    config = config_from_reference(SCORE_FLOW)
    assert config.sde.t_min == 2e-2
    assert config.objective.time_sampling.to_dict() == {"name": "uniform", "t_min": 1e-2}
    assert config.eval.t_min == 1e-2
    assert config.sampling.name == "probability_flow"
    assert (config.model.name, config.model.num_res_blocks, config.model.fir) == (
        "ncsnpp",
        4,
        False,
    )


def test_importance_weighting_is_importance_sampling_with_the_updates_of_score_flow():
    """Its loss ``|sigma s + z|^2`` is ours over a constant, by which Adam's eps and the
    bound of the gradient grow.
    """
    config = config_from_reference(BASES["importance"])
    assert config.objective.time_sampling.to_dict() == {"name": "importance", "t_min": 1e-2}
    assert config.objective.weighting == "likelihood"
    plain = {key: value for key, value in config.to_dict().items() if key != "example"}
    sde, objective = build_sde(plain), construct("objective", ScoreMatching, plain["objective"])
    for u in (0.1, 0.5, 0.9):
        t, weight = objective.times(u, sde)
        ours = weight * jnp.square(sde.diffusion(t))
        theirs = jnp.square(sde.marginal(t).sigma)
        np.testing.assert_allclose(ours / theirs, config.optim.grad_clip, rtol=1e-4)
    np.testing.assert_allclose(config.optim.eps, 1e-8 * config.optim.grad_clip, rtol=1e-6)


def test_importance_weighting_is_idle_without_likelihood_weighting_as_in_score_flow():
    config = config_from_reference({**SCORE_FLOW, "training.importance_weighting": True})
    assert config == config_from_reference(SCORE_FLOW)


def test_misspelt_fields_of_published_configs_are_read_under_their_right_names():
    bedroom = {**REFINENET, "training.continuous": True, "training.continuouse": False}
    assert config_from_reference(bedroom) == config_from_reference(REFINENET)
    celeba = {
        ("training.loss" if name == "training.sde" else name): value
        for name, value in REFINENET.items()
    }
    assert config_from_reference(celeba) == config_from_reference(REFINENET)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (
            "vp",
            {"optim.optimizer": "RMSProp"},
            "optim.optimizer='RMSProp' must be one of adam",
        ),
        ("vp", {"sampling.method": "pcc"}, "sampling.method='pcc' must be one of pc, ode"),
        (
            "vp",
            {"training.likelihood_weighting": True, "training.continuous": False},
            "must be False where training",
        ),
        ("vp", {"data.centered": "False"}, "data.centered='False' must be True or False"),
        ("vp", {"training.n_iters": [1, 2]}, r"training.n_iters=\[1, 2\] must be a whole number"),
        ("vp", {"training.log_freq": 0.5}, "training.log_freq=0.5 must be a whole number"),
        ("vp", {"optim.lr": "x" * 10**6}, "^optim.lr='x{199} must be a finite number$"),
        ("vp", {"model.num_scales": 1000.5}, "model.num_scales=1000.5 must be a whole number"),
        ("vp", {"model.beta_max": float("nan")}, "model.beta_max=nan must be a finite number"),
        (
            "score_flow",
            {"model.embedding_type": "fourier"},
            "='fourier' must be 'positional' for a VP or sub-VP model of ScoreFl",
        ),
        (
            "score_flow",
            {"eval.dequantizer": True},
            "train a dequantizer by score-sde train-dequantizer",
        ),
        (
            "bound",
            {"eval.offset": False},
            "eval.offset=False must be True, without it the result is no bound",
        ),
        ("ve", {"model.trainable_embedding": True}, "the Fourier features here are never trained"),
        ("lsun", {"data.tfrecords_path": "x"}, "LSUN is read from its images or databases"),
    ],
)
def test_unsupported_values_are_errors_of_one_line(base, changes, message):
    with pytest.raises(ValueError, match=message) as refusal:
        config_from_reference({**BASES[base], **changes})
    assert "\n" not in str(refusal.value)
