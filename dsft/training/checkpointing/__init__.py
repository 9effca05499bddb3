"""Checkpoints, the history of a run, and when its state is saved."""
