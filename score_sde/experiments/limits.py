"""The largest whole numbers of a config and of the flags."""

MAX_SEED = 2**32 - 1
"""The largest seed: unless 64-bit types are enabled, JAX uses 32 bits of a seed."""

MAX_COUNT = 2**31 - 1
"""The largest number of steps or examples: both are counted in 32 bits."""
