"""Two moons from an array: trained and drawn.

python scripts/two_moons.py [SEED [FILE.npy]]
"""

import sys

import jax
import numpy as np

import score_sde as ss

seed, file = int(sys.argv[1] if sys.argv[1:] else 0), (*sys.argv[2:], None)[0]
points = np.asarray(ss.data.moons(num_examples=9102, noise=0.14, seed=seed).train)
data = (points - points.mean(axis=0)) / points.std(axis=0)
train_key, sample_key = jax.random.split(jax.random.key(seed))
model = ss.fit(train_key, ss.VPSDE(), ss.mlp(dim=2), data, num_steps=500, batch_size=512)
samples = ss.sample_many(sample_key, model, 1000)
if file:
    np.save(file, samples)
