"""Platforms of jax that cannot be started: one line that names the platform, by
whatever jax raises.
"""

import jax
import pytest

from score_sde.runtime.devices import NoDeviceError, check_devices

SET = " (set JAX_PLATFORMS='' to automatically choose an available backend)"
FAILS = "Unable to initialize backend '{}': {}"

CASES = [
    (
        "cuda",
        AssertionError(),
        "no cuda device: jax sees none on this machine; JAX_PLATFORMS is 'cuda': unset it, or",
    ),
    (
        "cuda",
        RuntimeError(
            FAILS.format("cuda", "Backend 'cuda' is not in the list of known backends: ['cpu'].")
            + SET
        ),
        "no cuda device: Backend 'cuda' is not in the list of known backends: ['cpu']; "
        "JAX_PLATFORMS is 'cuda': unset",
    ),
    (
        "gpu",
        RuntimeError(
            FAILS.format("rocm", "Backend 'rocm' is not in the list of known backends: ['cpu'].")
            + SET
        ),
        "no gpu device: Backend 'rocm' is not in the list of known backends: ['cpu']; "
        "JAX_PLATFORMS is 'gpu': unset",
    ),
    (
        "cuda",
        RuntimeError(
            FAILS.format("cuda", "RESOURCE_EXHAUSTED: : CUDA_ERROR_OUT_OF_MEMORY: out of memory")
            + SET
        ),
        "the cuda device has no free memory (RESOURCE_EXHAUSTED: : CUDA_ERROR_OUT_OF_MEMORY: out "
        "of memory); JAX_PLAT",
    ),
    (
        "tpu",
        RuntimeError(
            FAILS.format("tpu", "INTERNAL: Failed to open libtpu.so:\nno such file") + SET
        ),
        "no tpu device: INTERNAL: Failed to open libtpu.so: no such file; JAX_PLATFORMS is 'tpu': "
        "unset it, or set it",
    ),
    (
        None,
        RuntimeError(
            FAILS.format("cuda", "FAILED_PRECONDITION: No visible GPU devices.")
            + " (you may need to …)"
        ),
        "no cuda device: FAILED_PRECONDITION: No visible GPU devices; JAX_PLATFORMS=cpu does "
        "without",
    ),
    (
        "cuda",
        ImportError("libcudart.so: bad"),
        "no cuda device: libcudart.so: bad; JAX_PLATFORMS is 'cuda': unset it",
    ),
]


@pytest.mark.parametrize(("asked", "error", "line"), CASES)
def test_a_platform_that_cannot_be_started(asked, error, line, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(jax, "local_devices", fail)
    before = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", asked)
    try:
        with pytest.raises(NoDeviceError) as found:
            check_devices()
    finally:
        jax.config.update("jax_platforms", before)
    assert str(found.value).startswith(line) and "\n" not in str(found.value)


def test_one_that_can():
    check_devices()
