"""Everything that can be wrong before a run starts: one line, exit code 2, and nothing
is written.
"""

import numpy as np
import pytest
import tiny
from PIL import Image


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """A folder with a config file, to run in; what lies in it besides must be gone or
    as it was afterwards.
    """
    monkeypatch.chdir(tmp_path)
    tiny.config_file(tiny.TOY, tmp_path)
    return tmp_path


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


FLAGS = [
    ([], "--config is missing: for example --config=configs/digits/vp.py"),
    (["--workdir=w"], "--config is missing"),
    (["--config=experiment.py"], "--workdir is missing: for example --workdir=runs/digits"),
    (["--config=experiment.py", "--workdir="], "--workdir is missing"),
    (["--config=", "--workdir=w"], "--config has no value"),
    (["--config", "--workdir=w"], "--config has no value"),
    (
        ["--config=experimnet.py", "--workdir=w"],
        "no config file 'experimnet.py', did you mean 'experiment.py'?",
    ),
    (["--config=experiment.py", "--workdri=w"], "unknown flag --workdri, did you mean 'workdir'?"),
    (
        ["--config=experiment.py", "--workdir=w", "--zzz"],
        "unknown flag --zzz; --help lists the flags",
    ),
    (
        ["--config=experiment.py", "--workdir=w", "zzz"],
        "unexpected argument 'zzz': flags are written --flag=value",
    ),
    (["--config=experiment.py", "--workdir=w", "--flagfile=none"], "Unable to open flagfile"),
    (
        ["--config=experiment.py", "--workdir=experiment.py"],
        "experiment.py is a file where a folder is needed",
    ),
    (["--config=experiment.py", "--workdir=experiment.py/w"], "Not a directory: experiment.py/w"),
    (["--config=experiment.py", "--workdir=/proc/w"], "/proc/w"),
    (
        [
            "--config=experiment.py",
            "--workdir=w",
            "--config.eval.max_examples={'a': 1}",
            "--config.eval.max_examples=b",
        ],
        "eval.max_examples='b' must be a whole number or None",
    ),
]


@pytest.mark.parametrize(("argv", "message"), FLAGS)
def test_flags(argv, message, experiment, usage_error):
    before = listing(experiment)
    assert message in usage_error("train", *argv)
    assert listing(experiment) == before


VALUES = [
    (
        "training.num_step=3",
        "training has no key 'num_step', did you mean 'num_steps'?; keys: num_steps, batch_size",
    ),
    (
        "trainin.num_steps=3",
        "--config.trainin.num_steps: the config has no section 'trainin', did you mean 'training'?",
    ),
    (
        "trainin=3",
        "the config has no section 'trainin', did you mean 'training'?; sections: seed, sde",
    ),
    ("example.shape=3", "the config has no section 'example'"),
    ("=3", "unknown flag --config.: an override is --config.section.key=value"),
    ("sde..x=3", "unknown flag --config.sde..x"),
    ("training.num_steps.x=3", "training.num_steps is not a section but 30"),
    ("training=3", "--config.training=3 must be a section such as"),
    ("training.num_steps", "--config.training.num_steps has no value"),
    ("training.num_steps=", "--config.training.num_steps has no value"),
    ("training.num_steps=1.5", "training.num_steps=1.5 must be a whole number"),
    ("training.num_steps=True", "training.num_steps=True must be a whole number"),
    ("training.num_steps=many", "--config.training.num_steps=many must be an integer"),
    ("training.num_steps=None", "training.num_steps=None must be a whole number"),
    ("training.num_steps=-1", "training.num_steps=-1 must be at least 1"),
    ("training.num_steps=0", "training.num_steps=0 must be at least 1"),
    (
        "training.num_steps=2147483648",
        "training.num_steps=2147483648 must be at most 2147483647",
    ),
    (
        "training.batch_size=99999999999",
        "training.batch_size=99999999999 must be at most 2147483647",
    ),
    ("training.divergence={'name':'exact'}", "training has no key 'divergence'"),
    ("training.batch_size=0", "training.batch_size=0 must be at least 1"),
    ("training.num_microbatches=3", "evenly over 8 devices and 3 microbatches: take 24"),
    ("training.num_microbatches=0", "training.num_microbatches=0 must be at least 1"),
    (
        "training.batch_size=9",
        "batch_size=9 must be a positive multiple of 8, to be split evenly over 8 devices: take",
    ),
    ("training.eval_every=-1", "training.eval_every=-1 must be at least 0"),
    ("training.checkpoint_every=0", "training.checkpoint_every=0 must be at least 1"),
    ("training.keep_last=0", "training.keep_last=0 must be at least 1"),
    ("training.ema_decay=1.0", "training.ema_decay=1.0 must be at least 0 and less than 1"),
    ("training.ema_warmup=5", "training.ema_warmup=5 must be True or False"),
    (
        "training.averages=power:0.1",
        "training.averages='power:0.1' must be a tuple of texts such as ('power:0.05','power:0.1')",
    ),
    (
        "training.averages=('powr:0.1',)",
        "unknown training.averages 'powr:0.1', did you mean 'power'?; known: decay,",
    ),
    (
        "training.averages=('power',)",
        "training.averages='power' must be NAME:VALUE, with NAME one of decay, half_life, power",
    ),
    (
        "training.averages=('power:0.5',)",
        "training.averages 'power:0.5': sigma_rel=0.5 must be from 1e-06 to",
    ),
    (
        "training.averages=('half_life:9,ramp=x',)",
        "training.averages.ramp='x' must be a finite number or None",
    ),
    (
        "training.averages=('power:.1','power:0.10')",
        "training.averages=(PowerEMA(sigma_rel=0.1), PowerEMA(sigma_rel=0.1)) must be different",
    ),
    (
        "training.snapshot_every=5",
        "training.snapshot_every=5 needs power averages, such as training.averages=('power:0.05',",
    ),
    ("training.snapshot_every=-1", "training.snapshot_every=-1 must be at least 0"),
    (
        "objective.name=classification",
        "the config of a classifier (by its objective) has an unknown section 'eval'; "
        "sections: seed, sde",
    ),
    (
        "objective.name=dequantization",
        "the objective makes this the config of a dequantizer, which needs a score model: "
        "score-sde train-dequantizer",
    ),
    ("seed=-1", "seed=-1 must be a whole number from 0 to 4294967295"),
    (
        "seed=99999999999999999999",
        "seed=99999999999999999999 must be a whole number from 0 to 4294967295",
    ),
    ("seed=x", "--config.seed=x must be an integer"),
    (
        "sde.name=vpp",
        "unknown sde 'vpp', did you mean 'vp'?; known: vp, subvp, ve, edm, cosine, ",
    ),
    ("sde.beta_max=abc", "--config.sde.beta_max=abc must be a number"),
    ("sde.beta_max=nan", "sde.beta_max=nan must be a finite number"),
    ("sde.beta_max=inf", "sde.beta_max=inf must be a finite number"),
    ("sde.beta_min=30.0", "sde.beta_max=20.0 must be at least 30, the value of beta_min"),
    (
        "sde.sigma_max=5.0",
        "sde 'vp' has no key 'sigma_max'; keys: beta_min, beta_max, t_min, t_max",
    ),
    ("sde.t_min=1.0", "sde.t_min=1.0 must be less than t_max=1.0"),
    ("sde.t_min=-1.0", "sde.t_min=-1.0 must be positive and finite"),
    ("sde.name=no_such_module:SDE", "sde 'no_such_module:SDE': no module 'no_such_module'"),
    ("sde.name=math:sinn", "module 'math' has no function or class 'sinn', did you mean 'sin'?"),
    (
        "sde.name=score_sde.sampling:Heun",
        "sde 'score_sde.sampling:Heun' gives Heun where SDE is expected",
    ),
    ("model.name=nlp", "unknown model 'nlp', did you mean 'mlp'?; known: mlp, unet, ddpm, ncsnpp,"),
    (
        "model.hidden_sizes=(1048576,1048576)",
        "model: not enough memory for 4398046511104 bytes: a smaller batch",
    ),
    (
        "model.name=unet",
        "model: a U-Net takes images of shape (height, width, channels), got data of shape (2,)",
    ),
    (
        "model.embeding_dim=8",
        "model 'mlp' has no key 'embeding_dim', did you mean 'embedding_dim'?",
    ),
    (
        "model.hidden_sizes=(8,'a')",
        "model.hidden_sizes=(8, 'a') must be a sequence, each a whole number",
    ),
    ("model.hidden_sizes=(8", "model.hidden_sizes=('(8',) must be a sequence, each a whole number"),
    ("model.activation=silly", "model.activation='silly' must be one of"),
    ("model.dtype=float8", "model.dtype='float8' must be one of"),
    ("parameterization.name=nois", "unknown parameterization 'nois', did you mean 'noise'?"),
    ("parameterization.time_label=time", "unknown parameterization.time_label 'time'"),
    ("objective.name=denoise", "unknown objective 'denoise', did you mean 'denoising'?"),
    (
        "objective.weighting=varance",
        "unknown objective.weighting 'varance', did you mean 'variance'?",
    ),
    ("objective.reduce=sum", "objective.reduce='sum' must be one of 'mean', 'half_sum'"),
    (
        "objective.time_sampling.name=unifrom",
        "unknown objective.time_sampling 'unifrom', did you mean 'uniform'?",
    ),
    (
        "objective.time_sampling.t_mni=1e-3",
        "objective.time_sampling 'uniform' has no key 't_mni', did you mean 't_min'?",
    ),
    (
        "objective.time_sampling.t_min=2.0",
        "objective.time_sampling.t_min=2.0 must be less than sde.t_max=1.0",
    ),
    (
        "objective.time_sampling.t_min=0.0",
        "objective.time_sampling.t_min=0.0 must be positive",
    ),
    ("optim.name=adamm", "unknown optim 'adamm', did you mean 'adam'?"),
    ("optim.lr=-1.0", "optim.lr=-1.0 must be a finite number of at least 0"),
    ("optim.warmup=-1", "optim.warmup=-1 must be a number of steps from 0 to 2147483647"),
    (
        "sampling.name=huen",
        "unknown sampling 'huen', did you mean 'heun'?; known: euler_maruyama, shark, sra1",
    ),
    ("sampling.num_steps=0", "sampling.num_steps=0 must be at least 1"),
    ("sampling.num_steps=2147483648", "sampling.num_steps=2147483648 must be at most 2147483647"),
    ("sampling.grid=unifrom", "unknown sampling.grid 'unifrom', did you mean 'uniform'?"),
    ("sampling.num_samples=0", "sampling.num_samples=0 must be at least 1"),
    ("sampling.num_samples=2147483648", "sampling.num_samples=2147483648 must be at most 2147"),
    ("sampling.batch_size=1e30", "sampling.batch_size=1000000000000000019884624838656 must be at"),
    ("eval.max_examples=4294967297", "eval.max_examples=4294967297 must be at most 2147483647"),
    ("sampling.classes=4294967296", "sampling.classes=4294967296 must be from 0 to 2147483647"),
    ("sampling.batch_size=-2", "sampling.batch_size=-2 must be at least 1"),
    ("sampling.denoise=2", "sampling.denoise=2 must be True or False"),
    ("sampling.rtol=1e-3", "sampling 'heun' has no key 'rtol'; keys: num_steps, grid"),
    ("data.source=digit", "unknown data source 'digit', did you mean 'digits'?"),
    (
        "data.num_example=9",
        "data source 'mixture' has no key 'num_example', did you mean 'num_examples'?",
    ),
    ("data.num_examples=1", "num_examples=1 must be at least 2"),
    (
        "data.num_examples=1000000000000",
        "data: not enough memory for 7.28 TiB: a smaller batch, model or data set",
    ),
    ("data.num_examples=99999999999999999999", "data: Maximum allowed dimension exceeded"),
    ("data.seed=-1", "data.seed=-1 must be from 0 to 2**64 - 1"),
    ("data.centered=2", "data.centered=2 must be True or False"),
    ("data=5", "--config.data=5 must be a section such as"),
    ("data={}", "data.source=None must be one of digits, mixture"),
    ("eval.t_min=1.0", "eval.t_min=1.0 must be less than sde.t_max=1.0"),
    ("eval.t_min=0.0", "eval.t_min=0.0 must be positive"),
    ("eval.rtol=0.0", "eval.rtol=0.0 must be positive"),
    ("eval.batch_size=0", "eval.batch_size=0 must be at least 1"),
    ("eval.max_examples=0", "eval.max_examples=0 must be at least 1"),
    ("eval.divergence.name=exakt", "unknown eval.divergence 'exakt', did you mean 'exact'?"),
    (
        "eval.divergence.num_probes=1",
        "eval.divergence 'exact' has no key 'num_probes'; keys: chunk_size",
    ),
    (
        "eval.divergence={'name':'hutchinson','num_probes':0}",
        "eval.divergence.num_probes=0 must be at least 1",
    ),
    (
        "eval.divergence={'name':'hutchinson','kind':'sign'}",
        "eval.divergence.kind='sign' must be one of 'rademacher', 'gaussian', 'sphere'",
    ),
    (
        "sampling={'name':'predictor_corrector','predictor':'euler'}",
        "unknown sampling.predictor 'euler'; known: reverse",
    ),
    ("sampling={'name':'predictor_corrector','snr':-1.0}", "sampling.snr=-1.0 must be positive"),
    (
        "sampling={'name':'probability_flow','solver':'tsit6'}",
        "sampling.solver='tsit6' must be one of 'tsit5', 'dopri5'",
    ),
]


@pytest.mark.parametrize(("override", "message"), VALUES, ids=[override for override, _ in VALUES])
def test_values(override, message, experiment, usage_error):
    with tiny.quick_compilation():
        line = usage_error("train", "--config=experiment.py", "--workdir=w", f"--config.{override}")
    assert message in line
    assert not (experiment / "w").exists()


FILES = [
    ("config = {}", "the config lacks the section 'seed'"),
    ("config.trainin = 3", "the config has an unknown section 'trainin', did you mean 'training'?"),
    ("config.training.num_step = 3", "training has no key 'num_step', did you mean 'num_steps'?"),
    (
        "del config.optim",
        "the config lacks the section 'optim'; start from the defaults of configs/default.py",
    ),
    ("config.optimm.lr = 3", "AttributeError: 'optimm'"),
    ("config.optim.lr = 'fast'", "TypeError: Could not override field 'lr'"),
    ("del config.optim.lr", "optim 'adam' needs lr"),
    (
        "config.objective.name = 'classification'; del config.eval",
        "the config of a classifier (by its objective) has an unknown section "
        "'parameterization'; sections",
    ),
    (
        "del config.parameterization",
        "the config of a score model (by its objective) lacks the section "
        "'parameterization'; start from",
    ),
    (
        "del config.sde.name",
        "sde needs a name: one of vp, subvp, ve, edm, cosine, discrete_vp, rectified_flow, "
        "brownian, or package.module",
    ),
    (
        "del config.training; config.training = 3",
        "training=3 must be a section of keys and values",
    ),
    (
        "config.objective = section('denoising', weighting=print)",
        "objective.weighting must be a plain value, got builti",
    ),
]


@pytest.mark.parametrize(("line", "message"), FILES)
def test_config_files(line, message, experiment, usage_error):
    text = tiny.TOY.replace("    return config", f"    {line}\n    return config")
    tiny.config_file(text, experiment)
    assert message in usage_error("train", "--config=experiment.py", "--workdir=w")
    assert not (experiment / "w").exists()


def image_folder(folder, sizes):
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.fromarray(np.full(size, 20 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def write_data(folder):
    good = np.zeros((20, 2), np.float32)
    bad = good.copy()
    bad[3, 1] = np.nan
    np.save(folder / "nan.npy", bad)
    np.savez(folder / "nan.npz", x=bad)
    np.savez(folder / "two.npz", x=good, y=good)
    (folder / "cut.npz").write_bytes((folder / "nan.npz").read_bytes()[:150])
    damaged = bytearray((folder / "nan.npz").read_bytes())
    damaged[60:90] = bytes(30)
    (folder / "damaged.npz").write_bytes(damaged)
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    np.save(folder / "words.npy", np.array(["a", "b"]))
    image_folder(folder / "mixed", [(8, 8), (8, 8), (8, 12)])
    unreadable = image_folder(folder / "unreadable", [(8, 8), (8, 8)])
    (unreadable / "1.png").write_bytes((unreadable / "1.png").read_bytes()[:30])
    (folder / "empty").mkdir()


DATA = [
    ("npy:nan.npy", "nan.npy: example 3 has a NaN or infinite value"),
    ("npz:nan.npz", "nan.npz: example 3 has a NaN or infinite value"),
    ("npz:two.npz", "two.npz has 2 arrays; choose one by key=…: x, y"),
    ("npz:cut.npz", "cut.npz is not an .npz file; it may be cut off or damaged"),
    ("npz:damaged.npz", "damaged.npz is damaged"),
    ("npz:none.npz", "no such file: none.npz"),
    ("npz:", "data source 'npz:' needs a path: npz:PATH"),
    ("npy:objects.npy", "objects.npy holds Python objects, which are never unpickled"),
    ("npy:words.npy", "images must be integers, latents and vectors floats"),
    ("folder:mixed", "images differ in size: mixed/2.png is 8×12"),
    ("folder:unreadable", "unreadable/1.png is not a PNG, JPEG, WEBP, TIFF, BMP or GIF image"),
    ("folder:empty", "no images in empty"),
    ("folder:none", "no such folder: none"),
    ("folder:experiment.py", "experiment.py is not a folder, nor a .zip archive"),
    ("math:sin", "data source 'math:sin'"),
]


@pytest.mark.parametrize(("source", "message"), DATA)
def test_data(source, message, experiment, usage_error):
    write_data(experiment)
    line = usage_error(
        "train", "--config=experiment.py", "--workdir=w", f"--config.data={{'source':'{source}'}}"
    )
    assert message in line
    assert not (experiment / "w").exists()
