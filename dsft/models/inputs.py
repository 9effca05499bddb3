"""Adapt the first layers of a network to another number of image channels."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from dsft.errors import ModelError
from dsft.models.input_kernels import adapt_kernel
from dsft.models.libraries import library_of
from dsft.models.spec import LoadedModel
from dsft.models.weights import load_weights
from dsft.preprocessing import InputPreprocessing


def replace_input(loaded: LoadedModel, in_chans: int) -> LoadedModel:
    """Adapt a network to another number of image channels; all other weights are kept.

    For one channel the kernels are summed over the channels, so that a grayscale image has the same result as with
    three equal channels. Otherwise the kernels are repeated and scaled, as in timm.

    Args:
        loaded: The network; it is not modified.
        in_chans: Number of image channels.

    Returns:
        A new network.

    Raises:
        ModelError: The first layer is not a convolution.
    """
    before, spec = loaded.spec.in_chans, dataclasses.replace(loaded.spec, in_chans=in_chans)
    library = library_of(spec.source, spec.name)
    state = loaded.module.state_dict()
    try:
        for name in library.input_layers(loaded.module):
            key = f"{name}.weight"
            state[key] = adapt_kernel(state[key], before, in_chans)
    except NotImplementedError as error:
        raise ModelError(
            f"model {spec}: the first layer cannot be adapted from {before} to {in_chans} image channels. Use "
            f"{before}, or train from scratch."
        ) from error
    module = library.build(spec)
    load_weights(module, state, f"model {spec} with {in_chans} image channels")
    preprocessing = for_channels(library.preprocessing(spec.name), in_chans)
    return dataclasses.replace(loaded, module=module, spec=spec, preprocessing=preprocessing)


Kind = TypeVar("Kind", bound=InputPreprocessing)


def for_channels(preprocessing: Kind, channels: int) -> Kind:
    """Return an evaluation transform for another number of channels, each with the average mean and std."""
    if channels == preprocessing.channels:
        return preprocessing
    mean = sum(preprocessing.mean) / len(preprocessing.mean)
    std = sum(preprocessing.std) / len(preprocessing.std)
    return preprocessing.replace(channels=channels, mean=(mean,) * channels, std=(std,) * channels)
