"""Networks that the user's own code builds, described as networks of a library are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dsft.assembly.inputs import DataInput
from dsft.choices import InputKind, ModelSource
from dsft.conversion import copy_network, unwrap_network
from dsft.data.inputs import INPUTS
from dsft.errors import CheckpointError, ModelError
from dsft.measure import run_example
from dsft.models import (
    Builder,
    Detector,
    LoadedModel,
    ModelSpec,
    identify,
    load_weights,
    read_weights,
    replace_head,
    wrap_detector,
)
from dsft.models.inputs import for_channels
from dsft.models.timm_library import read_preprocessing
from dsft.preprocessing import (
    ClipPreprocessing,
    ImageSize,
    InputPreprocessing,
    Preprocessing,
    SignalPreprocessing,
    as_height_and_width,
)
from dsft.tasks import CLASSIFICATION, DETECTION, Task, task_named

Moments = tuple[float, ...]
"""Means or standard deviations of the channels."""


@dataclass(frozen=True)
class InputFormat:
    """The input that a network takes, as far as the user states it.

    A value of None is taken from the network's attribute ``pretrained_cfg``, a mapping as timm's networks have it
    (``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``, ``crop_mode``). Otherwise timm's defaults
    apply: 224 pixels, mean and standard deviation of ImageNet, bicubic interpolation, the central 87.5 %. An
    ``input_size`` of other than three numbers, such as ``(channels, length)``, is that of signals, beside which
    ``rate`` may be stated; if the data are clips it is ``(channels, frames, height, width)``, beside which ``stride``
    may be stated. Both are not normalised by default.

    Attributes:
        image_size: Side of the images in pixels, or height and width.
        channels: Image channels; None for those of the first convolution.
        mean: Mean of each channel, on the scale 0 to 1.
        std: Standard deviation of each channel, on the scale 0 to 1.
        data: The data, where they determine what the network does not state; None for images.
    """

    image_size: ImageSize | None = None
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    data: DataInput | None = None


def build_own(
    builder: Builder, stated: InputFormat, preprocessing: InputPreprocessing | None = None, task: Task = CLASSIFICATION
) -> LoadedModel:
    """Call a builder, and determine the input format and the number of outputs of its network.

    Args:
        builder: The user's function.
        stated: Its input format, as far as it is known.
        preprocessing: The whole evaluation transform, if a model folder records it; then ``stated`` is ignored.
        task: What the outputs mean.

    Raises:
        ModelError: The builder fails, or its network cannot be run on such inputs or is no classifier.
    """
    known = preprocessing or stated.data
    module = builder.build(known.arguments if known is not None else {})
    preprocessing = preprocessing or state_preprocessing(module, stated, task)
    try:
        return describe_module(module, str(builder), preprocessing, task)
    except ModelError:
        raise
    except Exception as error:
        raise builder.explain(error, _describe_run(module, preprocessing)) from error


def copy_own(module: nn.Module, name: str, stated: InputFormat, task: Task = CLASSIFICATION) -> LoadedModel:
    """Copy a network from Python to the CPU, and determine its number of outputs.

    Args:
        module: The network; it is left unchanged.
        name: What messages and manifests call it.
        stated: Its input format, as far as it is known.
        task: What its outputs mean.

    Raises:
        ModelError: It cannot be run on such images, or is not a classifier.
        ConversionError: It is not a network, or one that cannot be copied.
    """
    copied_module = copy_network(unwrap_network(module)).cpu()
    preprocessing = state_preprocessing(copied_module, stated, task)
    try:
        described = describe_module(copied_module, name, preprocessing, task)
    except ModelError:
        raise
    except Exception as error:
        kind, shape = preprocessing.kind, " x ".join(map(str, preprocessing.shape))
        advice = _advise_kind(copied_module, kind) or f"Set {preprocessing.size_key} to the size that it takes"
        raise ModelError(
            f"model {name}: running it on {kind.with_article} of {shape} failed ({type(error).__name__}: {error}). "
            f"{advice}."
        ) from error
    # A network that timm built is saved so that it loads by itself.
    spec = identify(copied_module, lambda plain: plain)
    return described if spec is None else dataclasses.replace(described, spec=spec)


def describe_module(
    module: nn.Module, name: str, preprocessing: InputPreprocessing, task: Task = CLASSIFICATION
) -> LoadedModel:
    """Describe a network of the user's own. It is run once on a black image to count its outputs.

    Raises:
        ModelError: Its output is not what the task needs, such as one row of class scores per image.
        Exception: Whatever the network raises.
    """
    if task is DETECTION:
        module = wrap_detector(module, name)
    outputs = count_outputs(module, preprocessing, task)
    spec = ModelSpec(ModelSource.PYTHON, name, outputs, preprocessing.channels)
    return LoadedModel(
        module, spec, preprocessing, None, fixed_size=False, notes=("Weights as given.",), task=task.name
    )


def count_outputs(module: nn.Module, preprocessing: InputPreprocessing, task: Task = CLASSIFICATION) -> int:
    """Return the number of outputs of a network: class scores of an image, a pixel or a box, or image channels.

    Raises:
        ModelError: Its output is not what the task needs, such as one row of class scores per image.
    """
    outputs, _ = task.codec.split_outputs(run_example(module, INPUTS[preprocessing.kind].blank(preprocessing, 1)))
    if isinstance(module, Detector):
        return module.num_classes
    return outputs.shape[1]


def state_preprocessing(module: nn.Module, stated: InputFormat, task: Task = CLASSIFICATION) -> InputPreprocessing:
    """Return the evaluation transform of a network of the user's own.

    Raises:
        ModelError: The stated values are invalid.
    """
    config: Any = getattr(module, "pretrained_cfg", None)
    given = config if isinstance(config, Mapping) else {}
    try:
        own = _read_config(given, task, stated.data.kind if stated.data is not None else InputKind.SIGNAL)
    except Exception as error:  # the mapping is the user's
        raise ModelError(
            f"pretrained_cfg of the network: must be a mapping as timm's networks have it, such as {{'input_size': "
            f"(3, 224, 224), 'mean': (0.5, 0.5, 0.5)}}, found {given!r} ({type(error).__name__}: {error})."
        ) from error
    if stated.data is not None:
        is_known = own.kind is stated.data.kind
        first = _first_convolution(module)
        channels = stated.channels or (first.in_channels if first is not None else None)
        own = stated.data.adapt(own, type(module).__name__) if is_known else stated.data.fit(channels)
    elif isinstance(own, Preprocessing):
        own = for_channels(own, stated.channels or _channels_of(module) or own.channels)
        if stated.image_size is not None:
            own = dataclasses.replace(own, image_size=as_height_and_width(stated.image_size))
    return _with_moments(own, stated)


def _read_config(config: Mapping[str, Any], task: Task, kind: InputKind) -> InputPreprocessing:
    """Return the evaluation transform that a network states, with defaults for what it does not state.

    Args:
        config: What it states.
        task: What its outputs mean.
        kind: What the data are, if they are no images.
    """
    size = tuple(config.get("input_size", ()))
    if size and len(size) != 3:
        channels, *length = map(int, size)
        mean, std = (tuple(config.get(key, (own,) * channels)) for key, own in (("mean", 0.0), ("std", 1.0)))
        return _STATED[kind](config, length, channels, mean, std)
    # timm takes an empty mapping for none.
    return read_preprocessing({"crop_mode": "center", **task.codec.input_defaults, **config})


def _stated_signal(
    config: Mapping[str, Any], size: Sequence[int], channels: int, mean: Moments, std: Moments
) -> InputPreprocessing:
    return SignalPreprocessing(tuple(size), channels, mean, std, config.get("rate"))


def _stated_clip(
    config: Mapping[str, Any], size: Sequence[int], channels: int, mean: Moments, std: Moments
) -> InputPreprocessing:
    frames, height, width = size
    return ClipPreprocessing(frames, int(config.get("stride", 1)), (height, width), channels, mean, std)


_STATED: Mapping[InputKind, Callable[..., InputPreprocessing]] = {
    InputKind.SIGNAL: _stated_signal,
    InputKind.CLIP: _stated_clip,
}
"""The input that a network states with sizes of other than two axes, by what the data are."""


def _describe_run(module: nn.Module, preprocessing: InputPreprocessing) -> str:
    shape = " x ".join(map(str, preprocessing.shape))
    option = " or --image-size" if preprocessing.kind is InputKind.IMAGE else ""
    advice = _advise_kind(module, preprocessing.kind) or f"{preprocessing.size_key}{option} sets another size"
    return f"running its network on {preprocessing.kind.with_article} of {shape} ({advice})"


def _advise_kind(module: nn.Module, kind: InputKind) -> str:
    """Return what to do if a network that was run on images takes other inputs; empty if it may take images."""
    first = _first_convolution(module)
    if kind is not InputKind.IMAGE or first is None or isinstance(first, nn.Conv2d):
        return ""
    size = (first.in_channels, 3000) if isinstance(first, nn.Conv1d) else (first.in_channels, 32, 32, 32)
    return (
        f"its first convolution is a {type(first).__name__}: state the input that it takes, such as "
        f"network.pretrained_cfg = {{'input_size': {size}}}, or give data of its kind"
    )


def _with_moments(own: InputPreprocessing, stated: InputFormat) -> InputPreprocessing:
    """Return an evaluation transform with the stated mean and standard deviation."""
    if stated.mean is None and stated.std is None:
        return own
    for key, values in (("mean", stated.mean), ("std", stated.std)):
        if values is not None and len(values) != own.channels:
            raise ModelError(
                f"model.{key}: expected one number for each of the {own.channels} {own.kind} channels, found "
                f"{list(values)!r}."
            )
    return own.replace(mean=stated.mean or own.mean, std=stated.std or own.std)


def with_weights(loaded: LoadedModel, path: Path, classes: tuple[str, ...] | None) -> LoadedModel:
    """Load a weights file into a network of the user's own, in place.

    Raises:
        CheckpointError: The file is damaged or does not fit the network, or the number of class names differs.
    """
    weights = read_weights(path)
    load_weights(loaded.module, weights.state, f"checkpoint {str(path)!r} for {loaded.spec.name}")
    return with_classes(dataclasses.replace(loaded, notes=(weights.origin,)), classes)


def with_classes(loaded: LoadedModel, classes: tuple[str, ...] | None) -> LoadedModel:
    """Name the outputs of a network.

    Raises:
        CheckpointError: The number of names is not that of the outputs.
    """
    if classes is not None and len(classes) != loaded.spec.num_classes:
        raise CheckpointError(
            f"model {loaded.spec}: model.classes must name its {loaded.spec.num_classes} outputs, found "
            f"{len(classes)} names."
        )
    return dataclasses.replace(loaded, classes=classes)


def with_outputs(loaded: LoadedModel, num_classes: int) -> LoadedModel:
    """Return a network with ``num_classes`` outputs: itself, or a copy with an untrained head.

    Raises:
        ModelError: No head can be replaced.
    """
    if loaded.spec.num_classes == num_classes:
        return loaded
    replaced = replace_head(loaded, num_classes, None)
    found = count_outputs(replaced.module, loaded.preprocessing, task_named(loaded.task))
    if found != num_classes:
        raise ModelError(
            f"model {loaded.spec}: has {loaded.spec.num_classes} outputs, {num_classes} are needed, and replacing its "
            f"last layer gives {found}. Have {loaded.spec.name} return a network with {num_classes} outputs."
        )
    return replaced


def _channels_of(module: nn.Module) -> int | None:
    """Return the input channels of the first convolution, if they can be those of an image."""
    first = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    return first.in_channels if first is not None and first.in_channels in (1, 3) else None


def _first_convolution(module: nn.Module) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """Return the first convolution of any kind; None if there is none."""
    return next((layer for layer in module.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)), None)
