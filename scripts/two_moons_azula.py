"""`two_moons.py` by azula and PyTorch, for `compare_with_azula.py`."""

import sys

import numpy as np
import torch
from azula.denoise import KarrasDenoiser
from azula.noise import VPSchedule
from azula.sample import HeunSampler
from torch import nn


class Network(nn.Module):
    """A multilayer perceptron of the sample and the time."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2),
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The output for a batch at one time, or at a time for each."""
        return self.layers(torch.cat([x, t.expand(len(x))[:, None]], dim=-1))


seed, num_steps, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[4]
torch.manual_seed(seed)
points = np.load(sys.argv[3])
data = torch.from_numpy((points - points.mean(axis=0)) / points.std(axis=0)).float()
denoiser = KarrasDenoiser(Network(), VPSchedule())
optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-3)
for _ in range(num_steps):
    x = data[torch.randint(len(data), (512,))]
    denoiser.loss(x, torch.rand(len(x))).backward()
    optimizer.step()
    optimizer.zero_grad()
sampler = HeunSampler(denoiser.eval(), steps=32)
samples = sampler(sampler.init((1000, 2)))
np.save(file, samples.numpy())
