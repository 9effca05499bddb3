"""The networks of timm."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models import get_model_args, get_pretrained_cfg
from torch import Tensor, nn

from dsft.choices import ModelSource, TaskName
from dsft.errors import CheckpointError, ModelError, PretrainedWeightsError
from dsft.models.spec import ModelSpec
from dsft.models.timm_hub import HUB, WEIGHTS, find_on_hub, first_line, is_stored, stored_outline, unreachable
from dsft.preprocessing import Preprocessing
from dsft.progress import Report


@functools.cache
def names() -> tuple[str, ...]:
    """Return all architectures, and all architectures with the tags of their weights."""
    # dsft.timm registers the networks of model folders there, which are none of timm.
    return (*timm.list_models(exclude_filters="dsft"), *timm.list_models(pretrained=True))


def has(name: str) -> bool:
    """Return whether the library builds a network of that name, or reads one in a repository or folder."""
    return is_stored(name) or name in names()


def pretrained_names() -> tuple[str, ...]:
    """Return all architectures with the tags of their weights."""
    return tuple(timm.list_models(pretrained=True))


def require_pretrained(name: str) -> None:
    """Check that there are published weights of a network.

    Raises:
        ModelError: There are none.
    """
    if name.startswith(HUB):
        return  # only the hub knows
    config = _config(name)
    if not any(config.get(key) for key in ("hf_hub_id", "url", "file")):
        raise ModelError(
            f"model timm/{name}: timm has no pretrained weights of it. Choose a network that has, train from random "
            "weights, or load a weights file."
        )


def task_of(name: str) -> TaskName:
    """Return classification, the task of all networks."""
    del name
    return TaskName.CLASSIFICATION


def unsupported_kind(name: str) -> None:
    """Return None: timm builds classification networks only."""
    del name


def default_spec(name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
    """Return the spec of a network with 1000 classes and 3 image channels, or of one in a repository or folder."""
    del state  # timm's networks have no auxiliary heads, which would depend on it
    if is_stored(name):
        return _stored_spec(name, stored_outline(name))
    return ModelSpec(ModelSource.TIMM, name, num_classes=1000, in_chans=3)


def build(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights."""
    name = default_spec(spec.name, None).name
    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=spec.num_classes, in_chans=spec.in_chans)
    return module


def identify(module: nn.Module, convert: Callable[[nn.Module], nn.Module]) -> ModelSpec | None:
    """Return the spec of a network that timm built, or None if its name does not determine it.

    Arguments that change the architecture (``output_stride``, ``act_layer`` ...), and later modifications, often keep
    the names and shapes of the tensors: the state dict could be loaded into a network that is rebuilt without them, but
    the outputs would differ. Therefore the ``repr`` of the rebuilt network must equal that of the given one.

    Args:
        module: Any module, converted or not.
        convert: Applies the conversion of ``module`` to a plain network.
    """
    config = getattr(module, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or config.get("architecture") not in names():
        return None
    arguments = get_model_args(module)
    spec = ModelSpec(ModelSource.TIMM, config["architecture"], arguments["num_classes"], arguments["in_chans"])
    with torch.device("meta"):
        plain = build(spec)
        if get_model_args(plain) != arguments:
            return None
        return spec if repr(convert(plain)) == repr(module) else None


def preprocessing(name: str) -> Preprocessing:
    """Return the evaluation transform of the published weights, at the image size of their training."""
    return read_preprocessing(_config(name))


def preprocessing_from_module(module: nn.Module) -> Preprocessing:
    """Return the evaluation transform in a network's own ``pretrained_cfg``, which depends on its weights."""
    return read_preprocessing(module.pretrained_cfg)  # type: ignore[arg-type]


def read_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Return the evaluation transform of a ``pretrained_cfg``; missing keys have timm's defaults."""
    config = resolve_data_config(pretrained_cfg=config, use_test_size=False)  # type: ignore[no-untyped-call]
    channels, height, width = config["input_size"]
    return Preprocessing(
        image_size=(height, width),
        channels=channels,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )


def is_fixed_size(name: str) -> bool:
    """Return whether the network requires images of a fixed size."""
    return bool(_config(name).get("fixed_input_size", False))


def input_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that take the image as their input."""
    first = module.pretrained_cfg.get("first_conv") or ()  # type: ignore[union-attr,operator]
    return (first,) if isinstance(first, str) else tuple(first)


def rename_keys(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Convert a state dict of a network's original authors to timm's keys, if timm has a filter for it."""
    rename = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return state
    try:
        return dict(rename(dict(state), module))
    except Exception:  # weights of another network: the error of loading them is more helpful
        return state


def load_pretrained(name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
    """Load a network with its published weights and head, from the local cache or by download.

    Returns:
        The network, its spec, and its class names; for ImageNet these are WordNet's synset ids, as in the names of
        its folders.

    Raises:
        ModelError: There are no published weights.
        PretrainedWeightsError: They are neither in the local cache nor can they be downloaded.
        CheckpointError: The file in the cache is damaged.
    """
    require_pretrained(name)
    if is_stored(name):
        return _load_stored(name, report)
    config = _config(name)
    overlay = _located(name, config, report)
    module = _create(name, config, pretrained_cfg_overlay=overlay)
    classes: int = module.num_classes  # type: ignore[assignment]
    tag = config.get("tag")
    full_name = f"{config['architecture']}.{tag}" if tag else name
    spec = ModelSpec(ModelSource.TIMM, full_name, classes, in_chans=config["input_size"][0])
    return module, spec, _class_names(config, classes)


def _load_stored(name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
    """Load a network of a repository or folder; its spec names the architecture, so that it is rebuilt without them."""
    outline = stored_outline(name, report)
    spec = _stored_spec(name, outline)
    config: Any = outline.pretrained_cfg
    if name.startswith(HUB):
        # timm would ask the hub for a cached file.
        found = find_on_hub(f"timm/{name}", config["hf_hub_id"], WEIGHTS, report)
        config = {**config, "file": str(found), "source": ""} if found else config
    module = _create(
        spec.name, config, name, pretrained_cfg=config, num_classes=spec.num_classes, in_chans=spec.in_chans
    )
    return module, spec, _class_names(config, spec.num_classes)


def _stored_spec(name: str, outline: nn.Module) -> ModelSpec:
    spec = identify(outline, lambda plain: plain)
    if spec is None:
        raise ModelError(
            f"model timm/{name}: its network is built with arguments of its own, or none of timm's, which a model "
            "folder cannot record. Convert it in Python: dsft.convert(timm.create_model(...), example_input)."
        )
    return spec


def _create(name: str, config: Mapping[str, Any], label: str | None = None, **options: Any) -> nn.Module:
    """Build a network with the weights that its configuration, or the options, locate."""
    label = label or name
    file = (options.get("pretrained_cfg_overlay") or config).get("file")
    try:
        # torch announces downloads that are not from the hub on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            module: nn.Module = timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's client, urllib and timm raise errors of many types
        if file:
            raise CheckpointError(
                f"model timm/{label}: the weights {str(file)!r} are damaged or do not fit ({first_line(error)}). "
                "Delete a downloaded file to download it again."
            ) from error
        raise _unreachable(label, config, error) from error
    return module


def _config(name: str) -> dict[str, Any]:
    if is_stored(name):
        stored: Any = stored_outline(name).pretrained_cfg
        return dict(stored)
    config = get_pretrained_cfg(name)
    return config.to_dict() if config is not None else {}  # type: ignore[no-untyped-call]


def _class_names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    if config.get("label_names"):
        return tuple(config["label_names"])
    subset = infer_imagenet_subset({"num_classes": count})
    return tuple(ImageNetInfo(subset).label_names()) if subset else None  # type: ignore[no-untyped-call]


def _located(name: str, config: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Find the weights in the local cache, or check that the hub is reachable; return timm's config overlay."""
    repository = config.get("hf_hub_id")
    if config.get("file") or not repository:
        return {}
    found = find_on_hub(f"timm/{name}", repository, WEIGHTS, report)
    return {"file": str(found)} if found else {}


def _unreachable(name: str, config: Mapping[str, Any], error: Exception) -> PretrainedWeightsError:
    if repository := config.get("hf_hub_id"):
        return unreachable(f"timm/{name}", repository, error)
    place = str(config.get("url") or config.get("file"))
    return PretrainedWeightsError(f"timm/{name}", first_line(error), place)
