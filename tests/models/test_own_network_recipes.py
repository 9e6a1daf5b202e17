"""The recipe for a score in PyTorch, of docs/own_networks.md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import score_sde as ss


def test_a_score_in_pytorch_samples_and_has_no_derivative():
    torch = pytest.importorskip("torch")

    @torch.no_grad()
    def on_host(x, t):
        x, t = torch.from_numpy(np.array(x, np.float32)), torch.from_numpy(np.array(t, np.float32))
        assert t.expand(x.shape[:-1]).shape == x.shape[:-1]
        return (-x).numpy()

    def score_fn(x, t):
        x, t = jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32)
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(on_host, shape, x, t, vmap_method="expand_dims")

    def draw(key):
        return ss.sample(key, ss.VPSDE(), score_fn, ss.Heun(num_steps=5), (2,)).x

    keys = jax.random.split(jax.random.key(0), 500)
    # The score of N(0, 1), which VP keeps: of 1000 numbers the std is within 5 errors.
    assert abs(float(jnp.std(jax.jit(jax.vmap(draw))(keys))) - 1.0) < 5 / np.sqrt(2 * 1000)
    with pytest.raises(ValueError, match="do not support JVP"):
        ss.log_likelihood(jax.random.key(0), ss.VPSDE(), score_fn, jnp.ones(2))
