"""Optimizer, parameter groups, learning-rate schedule, freezing, and averages of the weights."""
