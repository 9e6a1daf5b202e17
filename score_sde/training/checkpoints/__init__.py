"""The checkpoints of a run. The only room that imports orbax."""
