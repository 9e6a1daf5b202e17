"""NCSNv2."""
