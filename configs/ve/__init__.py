"""The published VE experiments."""
