"""The segmentation networks of segmentation_models.pytorch: ``smp/ARCHITECTURE-ENCODER``, with the extra ``smp``."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dsft.choices import ModelSource, TaskName
from dsft.errors import ModelError, PretrainedWeightsError
from dsft.models.spec import ModelSpec
from dsft.preprocessing import Preprocessing
from dsft.progress import Note, Report
from dsft.runtimes.packages import require_packages

_PACKAGE = "segmentation_models_pytorch"
_IMAGE_SIZE = (256, 256)
_CLASSES = 2

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_NORMALIZATION = {
    "dpn": ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "xception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation that the encoder's weights expect, by the start of its name; else ImageNet's."""

_NOT_OFFERED = ("dpt",)
"""Architectures that work with none of these encoders."""


@functools.cache
def names() -> tuple[str, ...]:
    """Return ``ARCHITECTURE-ENCODER`` for all pairs; nothing if the package is not installed."""
    if importlib.util.find_spec(_PACKAGE) is None:
        return ()
    library = _library()
    # Encoders named timm- are deprecated.
    encoders = [name for name in library.encoders.get_encoder_names() if not name.startswith("timm-")]
    architectures = [name for name in library.MODEL_ARCHITECTURES_MAPPING if name not in _NOT_OFFERED]
    return tuple(f"{architecture}-{encoder}" for architecture in architectures for encoder in encoders)


def has(name: str) -> bool:
    """Return whether the library builds a network of that name."""
    return name in names()


def pretrained_names() -> tuple[str, ...]:
    """Return all networks: the encoders of all have published weights."""
    return names()


def require_pretrained(name: str) -> None:
    """Do nothing, since all encoders have published weights."""
    del name


def unsupported_kind(name: str) -> None:
    """Return None, after checking that the package is installed.

    Raises:
        ModelError: It is missing or too old.
    """
    del name
    _library()


def task_of(name: str) -> TaskName:
    """Return segmentation, the task of all networks."""
    del name
    return TaskName.SEGMENTATION


def default_spec(name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
    """Return the spec of a network with two classes and 3 image channels."""
    del state
    return ModelSpec(ModelSource.SMP, name, num_classes=_CLASSES, in_chans=3)


def build(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights.

    Raises:
        ModelError: The architecture does not work with the encoder.
    """
    return _create(spec, weights=None)


def preprocessing(name: str) -> Preprocessing:
    """Return the evaluation transform of a network: the normalization of its encoder."""
    encoder = name.partition("-")[2]
    mean, std = next((each for start, each in _NORMALIZATION.items() if encoder.startswith(start)), _IMAGENET)
    return Preprocessing(_IMAGE_SIZE, 3, mean, std, "bilinear", 1.0, "squash")


def is_fixed_size(name: str) -> bool:
    """Return False: all networks take images of any size that is a multiple of 32."""
    del name
    return False


def input_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the name of the first convolution."""
    return (next(name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)),)


def rename_keys(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return the keys unchanged."""
    del module
    return state


def load_pretrained(name: str, report: Report) -> tuple[nn.Module, ModelSpec, None]:
    """Load a network whose encoder has its ImageNet weights, and whose decoder and head are untrained.

    Raises:
        PretrainedWeightsError: The weights are neither in the local cache nor can they be downloaded.
    """
    spec, encoder = default_spec(name, None), name.partition("-")[2]
    report(Note(f"model: smp/{name} has ImageNet weights in its encoder; its decoder and head are untrained."))
    try:
        module = _create(spec, weights="imagenet")
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises errors of many types
        cause = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        place = f"the ImageNet weights of the encoder {encoder} (smp-hub/{encoder}.imagenet on the Hugging Face hub)"
        raise PretrainedWeightsError(f"smp/{name}", cause, place) from error
    return module, spec, None


def _create(spec: ModelSpec, weights: str | None) -> nn.Module:
    architecture, _, encoder = spec.name.partition("-")
    try:
        module: nn.Module = _library().create_model(
            architecture, encoder, encoder_weights=weights, in_channels=spec.in_chans, classes=spec.num_classes
        )
    except (NotImplementedError, ValueError, TypeError) as error:
        raise ModelError(f"model {spec}: {architecture} does not work with the encoder {encoder} ({error}).") from error
    return module


def _library() -> Any:
    require_packages("the source smp", "smp", [_PACKAGE], oldest={"segmentation-models-pytorch": (0, 5)})
    return importlib.import_module(_PACKAGE)
