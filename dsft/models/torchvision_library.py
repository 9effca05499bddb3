"""The classification, segmentation, detection and video networks of torchvision."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision.models
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models  # type: ignore[attr-defined]

from dsft.choices import ModelSource, TaskName
from dsft.errors import PretrainedWeightsError
from dsft.models.detector import Detector
from dsft.models.input_kernels import adapt_kernel
from dsft.models.spec import ModelSpec
from dsft.models.weights import load_weights, read_weights
from dsft.preprocessing import ClipPreprocessing, InputPreprocessing, Preprocessing
from dsft.progress import Note, Report

# The prefixes of the auxiliary classifiers, by network.
_AUX_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
# The detection networks whose outputs are boxes alone.
_DETECTORS = ("fasterrcnn_", "retinanet_", "fcos_", "ssd")
# The video networks that are convolutional, and the frames of a clip that their published weights are evaluated with.
_VIDEO_FRAMES = {"r3d_18": 16, "mc3_18": 16, "r2plus1d_18": 16, "s3d": 128}
# The normalisation of the published weights; of the other networks it is that of ImageNet.
_DETECTOR_INPUTS = {
    "ssd300_vgg16": ((0.48235, 0.45882, 0.40784), (1 / 255,) * 3, 300),
    "ssdlite320_mobilenet_v3_large": ((0.5,) * 3, (0.5,) * 3, 320),
}
# torchvision drops the auxiliary classifiers of this pretrained network, since they were not trained.
_UNTRAINED_AUX_HEADS = "googlenet"
_DETECTOR_SIDE = 800  # torchvision resizes the smaller side to this


@functools.cache
def names() -> tuple[str, ...]:
    """Return all classification and segmentation networks, detection networks for boxes, and 3-D video networks."""
    return (*list_models(module=torchvision.models), *_segmentation_names(), *_detection_names(), *_VIDEO_FRAMES)


def has(name: str) -> bool:
    """Return whether the library builds a network of that name."""
    return name in names()


def pretrained_names() -> tuple[str, ...]:
    """Return all networks, since all have published weights."""
    return names()


def require_pretrained(name: str) -> None:
    """Do nothing, since all networks have published weights."""
    del name


def unsupported_kind(name: str) -> str | None:
    """Return what kind of network a name is, such as ``a video transformer``; None if the name is unknown."""
    kinds = {
        "detection": "a network for masks or key points of objects",
        "optical_flow": "an optical flow network",
        "quantization": "a quantized network",
        "video": "a video transformer",
    }
    found = (kind for module, kind in kinds.items() if name in list_models(module=getattr(torchvision.models, module)))
    return next(found, None)


def task_of(name: str) -> TaskName:
    """Return the task of a network."""
    if name in _detection_names():
        return TaskName.DETECTION
    return TaskName.SEGMENTATION if name in _segmentation_names() else TaskName.CLASSIFICATION


def default_spec(name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
    """Return the spec of a network with the classes of the published weights and 3 image channels.

    Args:
        name: The network.
        state: The weights, which determine whether there are auxiliary heads; None for those of the architecture.
    """
    if name in _segmentation_names():
        # torchvision's LR-ASPP has no auxiliary head.
        aux_heads = not name.startswith("lraspp") and (state is None or any("aux_classifier" in key for key in state))
        return ModelSpec(ModelSource.TORCHVISION, name, len(_weights(name).meta["categories"]), 3, aux_heads)
    if name in _detection_names():
        return ModelSpec(ModelSource.TORCHVISION, name, len(_box_categories(name)), 3)
    if name in _VIDEO_FRAMES:
        return ModelSpec(ModelSource.TORCHVISION, name, len(_weights(name).meta["categories"]), 3)
    prefixes = _AUX_HEADS.get(name, ())
    aux_heads = bool(prefixes) if state is None else any(key.startswith(prefixes) for key in state)
    return ModelSpec(ModelSource.TORCHVISION, name, num_classes=1000, in_chans=3, aux_heads=aux_heads)


def build(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights."""
    arguments: dict[str, object] = {"num_classes": spec.num_classes}
    if spec.name in _segmentation_names():
        arguments["weights_backbone"] = None
        if not spec.name.startswith("lraspp"):
            arguments["aux_loss"] = spec.aux_heads
    if spec.name in _detection_names():
        # One more for the background. Of SSD300 this is what keeps the images at the size that they have.
        arguments |= {"weights_backbone": None, "num_classes": spec.num_classes + 1}
    if spec.name in _AUX_HEADS:
        # transform_input converts between two normalisations; here the preprocessing normalises.
        arguments |= {"aux_logits": spec.aux_heads, "init_weights": True, "transform_input": False}
    if spec.name.startswith("vit_"):
        # The position embedding depends on the size, which for some weights is not the default.
        arguments["image_size"] = _weights(spec.name).transforms().crop_size[0]
    module: nn.Module = get_model(spec.name, weights=None, **arguments)
    if spec.name in _detection_names():
        module = Detector(module, spec.num_classes)
    if spec.in_chans != 3:
        _set_input_channels(module, spec.in_chans)
    return module


def preprocessing(name: str) -> InputPreprocessing:
    """Return the evaluation transform of the network's default weights."""
    if name in _VIDEO_FRAMES:
        return _video_preprocessing(name)
    if name in _detection_names():
        mean, std, side = _DETECTOR_INPUTS.get(name, (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, _DETECTOR_SIDE))
        return Preprocessing((side, side), 3, mean, std, "bilinear", 1.0, "squash")
    preset = _weights(name).transforms()
    if name in _segmentation_names():
        size = (preset.resize_size[0],) * 2
        return Preprocessing(size, 3, tuple(preset.mean), tuple(preset.std), preset.interpolation.value, 1.0, "squash")
    side, resized = preset.crop_size[0], preset.resize_size[0]
    # The weights of GoogLeNet and Inception expect this range; torchvision converts the input in the network.
    half = (0.5, 0.5, 0.5) if name in _AUX_HEADS else None
    return Preprocessing(
        image_size=(side, side),
        channels=3,
        mean=half or tuple(preset.mean),
        std=half or tuple(preset.std),
        interpolation=preset.interpolation.value,
        crop_pct=side / resized,
        crop_mode="center",
    )


def _video_preprocessing(name: str) -> ClipPreprocessing:
    preset = _weights(name).transforms()
    (height, width), resized = preset.crop_size, min(preset.resize_size)
    mean, std = tuple(preset.mean), tuple(preset.std)
    return ClipPreprocessing(_VIDEO_FRAMES[name], 1, (height, width), 3, mean, std, height / resized)


def is_fixed_size(name: str) -> bool:
    """Return whether the network requires images of a fixed size."""
    return name.startswith(("vit_", "maxvit_"))


def input_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the name of the first convolution, which takes the image as its input in all of these networks."""
    return (next(name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Conv3d)),)


def rename_keys(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Convert the keys of torchvision's older DenseNet files to the current ones, and those of its detectors."""
    if isinstance(module, Detector):
        return {f"network.{key}": tensor for key, tensor in state.items()}
    return {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", key): tensor for key, tensor in state.items()
    }


def load_pretrained(name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...]]:
    """Load a network with its default weights and head, from the local cache or by download.

    Returns:
        The network, its spec, and its class names: WordNet's synset ids, as in the names of ImageNet's folders,
        or the categories of Pascal VOC or COCO.

    Raises:
        PretrainedWeightsError: The weights are neither in the local cache nor can they be downloaded.
        CheckpointError: The file in the cache is damaged.
    """
    path = _cached_file(name, report)
    state = read_weights(path).state
    if name == _UNTRAINED_AUX_HEADS:
        for key in [key for key in state if key.startswith(_AUX_HEADS[name])]:
            del state[key]
    spec = default_spec(name, state)
    module = build(spec)
    is_renamed = "densenet" in name or name in _detection_names()
    load_weights(module, rename_keys(state, module) if is_renamed else state, f"checkpoint {str(path)!r}")
    if name in _segmentation_names():
        return module, spec, tuple(_weights(name).meta["categories"])
    if name in _detection_names():
        return module, spec, _box_categories(name)
    if name in _VIDEO_FRAMES:
        return module, spec, tuple(_weights(name).meta["categories"])
    return module, spec, tuple(ImageNetInfo("imagenet-1k").label_names())  # type: ignore[no-untyped-call]


@functools.cache
def _segmentation_names() -> tuple[str, ...]:
    return tuple(list_models(module=torchvision.models.segmentation))


@functools.cache
def _detection_names() -> tuple[str, ...]:
    return tuple(name for name in list_models(module=torchvision.models.detection) if name.startswith(_DETECTORS))


def _box_categories(name: str) -> tuple[str, ...]:
    """Return the categories of the published weights without the background; names that are missing get a number."""
    categories = list(_weights(name).meta["categories"])[1:]
    return tuple(f"{each} {number}" if each == "N/A" else each for number, each in enumerate(categories, 1))


def _weights(name: str) -> WeightsEnum:
    weights: WeightsEnum = get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    return weights


def _cached_file(name: str, report: Report) -> Path:
    url = _weights(name).url
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.exists():
        return path
    report(Note(f"model: downloading {url} to {str(path)!r}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        torch.hub.download_url_to_file(url, str(path), digits.group(1) if digits else None, progress=False)
    except (OSError, RuntimeError) as error:
        raise PretrainedWeightsError(f"torchvision/{name}", f"{type(error).__name__}: {error}", url) from error
    return path


def _set_input_channels(module: nn.Module, in_chans: int) -> None:
    layer: Any = module.get_submodule(input_layers(module)[0])
    layer.weight = nn.Parameter(adapt_kernel(layer.weight.detach(), 3, in_chans).contiguous())
    layer.in_channels = in_chans
