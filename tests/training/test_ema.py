import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_sde.training import EMA


def test_equals_the_recursion_written_out():
    ema, mean, expected = EMA(decay=0.5), jnp.zeros(2), np.zeros(2)
    for n in range(1, 15):
        params = np.array([n, -(n**2)], np.float64)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * params
        mean = ema.update(mean, jnp.asarray(params, jnp.float32), n)
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_warmup_only_changes_the_start():
    assert EMA(decay=0.9999).decay_at(1) == pytest.approx(2 / 11)
    assert EMA(decay=0.9999).decay_at(10**6) == pytest.approx(0.9999)
    assert EMA(decay=0.9999, warmup=False).decay_at(1) == pytest.approx(0.9999)


def test_keeps_the_type_of_the_average_and_works_under_jit():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    found = jax.jit(EMA(decay=0.5).update)(params, {"w": jnp.zeros(3, jnp.bfloat16)}, jnp.int32(100))
    assert found["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(found["w"].astype(jnp.float32), 0.5)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_wrong_decay(decay):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), not"):
        EMA(decay=decay)
