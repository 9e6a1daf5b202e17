"""Eight fake CPU devices, and types checked at run time."""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Eight fake devices on few cores can time out in a collective when steps are dispatched
# asynchronously.
os.environ["JAX_CPU_ENABLE_ASYNC_DISPATCH"] = "0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("score_sde", "beartype.beartype")

# The first example compiles: a deadline in milliseconds would only fail on a busy
# machine.
settings.register_profile("score_sde", deadline=None)
settings.load_profile("score_sde")
