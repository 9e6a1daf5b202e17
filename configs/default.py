"""All defaults. An experiment imports ``get_default_config`` and changes a few lines.

The ``name`` of a section chooses an entry of ``score_sde/experiments/tables.py``; the
other keys are the arguments of that entry.
"""

from ml_collections import ConfigDict


def section(name: str, **values: object) -> ConfigDict:
    """A section with this name and keys, for an experiment that replaces a whole section."""
    return ConfigDict({"name": name, **values})


def get_default_config() -> ConfigDict:
    """The defaults: a small U-Net, the VP SDE and the digits."""
    return ConfigDict(
        {
            "seed": 0,
            "sde": {"name": "vp", "beta_min": 0.1, "beta_max": 20.0, "t_min": 1e-3, "t_max": 1.0},
            "model": {
                "name": "unet",
                "channels": 32,
                "channel_mult": (1, 2),
                "num_res_blocks": 1,
                "attention_resolutions": (4,),
                "embedding": "fourier",
                "fourier_scale": 1.0,
                "activation": "silu",
                "dropout": 0.0,
                "dtype": "float32",
            },
            # A label that is smooth in t, unlike 999 t: the ODE then needs a third of the
            # evaluations at equal tolerance.
            "parameterization": {"name": "noise", "time_label": "log_noise_to_signal"},
            "objective": {
                "name": "denoising",
                "weighting": "variance",
                "reduce": "mean",
                "stratified": False,
                "time_sampling": {"name": "uniform", "t_min": 1e-5},
            },
            # Another optimizer ("adamw", "lion", "muon", "schedule_free") has other keys, and
            # replaces the section: config.optim = section("muon", lr=0.02, adam_lr=1e-3).
            # decay="cosine" or "linear" decays the learning rate to zero at
            # training.num_steps, or at decay_steps.
            "optim": {
                "name": "adam",
                "lr": 2e-4,
                "beta1": 0.9,
                "beta2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "warmup": 5000,
                "grad_clip": 1.0,
            },
            "sampling": {
                "name": "euler_maruyama",
                "num_steps": 500,
                "grid": "adapted",
                "num_samples": 256,
                "batch_size": 256,
                "denoise": True,
            },
            # For continuous data: standardize gives each coordinate (in images, each
            # channel) mean 0 and variance 1 over the training data. Samples and
            # likelihoods are in the original units.
            "data": {
                "source": "digits",
                "centered": True,
                "dequantize": True,
                "standardize": False,
                "flip": False,
                # Whether training replaces damaged examples in files by the next sound
                # ones, and lists them in damaged_examples.txt; else it stops there.
                "skip_damaged": False,
            },
            "training": {
                "num_steps": 10000,
                "batch_size": 128,
                "num_microbatches": 1,
                "n_jitted_steps": 1,
                "fsdp": 1,
                "log_every": 50,
                "eval_every": 500,
                "checkpoint_every": 1000,
                "sample_every": 1000,
                "keep_last": 2,
                "keep_best": 1,
                "keep_every": 0,
                "ema_decay": 0.9999,
                "ema_warmup": True,
                "max_skipped": 10,
                "max_taken_back": 2,
                "hang_timeout": 3600.0,
                # Further averages of the parameters, such as ("power:0.05",
                # "power:0.1", "half_life:2000"); `--average` samples with one of them.
                "averages": (),
                "snapshot_every": 0,
                "trackers": ("tensorboard",),
            },
            "eval": {
                "batch_size": 64,
                "max_examples": None,
                "t_min": 1e-5,
                "rtol": 1e-5,
                "atol": 1e-5,
                "divergence": {"name": "hutchinson", "num_probes": 1, "kind": "rademacher"},
                "check_tolerance": False,
                "bound": None,
                "dequantizer": {"name": "uniform"},
                "num_dequantizations": 1,
            },
        }
    )


def get_default_classifier_config() -> ConfigDict:
    """The defaults of a classifier of noisy examples. An experiment must complete the
    section ``model``.
    """
    config = get_default_config()
    for name in ("parameterization", "sampling", "eval"):
        del config[name]
    del config.training.sample_every
    config.model = section("wideresnet")
    config.objective = section("classification", time_sampling=config.objective.time_sampling)
    return config


def get_default_dequantizer_config() -> ConfigDict:
    """The defaults of a dequantizer. Its SDE and data are those of the score model for
    which it is trained.
    """
    config = get_default_classifier_config()
    for name in ("sde", "data"):
        del config[name]
    config.model = section("coupling_flow", channels=32, num_couplings=8, num_blocks=2)
    config.objective = section("dequantization", num_times=8, num_decodings=1)
    config.optim.lr = 1e-3
    config.optim.warmup = 500
    return config


def get_config() -> ConfigDict:
    """The defaults as an experiment."""
    return get_default_config()
