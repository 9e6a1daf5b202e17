"""Draws images from a sampler that `score-sde export --sampler=FILE` wrote: with jax
and NumPy, without score_sde.

python scripts/draw_from_stablehlo.py FILE [NUM_SAMPLES [SEED]]     writes FILE's name with .npz beside it
"""  # noqa: E501

import sys
from pathlib import Path

import jax
import numpy as np


def main(name: str, num_samples: str = "16", seed: str = "0") -> None:
    """Draw the images 0 to NUM_SAMPLES - 1 of a seed."""
    path = Path(name)
    try:
        call = jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)
    except (OSError, MemoryError) as error:
        sys.exit(f"cannot read {path}: {error}")
    except ImportError as error:
        sys.exit(f"reading a sampler needs jax, NumPy and flatbuffers: {error}")
    except Exception as error:  # damaged bytes may raise anything
        sys.exit(f"{path} is not an exported sampler, or damaged ({type(error).__name__})")
    images = np.asarray(call(np.uint32(seed), np.arange(int(num_samples), dtype=np.uint32)))
    np.savez_compressed(path.with_suffix(".npz"), samples=images)
    print(f"{images.shape} {images.dtype} in {path.with_suffix('.npz')}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
