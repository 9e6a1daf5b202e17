"""Figures, drawn by matplotlib and Pillow."""
