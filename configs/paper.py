"""The common parts of the published experiments: data sets, SDEs and networks, each a
change of the defaults.

An experiment is a data set, then an SDE, then a network: ``ncsnpp(ve(cifar10()))``. The
numbers are those of the published configs of Song et al. 2021
(https://arxiv.org/abs/2011.13456), of NCSN (https://arxiv.org/abs/1907.05600) and of
NCSNv2 (https://arxiv.org/abs/2006.09011). This file is not an experiment itself.

The images are read from disk in their distributed formats, from folders such as
``~/data/score_sde/cifar10``. ``score_sde.data.named`` describes the contents of each
folder, and so does the message where files are missing. ``--config.data.path=…``
chooses another folder, ``SCORE_SDE_DATA`` another parent folder for all data sets.
Training flips each image left to right with probability 1/2.
"""

from ml_collections import ConfigDict

from score_sde.configs.default import get_default_config, section

PARAMETERS = {
    "subvp/cifar10_ddpm_continuous": 35_218_947,
    "subvp/cifar10_ddpmpp_continuous": 61_804_419,
    "subvp/cifar10_ddpmpp_deep_continuous": 106_632_579,
    "subvp/cifar10_ncsnpp_continuous": 62_693_251,
    "subvp/cifar10_ncsnpp_deep_continuous": 107_521_411,
    "ve/bedroom_ncsnpp_continuous": 65_574_549,
    "ve/celeba_ncsnpp": 62_693_251,
    "ve/celebahq_256_ncsnpp_continuous": 65_574_549,
    "ve/celebahq_ncsnpp_continuous": 105_785_896,
    "ve/church_ncsnpp_continuous": 65_574_549,
    "ve/cifar10_ddpm": 35_218_947,
    "ve/cifar10_ncsnpp": 62_693_251,
    "ve/cifar10_ncsnpp_continuous": 62_758_915,
    "ve/cifar10_ncsnpp_deep_continuous": 107_587_075,
    "ve/ffhq_256_ncsnpp_continuous": 65_574_549,
    "ve/ffhq_ncsnpp_continuous": 105_785_896,
    "ve/ncsn/celeba": 30_117_635,
    "ve/ncsn/celeba_124": 51_379_715,
    "ve/ncsn/celeba_1245": 51_379_715,
    "ve/ncsn/celeba_5": 30_117_635,
    "ve/ncsn/cifar10": 30_117_635,
    "ve/ncsn/cifar10_124": 39_750_659,
    "ve/ncsn/cifar10_1245": 39_750_659,
    "ve/ncsn/cifar10_5": 30_117_635,
    "ve/ncsnv2/bedroom": 83_445_379,
    "ve/ncsnv2/celeba": 29_694_083,
    "ve/ncsnv2/cifar10": 29_694_083,
    "vp/cifar10_ddpmpp": 61_804_419,
    "vp/cifar10_ddpmpp_continuous": 61_804_419,
    "vp/cifar10_ddpmpp_deep_continuous": 106_632_579,
    "vp/cifar10_ncsnpp": 62_693_251,
    "vp/cifar10_ncsnpp_continuous": 62_693_251,
    "vp/cifar10_ncsnpp_deep_continuous": 107_521_411,
    "vp/ddpm/bedroom": 111_569_923,
    "vp/ddpm/celebahq": 111_569_923,
    "vp/ddpm/church": 111_569_923,
    "vp/ddpm/cifar10": 35_218_947,
    "vp/ddpm/cifar10_continuous": 35_218_947,
    "vp/ddpm/cifar10_unconditional": 32_329_347,
}
"""The number of parameters of each published network, which identifies a checkpoint."""


def cifar10() -> ConfigDict:
    """CIFAR-10 at 32 x 32, 1,300,001 steps of 128 images."""
    config = get_default_config()
    config.seed = 42
    config.data = _data("cifar10")
    config.example = ConfigDict({"shape": (32, 32, 3), "num_levels": 256})
    config.training.update(
        num_steps=1_300_001,
        batch_size=128,
        log_every=50,
        eval_every=100,
        checkpoint_every=10_000,
        sample_every=50_000,
        ema_decay=0.9999,
        ema_warmup=False,
    )
    return config


def celeba() -> ConfigDict:
    """CelebA, center-cropped and resized to 64 x 64."""
    return _with_data(cifar10(), "celeba", 64)


def lsun(category: str, *, image_size: int = 256) -> ConfigDict:
    """A category of LSUN: 2,400,001 steps of 64 images."""
    return _with_data(_long(cifar10()), "lsun", image_size, category=category)


def ffhq(*, image_size: int = 256) -> ConfigDict:
    """FFHQ, with all images for training; otherwise as LSUN."""
    return _with_data(_long(cifar10()), "ffhq", image_size, num_test=0)


def celebahq(*, image_size: int = 256) -> ConfigDict:
    """CelebA-HQ, with all images for training; otherwise as LSUN."""
    return _with_data(_long(cifar10()), "celebahq", image_size, num_test=0)


def vp(config: ConfigDict, *, continuous: bool = True) -> ConfigDict:
    """The VP SDE; or, if not ``continuous``, DDPM with 1,000 levels and its ancestral sampler."""
    config.sde = section("vp", beta_min=0.1, beta_max=20.0, t_min=1e-3, t_max=1.0)
    if continuous:
        config.objective.reduce = "mean"
        config.parameterization = section("noise", time_label="scaled_time")
        config.sampling = _euler_maruyama()
    else:
        levels = {"num_scales": 1000, "beta_min": 0.1, "beta_max": 20.0}
        config.objective = section("ddpm", terms="simple", reduce="mean", **levels)
        config.parameterization = section("discrete_noise", **levels)
        config.sampling = predictor_corrector("ancestral_large", corrector="none", num_steps=1000)
    return config


def subvp(config: ConfigDict) -> ConfigDict:
    """The sub-VP SDE."""
    config = vp(config)
    config.sde.name = "subvp"
    return config


def ve(
    config: ConfigDict,
    *,
    sigma_max: float = 50.0,
    sigma_min: float = 0.01,
    num_scales: int = 1000,
    snr: float = 0.16,
    continuous: bool = True,
) -> ConfigDict:
    """The VE SDE; or, if not ``continuous``, ``num_scales`` levels. Images are in [0, 1]."""
    config.sde = section("ve", sigma_min=sigma_min, sigma_max=sigma_max, t_min=1e-5, t_max=1.0)
    config.data.centered = False
    config.training.ema_decay = 0.999
    if continuous:
        config.objective.reduce = "half_sum"
        config.parameterization = section("score", time_label="noise_level")
    else:
        config.objective = section("ncsn", num_scales=num_scales, reduce="half_sum")
        config.parameterization = section("discrete_score", num_scales=num_scales)
    config.sampling = predictor_corrector("reverse_diffusion", num_steps=num_scales, snr=snr)
    return config


def ncsnpp(config: ConfigDict, **options: object) -> ConfigDict:
    """NCSN++: FIR resampling and a residual input pyramid; ``options`` of the network."""
    return _unet(
        config, {"num_res_blocks": 4, "fir": True, "progressive_input": "residual", **options}
    )


def ncsnpp_256(config: ConfigDict, **options: object) -> ConfigDict:
    """NCSN++ for images of 256 pixels and more: skip pyramids of input and output."""
    pyramid = {"progressive": "output_skip", "progressive_input": "input_skip", "dropout": 0.0}
    wide = {"ch_mult": (1, 1, 2, 2, 2, 2, 2), "num_res_blocks": 2}
    return _unet(config, {"fir": True, **wide, **pyramid, **options})


def ddpmpp(config: ConfigDict, **options: object) -> ConfigDict:
    """DDPM++: no FIR resampling and no pyramids; ``options`` of the network."""
    return _unet(
        config, {"num_res_blocks": 4, "fir": False, "progressive_input": "none", **options}
    )


def ddpm(config: ConfigDict, **options: object) -> ConfigDict:
    """The U-Net of DDPM; ``options`` of the network."""
    values = {
        "nf": 128,
        "ch_mult": (1, 2, 2, 2),
        "num_res_blocks": 2,
        "attn_resolutions": (16,),
        "dropout": 0.1,
        "resamp_with_conv": True,
        "conditional": True,
        "nonlinearity": "swish",
    }
    config.model = section("ddpm", **{**values, **_noise_levels(config), **options})
    return config


def ddpm_256(config: ConfigDict) -> ConfigDict:
    """DDPM for images of 256 pixels, with its smaller learning rate."""
    config.optim.lr = 2e-5
    return ddpm(config, ch_mult=(1, 1, 2, 2, 4, 4), dropout=0.0)


def deep(config: ConfigDict) -> ConfigDict:
    """Twice the residual blocks, 950,001 steps."""
    config.model.num_res_blocks = 8
    config.training.num_steps = 950_001
    return config


def ncsn(
    config: ConfigDict,
    *,
    sigma_max: float,
    num_scales: int,
    snr: float,
    steps: int,
    ema_decay: float,
) -> ConfigDict:
    """NCSN (Song & Ermon 2019): a RefineNet with conditional normalisation, and Adam
    with a learning rate of 1e-3, without warm-up and clipping.
    """
    return _refinenet(config, "ncsn", 1e-3, sigma_max, num_scales, snr, steps, ema_decay)


def ncsnv2(
    config: ConfigDict,
    *,
    sigma_max: float,
    num_scales: int,
    snr: float,
    steps: int = 5,
    ema_decay: float = 0.999,
) -> ConfigDict:
    """NCSNv2 (Song & Ermon 2020): a RefineNet that is not conditioned on the noise
    level, and Adam with a learning rate of 1e-4, without warm-up and clipping.
    """
    return _refinenet(config, "ncsnv2", 1e-4, sigma_max, num_scales, snr, steps, ema_decay)


def predictor_corrector(
    predictor: str,
    *,
    corrector: str = "langevin",
    num_steps: int,
    snr: float = 0.16,
    corrector_steps: int = 1,
) -> ConfigDict:
    """The section ``sampling`` of predictor-corrector sampling."""
    return section(
        "predictor_corrector",
        num_steps=num_steps,
        predictor=predictor,
        corrector=corrector,
        snr=snr,
        corrector_steps=corrector_steps,
        grid="uniform",
        num_samples=64,
        batch_size=64,
        denoise=True,
    )


def _euler_maruyama() -> ConfigDict:
    return section(
        "euler_maruyama",
        num_steps=1000,
        grid="uniform",
        num_samples=64,
        batch_size=64,
        denoise=True,
    )


def _data(source: str, **options: object) -> ConfigDict:
    return ConfigDict(
        {"source": source, **options, "centered": True, "dequantize": False, "flip": True}
    )


def _with_data(config: ConfigDict, source: str, image_size: int, **options: object) -> ConfigDict:
    config.data = _data(source, image_size=image_size, **options)
    config.example.shape = (image_size, image_size, 3)
    return config


def _long(config: ConfigDict) -> ConfigDict:
    config.training.update(num_steps=2_400_001, batch_size=64, checkpoint_every=5_000)
    return config


def _unet(config: ConfigDict, options: dict[str, object]) -> ConfigDict:
    """NCSN++ and DDPM++ are one network. Its time embedding and the scale of its output
    follow from the SDE and its discretisation.
    """
    fourier = config.parameterization.name == "score"
    values = {
        "nf": 128,
        "ch_mult": (1, 2, 2, 2),
        "attn_resolutions": (16,),
        "dropout": 0.1,
        "resamp_with_conv": True,
        "conditional": True,
        "fir_kernel": (1, 3, 3, 1),
        "skip_rescale": True,
        "resblock_type": "biggan",
        "progressive": "none",
        "progressive_combine": "sum",
        "embedding_type": "fourier" if fourier else "positional",
        "fourier_scale": 16.0,
        "init_scale": 0.0,
        "nonlinearity": "swish",
    }
    config.model = section("ncsnpp", **{**values, **_noise_levels(config), **options})
    return config


def _noise_levels(config: ConfigDict) -> dict[str, object]:
    """For VE the network divides its output by sigma, and maps [0, 1] to [-1, 1] itself."""
    if config.sde.name != "ve":
        return {"scale_by_sigma": False, "rescale_input": not config.data.centered}
    return {
        "scale_by_sigma": True,
        "sigma_min": config.sde.sigma_min,
        "sigma_max": config.sde.sigma_max,
        "num_scales": config.sampling.num_steps,
        "rescale_input": not config.data.centered,
    }


def _refinenet(
    config: ConfigDict,
    name: str,
    lr: float,
    sigma_max: float,
    num_scales: int,
    snr: float,
    steps: int,
    ema_decay: float,
) -> ConfigDict:
    config = ve(config, sigma_max=sigma_max, num_scales=num_scales, snr=snr, continuous=False)
    config.optim.update(lr=lr, warmup=0, grad_clip=-1.0)
    config.training.ema_decay = ema_decay
    config.sampling.update(predictor="none", corrector="annealed_langevin", corrector_steps=steps)
    config.model = section(
        name,
        nf=128,
        num_scales=num_scales,
        sigma_min=0.01,
        sigma_max=sigma_max,
        nonlinearity="elu",
        normalization="InstanceNorm++",
        interpolation="bilinear",
        rescale_input=True,
    )
    return config
