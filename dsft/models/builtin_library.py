"""Small networks of dsft itself for pictures, boxes, signals and clips: for the embedded recipes, and to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from dsft.choices import ModelSource, TaskName
from dsft.errors import ModelError
from dsft.models.cnn3d import CNN3d
from dsft.models.small_detector import small_fcos
from dsft.models.spec import ModelSpec
from dsft.models.unet import ResidualDenoiser, UNet
from dsft.models.waveform_cnn import WaveformCNN
from dsft.preprocessing import ClipPreprocessing, InputPreprocessing, Preprocessing, SignalPreprocessing
from dsft.progress import Report


@dataclass(frozen=True)
class _Entry:
    """A network: what builds it from input channels and outputs, its task, its input, and its outputs by default."""

    build: Callable[[int, int], nn.Module]
    task: TaskName
    input: InputPreprocessing
    outputs: int = 2


def _images(mean: float, std: float) -> Preprocessing:
    return Preprocessing((64, 64), 3, (mean,) * 3, (std,) * 3, "bilinear", 1.0, "squash")


_GREY, _PIXELS = _images(0.5, 0.25), _images(0.0, 1.0)
_SOUND = SignalPreprocessing((8000,), 1, (0.0,), (1.0,), 8000)
_VOLUME = SignalPreprocessing((16, 16, 16), 1, (0.0,), (1.0,))
_CLIP = ClipPreprocessing(8, 1, (32, 32), 1, (0.5,), (0.25,))


_NETWORKS: Mapping[str, _Entry] = {
    "unet_16": _Entry(lambda chans, classes: UNet(chans, classes, 16), TaskName.SEGMENTATION, _GREY),
    "unet_32": _Entry(lambda chans, classes: UNet(chans, classes, 32), TaskName.SEGMENTATION, _GREY),
    "unet3d_8": _Entry(lambda chans, classes: UNet(chans, classes, 8, axes=3), TaskName.SEGMENTATION, _VOLUME),
    "unet3d_16": _Entry(lambda chans, classes: UNet(chans, classes, 16, axes=3), TaskName.SEGMENTATION, _VOLUME),
    "fcos_64": _Entry(lambda chans, classes: small_fcos(chans, classes, 64), TaskName.DETECTION, _GREY),
    "fcos_160": _Entry(lambda chans, classes: small_fcos(chans, classes, 160), TaskName.DETECTION, _GREY),
    "denoiser_32": _Entry(lambda chans, _: ResidualDenoiser(chans, 32, 8), TaskName.RESTORATION, _PIXELS, 3),
    "denoiser_64": _Entry(lambda chans, _: ResidualDenoiser(chans, 64, 17), TaskName.RESTORATION, _PIXELS, 3),
    "m5_64": _Entry(lambda chans, classes: WaveformCNN(chans, classes, 64), TaskName.CLASSIFICATION, _SOUND),
    "m5_128": _Entry(lambda chans, classes: WaveformCNN(chans, classes, 128), TaskName.CLASSIFICATION, _SOUND),
    "cnn3d_16": _Entry(lambda chans, classes: CNN3d(chans, classes, 16), TaskName.CLASSIFICATION, _CLIP),
    "cnn3d_32": _Entry(lambda chans, classes: CNN3d(chans, classes, 32), TaskName.CLASSIFICATION, _CLIP),
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
    """Return the spec of a network with the channels and the outputs of its entry."""
    del state
    entry = _NETWORKS[name]
    return ModelSpec(ModelSource.BUILTIN, name, num_classes=entry.outputs, in_chans=entry.input.channels)


def build(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights."""
    return _NETWORKS[spec.name].build(spec.in_chans, spec.num_classes)


def preprocessing(name: str) -> InputPreprocessing:
    """Return the evaluation transform of a network."""
    return _NETWORKS[name].input


def is_fixed_size(name: str) -> bool:
    """Return False: all networks take inputs of any size."""
    del name
    return False


def input_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the name of the first convolution."""
    return (
        next(name for name, layer in module.named_modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)),
    )


def rename_keys(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return the keys unchanged."""
    del module
    return state


def load_pretrained(name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
    """Raise a ``ModelError``, since no network has published weights."""
    del report
    require_pretrained(name)
    raise AssertionError
