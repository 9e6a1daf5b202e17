"""Checkpoints of other projects, read without executing code, and our own exports."""
