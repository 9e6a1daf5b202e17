"""Score models of two-dimensional data."""
