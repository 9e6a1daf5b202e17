"""Draw from a trained model by three methods: one sample, a compiled batch, and a batch over
all devices.

python scripts/draw.py --workdir=runs/digits --num_samples=64 --output=samples.npy
"""

import argparse
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

import score_sde as ss


def main(argv: list[str] | None = None) -> None:
    """Draw by each method, and compare the samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", help="the folder of a run; a toy is trained unless given")
    parser.add_argument("--num_samples", type=int, default=64)
    parser.add_argument("--num_steps", type=int, default=1000, help="of the training of the toy")
    parser.add_argument("--output", default="samples.npy")
    flags = parser.parse_args(argv)
    if flags.workdir:
        model = ss.load(flags.workdir)
    else:
        data = np.asarray(ss.data.moons(num_examples=4000, noise=0.07).train)
        network, steps = ss.mlp(dim=2), flags.num_steps
        model = ss.fit(jax.random.key(0), ss.VPSDE(), network, data, num_steps=steps)

    # Parameters are an argument of the function of one sample, so that other parameters
    # need no second compilation.
    def draw(params: Any, key: jax.Array) -> jax.Array:
        return model.draw(params, key, sampler=ss.default_sampler(nfe=20)).x

    key = jax.random.key(1)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(flags.num_samples))
    one = jax.jit(draw)(model.params, keys[0])

    batched = jax.vmap(draw, in_axes=(None, 0))
    batch = jax.jit(batched)(model.params, keys)

    # Each device draws its rows, and has its own copy of the parameters.
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows, everywhere = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        batched, mesh=mesh, in_specs=(everywhere, rows), out_specs=rows, check_vma=False
    )
    over_devices = jax.jit(sharded)(model.params, keys)

    print(f"one against the batch: {abs(one - batch[0]).max():.1e}")
    print(f"the batch against {len(jax.devices())} devices: {abs(batch - over_devices).max():.1e}")
    np.save(flags.output, np.asarray(model.scaling.to_data(batch)))
    print(f"{flags.num_samples} samples in {flags.output}")


if __name__ == "__main__":
    main()
