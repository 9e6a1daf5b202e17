"""Likelihoods: by the probability-flow ODE, bounds of them, and dequantization of discrete data."""
