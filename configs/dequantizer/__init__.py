"""Dequantizers for trained models of images."""
