"""``score-sde import`` and ``score-sde export``: whole models, or one line and nothing written."""

import contextlib
import io
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from damaged_files import damaged

from score_sde.cli import main
from score_sde.cli.reference_config import read_reference_config
from score_sde.experiments.loading import load

GOLDEN = Path(__file__).parents[1] / "golden"

DEFAULTS = """
import ml_collections
import torch


def get_default_configs():
    config = ml_collections.ConfigDict({"training": {"sde": "vpsde"}, "data": {"image_size": 8}, "model": {}})
    config.sampling = ml_collections.ConfigDict({"predictor": "none", "corrector": "langevin"})
    config.device = torch.device("cuda:0") if torch.cuda.is_available() else torch.device("cpu")
    return config
"""  # noqa: E501

EXPERIMENT = """
from configs.default import get_default_configs


def get_config():
    config = get_default_configs()
    config.model.name = "ddpm"
    config.model.nf = 32
    config.data.centered = True
    return config
"""


def arguments(name, workdir, *, suffix=".pth"):
    return [
        f"--checkpoint={GOLDEN / name}{suffix}",
        f"--reference_config={GOLDEN / name}.json",
        f"--workdir={workdir}",
    ]


def listing(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.parametrize(("name", "suffix"), [("ddpm_vp", ".pth"), ("flax_ddpmpp_vp", ".msgpack")])
def test_an_imported_model_is_the_published_one(name, suffix, tmp_path):
    text = tiny.run("import", *arguments(name, tmp_path / "model", suffix=suffix))
    assert f"score-sde sample --workdir={tmp_path / 'model'}" in text and "imported" in text
    model, numbers = load(tmp_path / "model"), np.load(GOLDEN / f"{name}.npz")
    x, expected = (numbers[key][:1] for key in ("x", "score"))
    if suffix == ".pth":
        x, expected = x.transpose(0, 2, 3, 1), expected.transpose(0, 2, 3, 1)
    score = jax.jit(model.score_fn)(jnp.asarray(x[0]), numbers["t"][0])
    assert np.linalg.norm(score - expected[0]) < 1e-4 * np.linalg.norm(expected[0])


def test_a_folder_of_diffusers_needs_no_config(tmp_path):
    folder = GOLDEN / "diffusers_ddpm"
    tiny.run(
        "import",
        f"--checkpoint={folder}",
        f"--workdir={tmp_path / 'model'}",
        "--config.sampling.num_steps=7",
    )
    model = load(tmp_path / "model")
    assert model.sampler.num_steps == 7 and model.config["model"]["attend_every_block"]
    jax.tree.map(np.testing.assert_array_equal, model.params, load(folder).params)


def test_an_imported_network_of_classes_takes_its_own_alone(usage_error, tmp_path):
    folder = Path(shutil.copytree(GOLDEN / "diffusers_unets" / "classes", tmp_path / "folder"))
    (folder / "scheduler_config.json").write_text('{"_class_name": "DDPMScheduler"}')
    tiny.run("import", f"--checkpoint={folder}", f"--workdir={tmp_path / 'model'}")
    line = usage_error("sample", f"--workdir={tmp_path / 'model'}", "--classes=0,99")
    assert "takes class labels from 0 to" in line and "99" in line


def test_a_damaged_folder_of_diffusers_is_a_usage_error(usage_error, tmp_path):
    folder = Path(shutil.copytree(GOLDEN / "diffusers_ddpm", tmp_path / "folder"))
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1000])
    line = usage_error("import", f"--checkpoint={folder}", f"--workdir={tmp_path / 'model'}")
    assert str(weights) in line and "damaged" in line
    (folder / "config.json").unlink()
    line = usage_error(
        "import",
        f"--checkpoint={folder}",
        f"--workdir={tmp_path / 'model'}",
        "--config=vp/ddpm/cifar10",
    )
    assert "no checkpoint in" in line and not (tmp_path / "model").exists()


@pytest.mark.slow
def test_an_imported_model_is_sampled_and_exported_without_its_data(tmp_path):
    tiny.run("import", *arguments("ddpm_vp", tmp_path / "model"))
    text = tiny.run(
        "sample", f"--workdir={tmp_path / 'model'}", "--num_samples=1",
        "--config.sampling.name=euler_maruyama", "--config.sampling.num_steps=2",
    )  # fmt: skip
    assert "distances  none, the data are missing: no CIFAR-10 in " in text
    assert (tmp_path / "model" / "samples" / "samples.png").exists()
    tiny.run("export", f"--workdir={tmp_path / 'model'}", f"--output={tmp_path / 'again'}")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


@pytest.mark.slow
def test_a_run_is_exported_and_every_command_takes_it(tmp_path):
    tiny.run(
        "export", f"--workdir={tiny.toy_run()}", "--checkpoint=20", f"--output={tmp_path / 'toy'}"
    )
    assert load(tmp_path / "toy").step == 20
    assert "distance: " in tiny.run("sample", f"--workdir={tmp_path / 'toy'}")
    assert "nats over 12 examples" in tiny.run("likelihood", f"--workdir={tmp_path / 'toy'}")
    assert "trajectories" in tiny.run("plot", f"--workdir={tmp_path / 'toy'}")


def test_a_config_file_of_the_published_code_is_read_in_its_place(tmp_path):
    (tmp_path / "configs" / "vp").mkdir(parents=True)
    (tmp_path / "configs" / "default.py").write_text(DEFAULTS)
    experiment = tmp_path / "configs" / "vp" / "experiment.py"
    experiment.write_text(EXPERIMENT)
    config = read_reference_config(str(experiment))
    assert (config.model.name, config.model.nf, config.sde.name) == ("ddpm", 32, "vp")
    assert not any(name.partition(".")[0] == "configs" for name in sys.modules)


def test_a_checkpoint_of_another_config_names_the_nearest(usage_error, tmp_path):
    line = usage_error(
        "import",
        f"--checkpoint={GOLDEN / 'ddpm_vp.pth'}",
        f"--workdir={tmp_path / 'x'}",
        "--config=vp/ddpm/cifar10",
    )
    assert (
        "the checkpoint has 18 parts, the network of the config 37; the file has 685,731 parameters"
        in line
    )
    assert "the nearest published config ve/ncsnv2/" in line
    line = usage_error("import", *arguments("ddpm_vp", tmp_path / "x"), "--config.model.nf=64")
    assert "has the shape (128,), the network needs (256,) for time_0/bias" in line
    assert listing(tmp_path) == []


def test_flags_of_import(usage_error, tmp_path):
    checkpoint, workdir = f"--checkpoint={GOLDEN / 'ddpm_vp.pth'}", f"--workdir={tmp_path / 'x'}"
    assert "--checkpoint is missing: for example --checkpoint=checkpoint_24.pth" in usage_error(
        "import", workdir
    )
    assert "--workdir is missing" in usage_error("import", checkpoint)
    assert "--config is missing; the file has 685,731 parameters" in usage_error(
        "import", checkpoint, workdir
    )
    line = usage_error(
        "import", checkpoint, workdir, "--config=vp/ddpm/cifar10", "--reference_config=x.json"
    )
    assert "--config and --reference_config exclude each other" in line
    assert "no reference config 'x.json'" in usage_error(
        "import", checkpoint, workdir, "--reference_config=x.json"
    )
    line = usage_error("import", "--checkpoint=none.pth", workdir, "--config=vp/ddpm/cifar10")
    assert "no such checkpoint: none.pth" in line
    assert "no config file 'vp/dpm'" in usage_error(
        "import", checkpoint, workdir, "--config=vp/dpm"
    )
    assert listing(tmp_path) == []
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").touch()
    assert "is there already" in usage_error("import", *arguments("ddpm_vp", tmp_path / "x"))
    assert "is there already" in usage_error(
        "export", f"--workdir={tiny.toy_run()}", f"--output={tmp_path / 'x'}"
    )
    assert "--output or --sampler is missing" in usage_error(
        "export", f"--workdir={tiny.toy_run()}"
    )
    assert [str(path) for path in listing(tmp_path)] == ["x", "x/mine"]


@pytest.mark.parametrize(("fields", "message"), [
    ("[]", "it holds no fields"),
    ("{", "it is not JSON"),
    ('{"model.name": "ddpm"}', "lacks training.sde"),
    ('{"training.sde": "vp", "model.name": "ddpm"}', "training.sde='vp' must be one of vpsde, "
"subvpsde, vesde"),
    ('{"training.sde": "vpsde", "data.image_size": '
'"big"}', "data.image_size='big' must be a whole number of at least 0"),
])  # fmt: skip
def test_a_reference_config_that_does_not_fit_is_a_usage_error(
    fields, message, usage_error, tmp_path
):
    file = tmp_path / "config.json"
    file.write_text(fields)
    line = usage_error(
        "import",
        f"--checkpoint={GOLDEN / 'ddpm_vp.pth'}",
        f"--reference_config={file}",
        f"--workdir={tmp_path / 'x'}",
    )
    assert message in line and str(file) in line
    assert not (tmp_path / "x").exists()


NCSNV2 = """
from score_sde.configs.ve.ncsnv2 import cifar10


def get_config():
    config = cifar10.get_config()
    config.example.shape = (16, 16, 3)
    config.model.update(nf=8, num_scales=10)
    config.parameterization.num_scales = 10
    return config
"""

DAMAGED = [("ddpm_vp", ".pth"), ("flax_ddpmpp_vp", ".msgpack"), ("ncsnv2_ve", ".pth")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "suffix"), DAMAGED)
def test_damaged_checkpoints_are_imported_whole_or_usage_errors(name, suffix, tmp_path):
    """24 mutations a file, seeded, most of them of the names: never a traceback, never
    a part of a model.
    """
    whole = (GOLDEN / f"{name}{suffix}").read_bytes()
    file, workdir, rejected = tmp_path / f"damaged{suffix}", tmp_path / "model", 0
    config = tiny.config_file(NCSNV2, tmp_path)
    named = (
        f"--config={config}" if name == "ncsnv2_ve" else f"--reference_config={GOLDEN / name}.json"
    )
    argv = ["import", f"--checkpoint={file}", named, f"--workdir={workdir}"]
    for data in damaged(whole, 24, (64, 4_000, len(whole)), seed=1):
        file.write_bytes(data)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
        if code == 0:
            assert sorted(path.name for path in workdir.iterdir()) == [
                "README.md",
                "model.json",
                "model.safetensors",
                "report.json",
            ]
            shutil.rmtree(workdir)
        else:
            rejected += 1
            assert code == 2 and err.getvalue().count("\n") == 1 and str(file) in err.getvalue(), (
                err.getvalue()
            )
            assert {path.name for path in tmp_path.iterdir()} == {file.name, config.name}
    assert rejected > 8


def test_a_checkpoint_that_would_run_a_command_is_a_usage_error(usage_error, tmp_path):
    target, file = tmp_path / "was_run", tmp_path / "malicious.pth"
    file.write_bytes(
        b"\x80\x02cposix\nsystem\nX"
        + len(f"touch {target}").to_bytes(4, "little")
        + f"touch {target}".encode()
        + b"\x85R."
    )
    line = usage_error(
        "import",
        f"--checkpoint={file}",
        f"--reference_config={GOLDEN / 'ddpm_vp.json'}",
        f"--workdir={tmp_path / 'x'}",
    )
    assert "cannot be read: it asks to run posix.system" in line
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
