"""Where the metrics and figures of a run go."""
