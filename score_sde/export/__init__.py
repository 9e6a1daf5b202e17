"""Files of this package's own: an exported model, a tensor file, a sampler as StableHLO."""
