"""Describe the evaluation transform of signals step by step, so that other programs can reproduce it exactly."""

from __future__ import annotations

from typing import Any

from dsft.data.spectrogram import FLOOR
from dsft.preprocessing import SignalPreprocessing


def describe_signal_steps(preprocessing: SignalPreprocessing) -> list[dict[str, Any]]:
    """Return the operations from a signal to the input tensor, in order, as JSON values."""
    steps: list[dict[str, Any]] = [_describe_decoding(preprocessing)]
    if preprocessing.rate is not None:
        rule = "polyphase FIR filter with a Kaiser window of beta 5.0, as scipy.signal.resample_poly"
        steps.append({"op": "resample", "rate": preprocessing.rate, "filter": rule})
    if preprocessing.spacing is not None:
        rule = "linear between the centres of voxels, as scipy.ndimage.zoom with order 1, grid_mode and mode nearest"
        steps.append({"op": "resample_volume", "spacing": list(preprocessing.spacing), "rule": rule})
    steps.append({"op": "mix_channels", "to": preprocessing.channels, "rule": "mean if 1, else repeat a single one"})
    steps += _describe_size(preprocessing)
    if (mel := preprocessing.spectrogram) is not None:
        frames = {"window": "periodic Hann", "size": mel.window, "hop": mel.hop, "centred": True, "padding": "reflect"}
        bands = {"bands": mel.bands, "low": mel.low, "high": mel.high, "scale": "2595 log10(1 + f / 700)"}
        steps += [
            {"op": "power_spectrum", **frames},
            {"op": "mel_bands", **bands, "filters": "triangles of height 1"},
            {"op": "decibels", "rule": "10 log10(max(power, floor))", "floor": FLOOR},
        ]
    steps.append({"op": "normalize", "mean": list(preprocessing.mean), "std": list(preprocessing.std)})
    return steps


def _describe_decoding(preprocessing: SignalPreprocessing) -> dict[str, Any]:
    """Return what a file is decoded to: sound, or, where there is a spacing, the voxels of a NIfTI file."""
    if preprocessing.spacing is None:
        return {"op": "decode", "dtype": "float32", "range": [-1, 1], "layout": "CL"}
    axes = "depth to superior, height to anterior, width to right, as nibabel.as_closest_canonical transposed"
    return {"op": "decode", "dtype": "float32", "layout": "CDHW", "axes": axes}


def _describe_size(preprocessing: SignalPreprocessing) -> list[dict[str, Any]]:
    """Return how the samples become those of inputs: their centre, several windows, or windows over all of them."""
    length, overlap = list(preprocessing.length), preprocessing.window_overlap
    placed = {"length": length, "offset": "int((length - samples) / 2), truncated towards zero", "fill": 0}
    if overlap is not None:
        start = "multiples of max(int(size * (1 - overlap)), 1) below samples - size, and samples - size"
        windows = {"op": "windows", "size": length, "overlap": overlap, "start": start, "outputs": "mean"}
        return [{"op": "pad", **placed, "where": "axes with fewer samples than length"}, windows]
    if preprocessing.windows > 1:
        start = "max(samples - length, 0) * number // (windows - 1), number from 0; shorter signals as without windows"
        outputs = "mean of the probabilities of the windows"
        placed |= {"windows": preprocessing.windows, "start": start, "outputs": outputs}
    return [{"op": "crop_or_pad", **placed}]
