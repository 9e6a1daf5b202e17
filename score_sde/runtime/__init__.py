"""The process and its machine: names, files, fingerprints, processes, signals, progress."""
