"""Conditional sampling with an unconditional score: constraints and measurements."""

from score_sde.conditioning.inpainting import Inpainting

__all__ = ["Inpainting"]
