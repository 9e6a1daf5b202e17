"""Golden file of the noise-conditional classifier of Score-SDE in JAX: a small checkpoint in
its layout, and its logits.

    git clone https://github.com/yang-song/score_sde
    python scripts/make_classifier_golden.py score_sde      writes
    tests/golden/flax_classifier

The network is the original's, read from ``models/wideresnet_noise_conditional.py`` of the
clone, with one block in a group. The layout is that of flax 0.3, in which the parameters
of normalisations have the shape (1, 1, 1, c). The weights are random; those of
layers that multiply have three values, so that the file stays small.
"""

import gzip
import importlib.util
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import serialization

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
MEAN = np.array([0.49139968, 0.48215841, 0.44653091], np.float32)
STD = np.array([0.24703223, 0.24348513, 0.26158784], np.float32)
"""The mean and standard deviation of CIFAR-10 that the original's sampler normalises by."""


def original_network(clone: Path) -> Any:
    """The classifier of a clone of Score-SDE, of one block in a group."""
    file = clone / "models" / "wideresnet_noise_conditional.py"
    spec = importlib.util.spec_from_file_location("original", file)
    if spec is None or spec.loader is None or not file.exists():
        raise SystemExit(f"no {file}: give the folder of a clone of score_sde")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WideResnet(blocks_per_group=1, channel_multiplier=1, num_outputs=10)


def random_leaf(path: Any, leaf: Any, generator: np.random.Generator) -> np.ndarray:
    """A weight of the checkpoint, of about the size of a trained one."""
    name = jax.tree_util.keystr(path)
    if leaf.ndim > 1:
        values = generator.integers(-1, 2, leaf.shape) * (1.5 / np.prod(leaf.shape[:-1])) ** 0.5
    else:
        values = generator.normal(size=leaf.shape) * (1.0 if "'W'" in name else 0.3)
        values += "scale" in name
    return values.astype(np.float32)


def main(clone: str) -> None:
    """Write the checkpoint and the logits."""
    network, generator = original_network(Path(clone)), np.random.default_rng(0)
    x = generator.uniform(size=(4, 32, 32, 3)).astype(np.float32)
    sigma = np.array([0.01, 0.3, 4.0, 50.0], np.float32)
    x = x + sigma[:, None, None, None] * generator.normal(size=x.shape).astype(np.float32)
    params = network.init(jax.random.key(0), x, sigma, train=False)["params"]
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: random_leaf(path, leaf, generator), params
    )
    logits = network.apply({"params": params}, (x - MEAN) / STD, sigma, train=False)

    def as_in_2021(path: Any, leaf: np.ndarray) -> np.ndarray:
        is_norm = any(part in jax.tree_util.keystr(path) for part in ("_bn", "bn_2", "-bn"))
        return leaf.reshape(1, 1, 1, -1) if is_norm else leaf

    saved = jax.tree_util.tree_map_with_path(as_in_2021, params)
    data = serialization.msgpack_serialize(serialization.to_state_dict(saved))
    GOLDEN.joinpath("flax_classifier.msgpack.gz").write_bytes(gzip.compress(data, 9, mtime=0))
    np.savez_compressed(GOLDEN / "flax_classifier.npz", x=x, sigma=sigma, logits=np.asarray(logits))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
