"""The published experiments with the network of DDPM under VP."""
