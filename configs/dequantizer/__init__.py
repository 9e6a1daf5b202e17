"""Variational dequantizers for trained image models."""
