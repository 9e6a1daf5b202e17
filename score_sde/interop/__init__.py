"""Checkpoints of other projects, read without executing code."""
