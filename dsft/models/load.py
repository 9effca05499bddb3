"""Load a network with random weights, published weights, or the weights of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dsft.choices import ModelSource
from dsft.errors import CheckpointError, ModelError
from dsft.models import timm_library
from dsft.models.detector import Detector, count_classes
from dsft.models.heads import head_parameters, replace_head
from dsft.models.inputs import for_channels, replace_input
from dsft.models.libraries import Library, library_of
from dsft.models.spec import LoadedModel, ModelSpec
from dsft.models.weights import load_weights, read_weights
from dsft.preprocessing import InputPreprocessing
from dsft.progress import Report, ignore


def preprocessing_of(spec: ModelSpec) -> InputPreprocessing:
    """Return the evaluation transform of the published weights of a spec's network.

    Raises:
        ModelError: The library has no network of that name.
    """
    return for_channels(library_of(spec.source, spec.name).preprocessing(spec.name), spec.in_chans)


def preprocessing_from_module(module: nn.Module, spec: ModelSpec) -> InputPreprocessing:
    """Return the evaluation transform in the ``pretrained_cfg`` of a network that timm built."""
    return for_channels(timm_library.preprocessing_from_module(module), spec.in_chans)


def load_model(
    source: ModelSource,
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: Path | None = None,
    in_chans: int | None = None,
    classes: tuple[str, ...] | None = None,
    num_classes: int | None = None,
    report: Report = ignore,
) -> LoadedModel:
    """Build a network and initialise or load its weights.

    Args:
        source: A library, timm or torchvision.
        name: The library's name of the network.
        pretrained: Load the published weights, from the local cache or by download.
        checkpoint: Load a weights file instead.
        in_chans: Number of image channels; None for that of the weights, or 3 for random weights. The weights of the
            first layer are adapted as in timm (summed for one channel, else repeated and scaled).
        classes: The class names that the checkpoint was trained on, in the order of its outputs.
        num_classes: Number of outputs; None for that of the weights, or 1000 for random weights. If the weights have
            another number, the head is replaced by an untrained one.
        report: Receives a message before a download.

    Raises:
        ModelError: The name is unknown, or there are no published weights.
        PretrainedWeightsError: The published weights are neither in the local cache nor can they be downloaded.
        CheckpointError: The weights file is damaged, has an unknown format or does not fit.
    """
    library = library_of(source, name)
    if pretrained and checkpoint is not None:
        raise ModelError(f"model {source}/{name}: pretrained and checkpoint exclude each other; choose one of them.")
    if pretrained:
        loaded = _pretrained(library, name, report)
    elif checkpoint is not None:
        loaded = _from_file(library, name, checkpoint, classes)
    else:
        default = library.default_spec(name, None)
        spec = dataclasses.replace(
            default, num_classes=num_classes or default.num_classes, in_chans=in_chans or default.in_chans
        )
        loaded = _loaded(library, name, library.build(spec), spec, None, ("Random weights.",))
    if in_chans is not None and in_chans != loaded.spec.in_chans:
        loaded = replace_input(loaded, in_chans)
    if num_classes is not None and num_classes != loaded.spec.num_classes:
        loaded = replace_head(loaded, num_classes, None)
    return loaded


def _pretrained(library: Library, name: str, report: Report) -> LoadedModel:
    module, spec, classes = library.load_pretrained(name, report)
    # A spec may add a tag to the name that was asked for, and has only the architecture of a network in a repository.
    origin = spec if spec.name.startswith(name) else f"{spec.source}/{name}"
    return _loaded(library, name, module, spec, classes, (f"Pretrained weights of {origin}.",))


def _from_file(library: Library, name: str, path: Path, classes: tuple[str, ...] | None) -> LoadedModel:
    weights = read_weights(path)
    state = weights.state
    spec = library.default_spec(name, state)
    module = library.build(spec)
    if not set(state) <= set(module.state_dict()):
        state = library.rename_keys(state, module)
    fitting = _spec_of_weights(library, spec, module, state)
    if fitting != spec:
        module = library.build(fitting)
    try:
        load_weights(module, state, f"checkpoint {str(path)!r} for {spec}")
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} Name the network that the weights are of, or for a network of your own a function that builds it."
        ) from error
    if classes is not None and len(classes) != fitting.num_classes:
        raise CheckpointError(
            f"checkpoint {str(path)!r}: model.classes must name its {fitting.num_classes} classes, "
            f"found {len(classes)} names."
        )
    return _loaded(library, name, module, fitting, classes, (weights.origin,))


def _spec_of_weights(library: Library, spec: ModelSpec, module: nn.Module, state: Mapping[str, Tensor]) -> ModelSpec:
    """Infer the number of classes and of image channels from the shapes of the weights."""
    # A head may start with a norm, whose parameters do not depend on the number of classes.
    heads = [state[name] for name in head_parameters(module) if name in state and state[name].ndim > 1]
    num_classes = heads[0].shape[0] if heads else spec.num_classes
    if isinstance(module, Detector):
        num_classes = count_classes(module, state)
    in_chans = spec.in_chans
    for name in library.input_layers(module):
        key = f"{name}.weight"
        if key in state and state[key].ndim > 2:
            # A space-to-depth stem has a multiple of the image's channels.
            in_chans = state[key].shape[1] * spec.in_chans // module.get_parameter(key).shape[1]
    return dataclasses.replace(spec, num_classes=num_classes, in_chans=in_chans or spec.in_chans)


def _loaded(
    library: Library,
    name: str,
    module: nn.Module,
    spec: ModelSpec,
    classes: tuple[str, ...] | None,
    notes: tuple[str, ...],
) -> LoadedModel:
    # By the name that was asked for: that of a spec may be the architecture alone, without what is published with it.
    return LoadedModel(
        module,
        spec,
        for_channels(library.preprocessing(name), spec.in_chans),
        classes,
        library.is_fixed_size(name),
        notes,
        library.task_of(spec.name),
    )
