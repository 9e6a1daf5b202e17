"""The published sub-VP experiments."""
