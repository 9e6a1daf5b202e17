"""The process and its machine: names, files, processes, signals, progress."""
