"""NCSN, and its steps towards NCSNv2."""
