"""Eight fake CPU devices, types checked at run time, and object storage in memory."""

import itertools
import os
import secrets

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Eight fake devices on few cores can time out in a collective when steps are dispatched
# asynchronously.
os.environ["JAX_CPU_ENABLE_ASYNC_DISPATCH"] = "0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("score_sde", "beartype.beartype")

# The first example compiles: a deadline in milliseconds would only fail on a busy
# machine.
settings.register_profile("score_sde", deadline=None)
settings.load_profile("score_sde")


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """The name of a new bucket of ``memory://``; copies are forgotten before and after."""
    pytest.importorskip("fsspec", reason="the extra cloud is not installed")
    from score_sde.runtime import working_copy

    monkeypatch.setenv("SCORE_SDE_CACHE", str(tmp_path / "cache"))
    working_copy.forget()
    yield f"bucket-{secrets.token_hex(4)}"
    working_copy.forget()


@pytest.fixture
def failing(monkeypatch):
    """A function that lets each so many-th operation of ``memory://`` fail, without pauses
    between tries; it returns a function that counts the operations.
    """
    from fsspec.implementations.memory import MemoryFileSystem

    from score_sde.runtime import object_store

    def start(*, every, error=None):
        counter = itertools.count(1)
        last = [0]
        monkeypatch.setattr(object_store, "PAUSES", (0.0, 0.0, 0.0))
        for name in ("find", "cat_file", "get_file", "pipe_file", "put_file", "rm_file"):
            operation = getattr(MemoryFileSystem, name)

            def failing_one(self, *arguments, operation=operation, **options):
                last[0] = next(counter)
                if every and last[0] % every == 0:
                    raise error or ConnectionError("the line is dead")
                return operation(self, *arguments, **options)

            monkeypatch.setattr(MemoryFileSystem, name, failing_one)
        return lambda: last[0]

    return start
