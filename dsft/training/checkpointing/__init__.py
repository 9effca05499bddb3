"""Checkpoints: what they contain, when they are saved, and the signals that ask for one."""
