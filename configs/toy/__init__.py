"""Score models of two-dimensional data, for a look at what is learned."""
