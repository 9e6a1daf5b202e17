"""Benchmarks: ratios of medians, the two sides timed in turn, so that the drift of a
machine affects both alike.

python scripts/benchmark.py samplers            accuracy of every sampler, into docs/benchmarks/samplers.md
python scripts/benchmark.py overhead            every sampler through diffrax against a bare loop of network calls
python scripts/benchmark.py training            the train step against a bare gradient, a run against bare steps
python scripts/benchmark.py likelihood_images   against SciPy on the host, drift and divergence in separate passes
python scripts/benchmark.py likelihood_points   the same on points in two dimensions
python scripts/benchmark.py networks            full-size DDPM++ and NCSN++ against the machine's own matrix products
python scripts/benchmark.py compilation         compiling the training step, by the size of the network
python scripts/benchmark.py all
"""  # noqa: E501

import bisect
import inspect
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import score_sde as ss
from score_sde.configs.default import get_default_config
from score_sde.configs.toy import swiss_roll
from score_sde.configs.ve import cifar10_ncsnpp_continuous
from score_sde.configs.vp import cifar10_ddpmpp_continuous, cifar10_ddpmpp_deep_continuous
from score_sde.data import Loader
from score_sde.experiments.score_model import Experiment
from score_sde.experiments.tables import SAMPLERS
from score_sde.training import init_state, make_train_step


def interleaved(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each side over ``repeats`` rounds, each side once a round, after a
    round of warm-up.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for counted in [False] + [True] * repeats:
        for name, run in sides.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if counted:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, medians: dict[str, float], reference: str) -> None:
    """Print each side's time as a multiple of the reference's."""
    print(title)
    for name, median in medians.items():
        print(f"  {name:<44} {median / medians[reference]:6.3f} x   ({1000 * median:.1f} ms)")


def digits_experiment() -> Experiment:
    """The digits model at its initial parameters, moved off the zero initialisation of
    its last layer.
    """
    return ss.build(get_default_config())


def away_from_zero(params: Any) -> Any:
    """Parameters with a little noise, so that no layer is trivially zero."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return tree.unflatten(
        [x + 0.03 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


def samplers() -> None:
    """Accuracy of every sampler, into docs/benchmarks."""
    from benchmark_samplers import main

    main()


def overhead(batch: int = 32, num_evaluations: int = 48, repeats: int = 7) -> None:
    """Every fixed-grid sampler of the table, vmapped through diffrax, against a loop of
    network calls; time and memory.

    All have ``num_evaluations``; the memory is XLA's allocation for temporary values.
    """
    model = digits_experiment().model
    params, sde = away_from_zero(model.params), model.sde
    keys = jax.random.split(jax.random.key(0), batch)
    times = jnp.linspace(sde.t_max, sde.t_min, num_evaluations)

    def bare(params: Any, keys: Any) -> Any:
        score = jax.vmap(model.score_fn_of(params), (0, None))
        x = jax.vmap(lambda key: jax.random.normal(key, model.shape))(keys)
        return jax.lax.fori_loop(0, num_evaluations, lambda i, x: x + 1e-3 * score(x, times[i]), x)

    def through_diffrax(sampler: ss.Sampler, **options: Any) -> Callable[[Any, Any], Any]:
        def draw(params: Any, keys: Any) -> Any:
            one = partial(
                ss.sample,
                sde=sde,
                score_fn=model.score_fn_of(params),
                sampler=sampler,
                shape=model.shape,
            )
            return jax.vmap(lambda key: one(key, denoise=False, **options).x)(keys)

        return draw

    functions = {name: through_diffrax(s) for name, s in with_evaluations(num_evaluations).items()}
    compiled = {
        name: jax.jit(function).lower(params, keys).compile()
        for name, function in {BARE: bare, **functions}.items()
    }
    medians = interleaved(
        {name: partial(run, params, keys) for name, run in compiled.items()}, repeats
    )
    show(f"overhead: digits U-Net, batch {batch}, {num_evaluations} evaluations", medians, BARE)
    memory = {name: temporary_bytes(run) for name, run in compiled.items()}
    print("memory: temporary values")
    for name, size in memory.items():
        print(f"  {name:<44} {size / memory[BARE]:6.3f} x   ({size / 2**20:.1f} MiB)")
    long = ss.EulerMaruyama(num_steps=10 * num_evaluations)
    silent, told = (
        jax.jit(through_diffrax(long)),
        jax.jit(through_diffrax(long, progress=lambda part: None)),
    )
    sides = {
        "silent": partial(silent, params, keys),
        "told how far it is": partial(told, params, keys),
    }
    show(
        f"progress: Euler-Maruyama, {10 * num_evaluations} evaluations",
        interleaved(sides, repeats),
        "silent",
    )


def temporary_bytes(program: jax.stages.Compiled) -> int:
    """The memory that XLA allocates for temporary values of a program."""
    analysis = program.memory_analysis()
    assert analysis is not None, "this backend does not report the memory of a program"
    return analysis.temp_size_in_bytes


BARE = "a loop of network calls, batched"


def with_evaluations(number: int) -> dict[str, ss.Sampler]:
    """Every sampler of the table with a fixed grid, with ``num_evaluations``."""
    found = {}
    for name, make in SAMPLERS.items():
        if name == "default":
            found[name] = make(nfe=number)
        elif name == "annealed_langevin":
            found[name] = make(num_steps=number // 4, steps_each=4)
        elif name == "restart":  # two evaluations a step, 6 steps of a grid and 3 loops of 6
            found[name] = make(num_steps=number // 2 - 18, restarts=3, restart_steps=6)
        elif "num_steps" in inspect.signature(make).parameters:
            found[name] = make(num_steps=number // EVALUATIONS_OF_A_STEP.get(name, 1))
    return found


EVALUATIONS_OF_A_STEP = {
    "shark": 2, "sra1": 2, "exponential_shark": 2, "heun": 2, "predictor_corrector": 2,
    "dpm_solver": 2, "edm": 2
}  # fmt: skip


def training(repeats: int = 15) -> None:
    """The train step (loss of each sample, clipping, Adam, EMA) against value_and_grad
    of a batched loss; then runs.
    """
    experiment = digits_experiment()
    model, options = experiment.model, experiment.training
    loss_fn = experiment.loss_fn(train=True)
    step = jax.jit(make_train_step(loss_fn, experiment.optimizer, options.ema))
    batch = Loader(array=experiment.source.train, batch_size=options.batch_size).batch(0)
    state = init_state(away_from_zero(model.params), experiment.optimizer)
    key = jax.random.key(0)

    @jax.jit
    def bare(params: Any, key: Any) -> Any:
        time_key, noise_key = jax.random.split(key)
        x0 = 2 * (jnp.asarray(batch.x, jnp.float32) + 0.5) / 17 - 1

        def loss(params: Any) -> Any:
            t = jax.random.uniform(time_key, (len(x0),), minval=1e-5)
            noise = jax.random.normal(noise_key, x0.shape)
            alpha, sigma = (jnp.reshape(v, (-1, 1, 1, 1)) for v in jax.vmap(model.sde.marginal)(t))
            output = model.network.apply(params, alpha * x0 + sigma * noise, 999 * t)
            return jnp.mean(jnp.square(output - noise))

        return jax.value_and_grad(loss)(params)

    medians = interleaved(
        {
            "bare value_and_grad of a batched loss": lambda: bare(state.params, key),
            "the train step": lambda: step(state, batch, key),
        },
        repeats,
    )
    show(
        f"training: digits U-Net, batch {options.batch_size}",
        medians,
        "bare value_and_grad of a batched loss",
    )
    from benchmark_training import main

    main()


def likelihood_images(repeats: int = 5) -> None:
    """The digits U-Net after a short training, 16 images."""
    experiment = digits_experiment()
    model = experiment.model
    x = jax.vmap(model.scaling.to_model)(
        jax.random.split(jax.random.key(3), 16), experiment.source.test[:16]
    )
    score_fn = model.score_fn_of(trained_enough(experiment))
    compare_likelihood("digits U-Net, 16 images", model.sde, score_fn, x, repeats)


def likelihood_points(repeats: int = 9) -> None:
    """An MLP on points in two dimensions: few, where dispatch dominates the time, and many,
    where the network does.
    """
    experiment = ss.build(swiss_roll.get_config())
    score_fn = experiment.model.score_fn_of(trained_enough(experiment, steps=1000))
    for number in (16, 64, 256):
        x = jnp.asarray(experiment.source.test[:number])
        compare_likelihood(f"2-D MLP, {number} points", experiment.model.sde, score_fn, x, repeats)


def trained_enough(experiment: Experiment, steps: int = 150) -> Any:
    """The network after a short training: the ODE of a random network is rougher than the
    ODEs of trained ones.
    """
    step = jax.jit(
        make_train_step(
            experiment.loss_fn(train=True), experiment.optimizer, experiment.training.ema
        )
    )
    state = init_state(experiment.model.params, experiment.optimizer)
    loader = Loader(array=experiment.source.train, batch_size=64)
    for number in range(steps):
        state, _ = step(state, loader.batch(number), jax.random.key(0))
    return state.ema_params


def compare_likelihood(name: str, sde: ss.SDE, score_fn: Any, x: Any, repeats: int) -> None:
    """Time ours against the original's method, each at the loosest tolerance of equal
    error.
    """
    key = jax.random.key(5)
    keys = jax.random.split(key, len(x))
    probes = jax.vmap(lambda key, x: ss.Hutchinson().probes(key, x)[0])(keys, x)

    def ours(tolerance: float, axis_name: str | None) -> Callable[[], Any]:
        def one(key: Any, x: Any) -> Any:
            return ss.log_likelihood(
                key, sde, score_fn, x, rtol=tolerance, atol=tolerance, axis_name=axis_name
            ).log_prob

        compiled = jax.jit(jax.vmap(one, axis_name="batch"))
        return lambda: compiled(keys, x)

    host = host_likelihood(sde, score_fn, x, probes)
    exact = np.asarray(ours(1e-6, None)())
    error = lambda values: float(np.sqrt(np.mean((np.asarray(values) - exact) ** 2)))  # noqa: E731
    target = error(host(1e-5))
    sides = {"SciPy RK45 on the host, rtol = atol = 1e-5": lambda: host(1e-5)}
    for label, axis in (
        ("ours, steps of each sample", None),
        ("ours, steps of the batch", "batch"),
    ):
        tolerance = loosest(lambda tolerance, axis=axis: ours(tolerance, axis), target, error)
        sides[f"{label} (tolerance {tolerance:.0e})"] = ours(tolerance, axis)
    print(f"  error of the host's solve: {target:.1e} nats")
    show(f"likelihood: {name}", interleaved(sides, repeats), next(iter(sides)))


def loosest(make: Callable[[float], Any], target: float, error: Callable[[Any], float]) -> float:
    """The loosest of six tolerances whose error is within the target, by bisection; else
    the tightest.
    """
    tolerances = [1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6]
    index = bisect.bisect_left(
        range(len(tolerances)), True, key=lambda i: error(make(tolerances[i])()) <= target
    )
    return tolerances[min(index, len(tolerances) - 1)]


def host_likelihood(
    sde: ss.SDE, score_fn: Any, x: Any, probes: Any
) -> Callable[[float], np.ndarray]:
    """The original's method: SciPy integrates the flattened batch on the host, two jitted
    passes an evaluation.
    """
    from scipy.integrate import solve_ivp

    velocity = jax.vmap(ss.probability_flow(sde, score_fn), (0, None))
    drift = jax.jit(velocity)
    divergence = jax.jit(
        lambda x, t: jnp.sum(
            jax.grad(lambda y: jnp.sum(velocity(y, t) * probes))(x) * probes,
            axis=tuple(range(1, x.ndim)),
        )
    )
    shape, size = x.shape, math.prod(x.shape)

    def solve(tolerance: float) -> np.ndarray:
        def field(t: float, state: np.ndarray) -> np.ndarray:
            y = jnp.asarray(state[:size].reshape(shape), jnp.float32)
            parts = [
                np.asarray(drift(y, t), np.float64).ravel(),
                np.asarray(divergence(y, t), np.float64),
            ]
            return np.concatenate(parts)

        start = np.concatenate([np.asarray(x, np.float64).ravel(), np.zeros(len(x))])
        end = solve_ivp(
            field, (sde.t_min, sde.t_max), start, rtol=tolerance, atol=tolerance, method="RK45"
        ).y[:, -1]
        latent = jnp.asarray(end[:size].reshape(shape), jnp.float32)
        return np.asarray(jax.vmap(lambda z: ss.prior_log_prob(sde, z))(latent)) + end[size:]

    return solve


def networks(batch: int = 16, repeats: int = 3) -> None:
    """One evaluation and one training step of full-size DDPM++ and NCSN++ on 32 x 32
    images; in bfloat16 too on GPUs.

    The operations are XLA's count before optimisation. The peak is the rate of one large
    matrix product.
    """
    published = {
        "DDPM++": cifar10_ddpmpp_continuous.get_config,
        "NCSN++": cifar10_ncsnpp_continuous.get_config,
    }
    for dtype in ("float32",) if jax.default_backend() == "cpu" else ("float32", "bfloat16"):
        peak = matmul_peak(dtype)
        print(
            f"networks: batch {batch}, {dtype}; a matrix product reaches {peak / 1e9:.0f} GFLOP/s"
        )
        for name, get_config in published.items():
            config = get_config()
            config.model.dtype = dtype
            config.training.batch_size = batch
            for what, (run, operations) in network_runs(on_noise(config)).items():
                seconds = interleaved({what: run}, repeats)[what]
                rate = operations / seconds
                print(
                    f"  {name} {what:<14} {1000 * seconds:8.1f} ms  {batch / seconds:8.1f} images/s"
                    f"  {rate / 1e9:8.0f} GFLOP/s, {rate / peak:.2f} of the peak"
                )


def compilation(repeats: int = 3) -> None:
    """Tracing and compiling the training step of 8 images, by the size of the network.

    Nothing comes from the cache on disk. A row is a ratio to the first network.
    """
    experiments = {
        "U-Net, 16 channels": ss.build(unet(channels=16)),
        "U-Net, 64 channels": ss.build(unet(channels=64)),
        "U-Net, 64 channels, 2 blocks a level": ss.build(unet(channels=64, num_res_blocks=2)),
        "U-Net, 64 channels, 4 blocks a level": ss.build(unet(channels=64, num_res_blocks=4)),
        "DDPM++ of CIFAR-10": on_noise(cifar10_ddpmpp_continuous.get_config()),
        "DDPM++ deep of CIFAR-10": on_noise(cifar10_ddpmpp_deep_continuous.get_config()),
    }
    reference = None
    for name, experiment in experiments.items():
        times = [compile_seconds(experiment) for _ in range(repeats)]
        traced, compiled = (statistics.median(column) for column in zip(*times, strict=True))
        reference = reference or traced + compiled
        size = sum(leaf.size for leaf in jax.tree.leaves(experiment.model.params))
        print(
            f"  {name:<38} {size:>12,} parameters  trace {traced / reference:5.2f}"
            f"  compile {compiled / reference:5.2f}   ({traced + compiled:.2f} s)"
        )


def unet(**options: Any) -> ConfigDict:
    """The default config, the digits and a U-Net, with these options of the network."""
    config = get_default_config()
    config.model.update(options)
    return config


def compile_seconds(experiment: Experiment) -> tuple[float, float]:
    """Seconds to trace the training step, and to compile it."""
    batch = Loader(array=experiment.source.train, batch_size=8).batch(0)
    state, key = init_state(experiment.model.params, experiment.optimizer), jax.random.key(0)
    step = make_train_step(
        experiment.loss_fn(train=True), experiment.optimizer, experiment.training.ema
    )
    jax.clear_caches()
    start = time.perf_counter()
    lowered = jax.jit(step).lower(state, batch, key)
    traced = time.perf_counter()
    lowered.compile()
    return traced - start, time.perf_counter() - traced


def on_noise(config: ConfigDict) -> Experiment:
    """The experiment of a published config, on noise in place of its images."""
    images = np.random.default_rng(0).integers(
        0, 256, (2 * config.training.batch_size, 32, 32, 3), np.uint8
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "noise.npy"
        np.save(file, images)
        config.data.source = f"npy:{file}"
        return ss.build(config)


def network_runs(experiment: Experiment) -> dict[str, tuple[Callable[[], Any], float]]:
    """One evaluation and one training step, compiled, each with its number of operations."""
    model, size = experiment.model, experiment.training.batch_size
    x, t = (
        jax.random.uniform(jax.random.key(0), (size, *model.shape)),
        jnp.linspace(0.01, 0.9, size),
    )
    evaluate = jax.jit(model.network.apply).lower(model.params, x, t)
    batch = Loader(array=experiment.source.train, batch_size=size).batch(0)
    state, key = init_state(model.params, experiment.optimizer), jax.random.key(0)
    update = jax.jit(
        make_train_step(
            experiment.loss_fn(train=True), experiment.optimizer, experiment.training.ema
        )
    ).lower(state, batch, key)
    evaluated, updated = evaluate.compile(), update.compile()
    return {
        "evaluation": (lambda: evaluated(model.params, x, t), operations(evaluate)),
        "training step": (lambda: updated(state, batch, key), operations(update)),
    }


def operations(program: jax.stages.Lowered) -> float:
    """Floating-point operations of a program, as XLA counts them."""
    costs = program.cost_analysis()
    assert costs is not None, "this backend does not count operations"
    return costs["flops"]


def matmul_peak(dtype: str, size: int = 4096, repeats: int = 5) -> float:
    """Floating-point operations a second of one large matrix product."""
    a = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / interleaved({"product": lambda: product(a, a)}, repeats)["product"]


BENCHMARKS = {
    "samplers": samplers,
    "overhead": overhead,
    "training": training,
    "likelihood_images": likelihood_images,
    "likelihood_points": likelihood_points,
    "networks": networks,
    "compilation": compilation,
}

if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    if chosen not in (*BENCHMARKS, "all"):
        sys.exit(f"usage: python scripts/benchmark.py {'|'.join([*BENCHMARKS, 'all'])}")
    print(
        f"jax {jax.__version__} on {jax.devices()[0].device_kind}, {len(jax.devices())} device(s)"
    )
    for benchmark_name, benchmark in BENCHMARKS.items():
        if chosen in (benchmark_name, "all"):
            benchmark()
