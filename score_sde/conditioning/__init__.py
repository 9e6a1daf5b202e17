"""Draws under conditions: constraints and measurements, for a score of unconditional data."""

from score_sde.conditioning.inpainting import Inpainting

__all__ = ["Inpainting"]
