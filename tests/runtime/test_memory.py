"""A lack of memory is told in one line, whoever found it; every other error is left alone."""

import jax
import numpy as np
import pytest

from score_sde.runtime.memory import lack_of_memory


def test_what_numpy_cannot_allocate():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**58, np.float32)
    line = "not enough memory for 1.00 EiB: a smaller batch, model or data set takes less"
    assert lack_of_memory(caught.value) == line


def test_what_a_device_cannot_allocate():
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(jax.jit(lambda: jax.numpy.ones((2**20, 2**22)))())
    line = lack_of_memory(caught.value)
    assert (
        line is not None
        and line.startswith(f"not enough memory for {2**44} bytes: ")
        and "\n" not in line
    )


def test_what_graphics_cards_say():
    text = (
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 68719476736 "
        "bytes.\nBufferAssignment: …"
    )
    line = "not enough memory for 68719476736 bytes: a smaller batch, model or data set takes less"
    assert lack_of_memory(jax.errors.JaxRuntimeError(text)) == line


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), jax.errors.JaxRuntimeError("INTERNAL: 3 bytes")]
)
def test_other_errors(error):
    assert lack_of_memory(error) is None


def test_a_lack_without_an_amount():
    assert (
        lack_of_memory(MemoryError())
        == "not enough memory: a smaller batch, model or data set takes less"
    )
