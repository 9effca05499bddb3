"""Optimizer, parameter groups, schedule, freezing and averages of the weights."""
