"""Missing platforms and out-of-memory errors of any library are reported in one line."""

import resource

import jax
import numpy as np
import pytest

from score_sde.runtime.resources import (
    NoDeviceError,
    allow_open_files,
    check_devices,
    lack_of_memory,
)

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


def test_a_platform_that_can_be_started():
    check_devices()


def test_out_of_memory_errors_of_numpy():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**58, np.float32)
    line = "not enough memory for 1.00 EiB: a smaller batch, model or data set takes less"
    assert lack_of_memory(caught.value) == line


def test_out_of_memory_errors_of_xla():
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(jax.jit(lambda: jax.numpy.ones((2**20, 2**22)))())
    line = lack_of_memory(caught.value)
    assert (
        line is not None
        and line.startswith(f"not enough memory for {2**44} bytes: ")
        and "\n" not in line
    )


def test_out_of_memory_errors_of_gpus():
    text = (
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 68719476736 "
        "bytes.\nBufferAssignment: …"
    )
    line = "not enough memory for 68719476736 bytes: a smaller batch, model or data set takes less"
    assert lack_of_memory(jax.errors.JaxRuntimeError(text)) == line


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), jax.errors.JaxRuntimeError("INTERNAL: 3 bytes")]
)
def test_other_errors_are_not_about_memory(error):
    assert lack_of_memory(error) is None


def test_an_out_of_memory_error_without_an_amount():
    assert (
        lack_of_memory(MemoryError())
        == "not enough memory: a smaller batch, model or data set takes less"
    )


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ((22, 4096), (128, 4096)),
        ((22, resource.RLIM_INFINITY), (128, resource.RLIM_INFINITY)),
        ((1024, 4096), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_a_low_limit_of_open_files_is_raised(limits, wanted, monkeypatch):
    found = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: found.append(new))
    allow_open_files()
    assert found == [wanted] * (wanted is not None)


def test_too_few_open_files_are_an_error_with_its_remedy(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (22, 22))
    with pytest.raises(ValueError, match=r"only 22 files open here, .* by ulimit -n 128$"):
        allow_open_files()
