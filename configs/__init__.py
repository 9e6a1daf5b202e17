"""Experiments, one file each; ``default.py`` holds every default."""
