"""Fit a converted network to the original on calibration data."""
