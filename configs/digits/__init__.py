"""Score models of the 8 x 8 digits of scikit-learn: real images that need no download."""
