"""The published VP experiments."""
