"""Classifiers of noisy images, for guidance."""
