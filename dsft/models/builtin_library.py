"""Small networks of dsft itself for tasks with pictures or boxes: for the embedded recipes, and to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from dsft.choices import ModelSource, TaskName
from dsft.errors import ModelError
from dsft.models.small_detector import small_fcos
from dsft.models.spec import ModelSpec
from dsft.models.unet import ResidualDenoiser, UNet
from dsft.preprocessing import Preprocessing
from dsft.progress import Report

_IMAGE_SIZE = (64, 64)


@dataclass(frozen=True)
class _Entry:
    """A network: what builds it from image channels and outputs, its task, and the normalisation of its input."""

    build: Callable[[int, int], nn.Module]
    task: TaskName
    mean: float
    std: float


_NETWORKS: Mapping[str, _Entry] = {
    "unet_16": _Entry(lambda chans, classes: UNet(chans, classes, 16), TaskName.SEGMENTATION, 0.5, 0.25),
    "unet_32": _Entry(lambda chans, classes: UNet(chans, classes, 32), TaskName.SEGMENTATION, 0.5, 0.25),
    "fcos_64": _Entry(lambda chans, classes: small_fcos(chans, classes, 64), TaskName.DETECTION, 0.5, 0.25),
    "fcos_160": _Entry(lambda chans, classes: small_fcos(chans, classes, 160), TaskName.DETECTION, 0.5, 0.25),
    "denoiser_32": _Entry(lambda chans, _: ResidualDenoiser(chans, 32, 8), TaskName.RESTORATION, 0.0, 1.0),
    "denoiser_64": _Entry(lambda chans, _: ResidualDenoiser(chans, 64, 17), TaskName.RESTORATION, 0.0, 1.0),
}


def names() -> tuple[str, ...]:
    """Return all networks."""
    return tuple(_NETWORKS)


def has(name: str) -> bool:
    """Return whether the library builds a network of that name."""
    return name in names()


def pretrained_names() -> tuple[str, ...]:
    """Return nothing, since none has published weights."""
    return ()


def require_pretrained(name: str) -> None:
    """Raise a ``ModelError``, since no network has published weights."""
    raise ModelError(f"model builtin/{name}: has no published weights. Set model.pretrained=false, and train it.")


def unsupported_kind(name: str) -> None:
    """Return None: all networks are supported."""
    del name


def task_of(name: str) -> TaskName:
    """Return the task of a network."""
    return _NETWORKS[name].task


def default_spec(name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
    """Return the spec of a network with 3 image channels, and as many outputs or two classes."""
    del state
    outputs = 3 if _NETWORKS[name].task is TaskName.RESTORATION else 2
    return ModelSpec(ModelSource.BUILTIN, name, num_classes=outputs, in_chans=3)


def build(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights."""
    return _NETWORKS[spec.name].build(spec.in_chans, spec.num_classes)


def preprocessing(name: str) -> Preprocessing:
    """Return the evaluation transform of a network."""
    entry = _NETWORKS[name]
    return Preprocessing(_IMAGE_SIZE, 3, (entry.mean,) * 3, (entry.std,) * 3, "bilinear", 1.0, "squash")


def is_fixed_size(name: str) -> bool:
    """Return False: all networks take images of any size."""
    del name
    return False


def input_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the name of the first convolution."""
    return (next(name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)),)


def rename_keys(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return the keys unchanged."""
    del module
    return state


def load_pretrained(name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
    """Raise a ``ModelError``, since no network has published weights."""
    del report
    require_pretrained(name)
    raise AssertionError
