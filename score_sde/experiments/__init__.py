"""From a config to an experiment, and from a workdir to a trained model."""
