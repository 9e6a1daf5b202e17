"""Writers of the metrics and images of a run."""
