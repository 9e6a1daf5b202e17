"""Configs of the 2021 code, from their fields."""

import json
from pathlib import Path

import pytest

from score_sde.cli.config_file import read_config
from score_sde.loading import config_from_reference

GOLDEN = Path(__file__).parents[1] / "golden"
WITH_FIELDS = sorted(path.stem for path in GOLDEN.glob("*.json") if "config" in json.loads(path.read_text()))


def fields_of(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())["config"]


def changed(name, **changes):
    return {**fields_of(name), **{key.replace("__", "."): value for key, value in changes.items()}}


def test_there_are_configs_to_convert():
    assert len(WITH_FIELDS) == 7


@pytest.mark.parametrize("name", WITH_FIELDS)
def test_a_config_keeps_what_its_fields_say(name):
    fields, config = fields_of(name), config_from_reference(fields_of(name))
    assert config.sde.name + "sde" == fields["training.sde"]
    assert config.model.name == fields["model.name"]
    assert config.example.shape == (16, 16, 3)
    for key in ("nf", "ch_mult", "num_res_blocks", "attn_resolutions", "dropout", "resamp_with_conv", "conditional"):
        value = fields[f"model.{key}"]
        assert config.model[key] == (tuple(value) if isinstance(value, list) else value)
    assert config.model.rescale_input is not fields["data.centered"]
    assert config.model.scale_by_sigma is fields["model.scale_by_sigma"]
    assert config.training.num_steps == fields["training.n_iters"]
    assert config.training.ema_decay == fields["model.ema_rate"]
    assert config.objective.reduce == ("mean" if fields["training.reduce_mean"] else "half_sum")


def test_what_the_network_is_told_follows_from_the_sde_and_its_levels():
    names = {name: config_from_reference(fields_of(name)).parameterization.to_dict() for name in WITH_FIELDS}
    assert names["ncsnpp_ve"] == {"name": "score", "time_label": "noise_level"}
    assert names["ddpmpp_subvp"] == {"name": "noise", "time_label": "scaled_time"}
    assert names["ncsnpp_vp_discrete"] == {
        "name": "discrete_noise", "num_scales": 1000, "beta_min": 0.1, "beta_max": 20.0,
    }  # fmt: skip
    discrete = config_from_reference(changed("ncsnpp_ve", training__continuous=False)).parameterization
    assert discrete.to_dict() == {"name": "discrete_score", "num_scales": 1000}


def test_the_published_config_comes_of_the_published_fields():
    """The fixture is a small network: with the size of the paper's it is the experiment of the same name here."""
    fields = changed(
        "flax_ncsnpp_ve",
        model__nf=128,
        model__ch_mult=[1, 2, 2, 2],
        model__num_res_blocks=4,
        model__attn_resolutions=[16],
        data__image_size=32,
        seed=42,
    )
    ours, published = config_from_reference(fields).to_dict(), read_config("ve/cifar10_ncsnpp_continuous").to_dict()
    for section in ("sde", "model", "parameterization", "objective", "optim", "data", "training", "example", "seed"):
        assert ours[section] == published[section], section
    for key in ("name", "num_steps", "predictor", "corrector", "snr", "corrector_steps", "denoise"):
        assert ours["sampling"][key] == published["sampling"][key], key


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data__dataset": "CIFAR10"}, {"source": "cifar10", "image_size": 16}),
        ({"data__dataset": "SVHN", "data__image_size": 32}, {"source": "svhn"}),
        ({"data__dataset": "MNIST", "data__image_size": 28}, {"source": "mnist"}),
        ({"data__dataset": "CELEBA", "data__image_size": 64}, {"source": "celeba", "image_size": 64}),
        (
            {"data__dataset": "LSUN", "data__category": "church_outdoor", "data__image_size": 256},
            {"source": "lsun", "category": "church_outdoor", "image_size": 256},
        ),
        ({"data__dataset": "FFHQ"}, {"source": "ffhq", "image_size": 16, "num_test": 0}),
        (
            {"data__dataset": "CelebAHQ", "data__tfrecords_path": "celebahq/r08.tfrecords", "data__image_size": 256},
            {"source": "celebahq", "path": "celebahq/r08.tfrecords", "image_size": 256, "num_test": 0},
        ),
        ({"data__dataset": "ImageNet", "data__image_size": 32}, {"source": "imagenet32"}),
        ({"data__dataset": "Birds", "data__image_size": 32}, {"source": "folder:data/birds", "image_size": 32}),
    ],
)
@pytest.mark.parametrize("flip", [True, False])
def test_the_data_are_those_of_the_published_name_and_flipped_as_there(changes, expected, flip):
    data = config_from_reference(changed("ddpm_vp", **changes, data__random_flip=flip)).data.to_dict()
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
        ("pc", "reverse_diffusion", "langevin", ("predictor_corrector", "reverse_diffusion", "langevin")),
        ("pc", "ancestral_sampling", "none", ("predictor_corrector", "ancestral_large", "none")),
        ("pc", "none", "ald", ("predictor_corrector", "none", "annealed_langevin")),
        ("ode", "none", "none", ("probability_flow", None, None)),
    ],
)
def test_samplers_by_their_names_of_2021(method, predictor, corrector, expected):
    sampling = config_from_reference(
        changed("ddpm_vp", sampling__method=method, sampling__predictor=predictor, sampling__corrector=corrector)
    ).sampling
    assert (sampling.name, sampling.get("predictor"), sampling.get("corrector")) == expected


def test_the_refinenets_have_their_resolution():
    fields = {
        "training.sde": "vesde", "training.continuous": False, "data.image_size": 128, "model.name": "ncsnv2_128",
        "model.sigma_min": 0.01, "model.sigma_max": 190, "model.num_scales": 1086, "sampling.predictor": "none",
        "sampling.corrector": "ald", "model.dropout": 0.0,
    }  # fmt: skip
    model = config_from_reference(fields).model
    assert (model.name, model.resolution, model.num_scales, model.sigma_max) == ("ncsnv2", 128, 1086, 190.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.sde": "vpsed"}, "training.sde must be one of .*, got 'vpsed', did you mean 'vpsde'?"),
        ({"training.sde": "subvpsde", "training.continuous": False}, "it has no discrete model"),
        ({"model.fir_kernl": [1]}, "no network here has the reference's field model.fir_kernl, did you mean"),
        ({"model.name": "ncsnp"}, "model.name must be one of .*did you mean 'ncsnpp'?"),
        ({"sampling.predictor": "euler"}, "sampling.predictor must be one of"),
        ({"sampling.corrector": "x"}, "sampling.corrector must be one of none, langevin, ald"),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as refusal:
        config_from_reference({**fields_of("ncsnpp_ve"), **changes})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["training.sde", "data.image_size", "model.name", "model.sigma_max"])
def test_what_is_missing_is_named(name):
    fields = fields_of("ncsnpp_ve")
    del fields[name]
    with pytest.raises(ValueError, match=f"the reference config lacks {name}"):
        config_from_reference(fields)
