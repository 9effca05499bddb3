"""The image classifiers of transformers: ``transformers/OWNER/NAME`` or ``transformers/FOLDER``.

They need the extra ``transformers``. A network is built from its ``config.json``, which the spec keeps, so that a model
folder loads without the hub.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dsft.choices import ModelSource, TaskName
from dsft.errors import CheckpointError, ModelError, PretrainedWeightsError
from dsft.models.spec import ModelSpec
from dsft.preprocessing import Preprocessing
from dsft.progress import Report
from dsft.runtimes.packages import require_packages

_FILES = "config.json, preprocessor_config.json and model.safetensors"
_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""timm's names of the filters that PIL numbers."""

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_CROPPED_BELOW = 384
"""ConvNeXt's processor, which ResNets use too, squashes images of this size or more instead of cropping them."""


class ImageClassifier(nn.Module):
    """A network of transformers that takes images and returns logits.

    Args:
        network: The network, whose outputs have the entry ``logits``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of images ``(batch, channels, height, width)``."""
        logits: Tensor = self.network(pixel_values=images).logits
        return logits

    def get_classifier(self) -> nn.Module | None:
        """Return the layer that computes the logits."""
        linear = [layer for layer in self.network.modules() if isinstance(layer, nn.Linear)]
        return linear[-1] if linear else None


def names() -> tuple[str, ...]:
    """Return nothing, since the hub cannot be listed; see :func:`has`."""
    return ()


def has(name: str) -> bool:
    """Return True if the package is installed: whether there is such a network is known when its files are read.

    Raises:
        ModelError: The package is missing or too old.
    """
    del name
    _library()
    return True


def pretrained_names() -> tuple[str, ...]:
    """Return nothing, since the hub cannot be listed."""
    return ()


def require_pretrained(name: str) -> None:
    """Do nothing: every repository of the hub holds weights."""
    del name


def unsupported_kind(name: str) -> None:
    """Return None: what a network is for is known when its files are read."""
    del name


def task_of(name: str) -> TaskName:
    """Return classification, the task of all networks."""
    del name
    return TaskName.CLASSIFICATION


def default_spec(name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
    """Return the spec of a network with the classes of its configuration.

    Raises:
        PretrainedWeightsError: The configuration is neither in the local cache nor can it be downloaded.
        ModelError: It is none of an image classifier.
    """
    del state
    try:
        config = _library().AutoConfig.from_pretrained(name)
    except OSError as error:
        raise _unreachable(name, error) from error
    except ValueError as error:
        raise ModelError(
            f"model transformers/{name}: the installed transformers does not know its class ({_first_line(error)})."
        ) from error
    return _spec(name, config)


def build(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights.

    Raises:
        ModelError: The installed transformers has no image classifier of that configuration.
    """
    library = _library()
    if spec.config is None:
        spec = default_spec(spec.name, None)
    described = {**json.loads(spec.config or "{}"), "num_channels": spec.in_chans}
    if len(described.get("id2label") or ()) != spec.num_classes:
        described |= {"id2label": None, "label2id": None, "num_labels": spec.num_classes}
    try:
        config = library.AutoConfig.for_model(described.pop("model_type"), **described)
        network = library.AutoModelForImageClassification.from_config(config)
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"model {spec}: the installed transformers ({library.__version__}) builds no image classifier of this "
            f"configuration ({_first_line(error)}). Install the version that wrote it: pip install "
            f"transformers=={described.get('transformers_version')}."
        ) from error
    return ImageClassifier(network)


def preprocessing(name: str) -> Preprocessing:
    """Return the evaluation transform of the processor beside a network; ImageNet's where there is none."""
    found = _read_processor(name)
    size, crop = _sizes(found)
    share = found.get("crop_pct") or 0.875
    if crop is not None:
        share, mode = crop[0] / size[0], "center"
    elif "shortest_edge" in (found.get("size") or {"shortest_edge": 224}) and size[0] < _CROPPED_BELOW:
        crop, mode = size, "center"
    else:
        crop, share, mode = size, 1.0, "squash"
    mean, std = (tuple(found.get(key) or _IMAGENET[key]) for key in ("image_mean", "image_std"))
    interpolation = _INTERPOLATIONS.get(int(found.get("resample", 3)), "bicubic")
    return Preprocessing(crop, len(mean), mean, std, interpolation, share, mode)


def is_fixed_size(name: str) -> bool:
    """Return False: convolutional networks take images of any size."""
    del name
    return False


def input_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the name of the first convolution."""
    return (next(name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)),)


def rename_keys(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network of transformers as that of an :class:`ImageClassifier`."""
    del module
    return {f"network.{name}": value for name, value in state.items()}


def load_pretrained(name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
    """Load a network from a folder, the local cache or the hub.

    Returns:
        The network, its spec, and the class names of its ``id2label``, None where they are only numbered.

    Raises:
        PretrainedWeightsError: Its files are neither in the local cache nor can they be downloaded.
        CheckpointError: The weights do not fit the configuration.
        ModelError: It is no image classifier.
    """
    del report
    spec = default_spec(name, None)
    try:
        network, told = _library().AutoModelForImageClassification.from_pretrained(name, output_loading_info=True)
    except OSError as error:
        raise _unreachable(name, error) from error
    except ValueError as error:
        raise ModelError(f"model transformers/{name}: is no image classifier ({_first_line(error)}).") from error
    except RuntimeError as error:
        raise CheckpointError(f"model transformers/{name}: the weights do not fit ({_first_line(error)}).") from error
    if missing := sorted(told["missing_keys"]):
        raise CheckpointError(
            f"model transformers/{name}: the weights lack {len(missing)} tensors of its configuration, such as "
            f"{missing[0]!r}. A network that dsft converted is a dsft.transformers.ConvertedModel."
        )
    return ImageClassifier(network).eval(), spec, _class_names(network.config)


def _spec(name: str, config: Any) -> ModelSpec:
    channels = getattr(config, "num_channels", 3)
    return ModelSpec(ModelSource.TRANSFORMERS, name, config.num_labels, channels, config=config.to_json_string())


def _class_names(config: Any) -> tuple[str, ...] | None:
    labels = tuple(str(config.id2label[place]) for place in range(config.num_labels))
    return None if labels == tuple(f"LABEL_{place}" for place in range(len(labels))) else labels


def _read_processor(name: str) -> dict[str, Any]:
    try:
        path = importlib.import_module("transformers.utils").cached_file(name, "preprocessor_config.json")
    except OSError:
        return {}
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found


def _sizes(found: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Return the size that images are resized to, and that of the crop, None without one."""
    size = _height_and_width(found.get("size") or 224)
    crop = _height_and_width(found["crop_size"]) if found.get("do_center_crop") and found.get("crop_size") else None
    return size, crop


def _height_and_width(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        side = size.get("shortest_edge")
        return (side, side) if side else (size["height"], size["width"])
    return (size, size)


def _unreachable(name: str, error: Exception) -> PretrainedWeightsError:
    place = f"{_FILES} of {name} into a folder"
    return PretrainedWeightsError(f"transformers/{name}", _first_line(error), place)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _library() -> Any:
    require_packages("the source transformers", "transformers", ["transformers"], oldest={"transformers": (5, 0)})
    return importlib.import_module("transformers")
