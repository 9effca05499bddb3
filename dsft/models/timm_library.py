"""timm as a model source."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import huggingface_hub
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models import get_model_args, get_pretrained_cfg
from torch import Tensor, nn

from dsft.choices import ModelSource
from dsft.errors import CheckpointError, ModelError
from dsft.models.spec import ModelSpec
from dsft.preprocessing import Preprocessing
from dsft.progress import Note, Report

# Seconds until an unreachable server is given up.
_PATIENCE = 10
# The weights of a repository of the hub, the preferred one first.
_FILES = ("model.safetensors", "pytorch_model.bin")


@functools.cache
def names() -> tuple[str, ...]:
    """Return every architecture, and every architecture with the tag of its weights."""
    return (*timm.list_models(), *timm.list_models(pretrained=True))


def published() -> tuple[str, ...]:
    """Return the architectures with the tags of their weights."""
    return tuple(timm.list_models(pretrained=True))


def draft(name: str, state: Mapping[str, Tensor] | None) -> ModelSpec:
    """Return the spec of a network of 1000 classes and 3 image channels."""
    del state  # timm's networks have no auxiliary heads, so that nothing depends on the file
    return ModelSpec(ModelSource.TIMM, name, num_classes=1000, in_chans=3)


def build(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights."""
    module: nn.Module = timm.create_model(
        spec.name, pretrained=False, num_classes=spec.num_classes, in_chans=spec.in_chans
    )
    return module


def identify(module: nn.Module, convert: Callable[[nn.Module], nn.Module]) -> ModelSpec | None:
    """Return the spec of a network that timm built, or None where its name does not tell all about it.

    Arguments that change the architecture (``output_stride``, ``act_layer`` ...), and changes made afterwards, often
    leave the tensors' names and shapes alone, so that a network rebuilt without them would load, and answer
    otherwise. So the rebuilt network has to print as the given one does.

    Args:
        module: Any module, converted or not.
        convert: Converts a plain network as this one was.
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
    """Return the evaluation transform that timm states for the weights, at the size of their training."""
    return read_preprocessing(_config(name))


def stated_preprocessing(module: nn.Module) -> Preprocessing:
    """Return the same for a network that timm built: its name alone does not tell which weights it has."""
    return read_preprocessing(module.pretrained_cfg)  # type: ignore[arg-type]


def read_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Return the evaluation transform of a ``pretrained_cfg``; keys that are missing have timm's defaults."""
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
    """Return whether the network takes images of one size only."""
    return bool(_config(name).get("fixed_input_size", False))


def input_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that read the image."""
    first = module.pretrained_cfg.get("first_conv") or ()  # type: ignore[union-attr,operator]
    return (first,) if isinstance(first, str) else tuple(first)


def translate(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Rename tensors of a network's original authors to timm's names, where timm knows how."""
    rename = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if rename is None:
        return state
    try:
        return dict(rename(dict(state), module))
    except Exception:  # a file of another network: fitting it tells the user better what is wrong
        return state


def load_pretrained(name: str, report: Report) -> tuple[nn.Module, ModelSpec, tuple[str, ...] | None]:
    """Load the published weights with their own head, from the local cache or the network.

    Returns:
        The network, its spec, and its class names: WordNet's synsets for ImageNet, as its folders are named.

    Raises:
        ModelError: There are none, or they can neither be found on this machine nor downloaded.
        CheckpointError: The file in the cache is damaged.
    """
    config = _config(name)
    if not any(config.get(key) for key in ("hf_hub_id", "url", "file")):
        raise ModelError(
            f"model timm/{name}: timm has no pretrained weights of it. Choose one that has, train "
            f"from scratch (pretrained: false), or give a weights file as checkpoint."
        )
    overlay = _located(name, config, report)
    try:
        # What is downloaded from elsewhere than the hub, torch announces on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # the hub's client, urllib and timm each have their own kinds
        if "file" in overlay:
            raise CheckpointError(
                f"model timm/{name}: the downloaded weights {overlay['file']!r} are damaged "
                f"({_first_line(error)}). Delete the file, and it is downloaded again."
            ) from error
        raise ModelError(_unreachable(name, config, error)) from error
    classes: int = module.num_classes  # type: ignore[assignment]
    tag = config.get("tag")
    full_name = f"{config['architecture']}.{tag}" if tag else name
    spec = ModelSpec(ModelSource.TIMM, full_name, classes, in_chans=config["input_size"][0])
    return module, spec, _class_names(config, classes)


def _config(name: str) -> dict[str, Any]:
    config = get_pretrained_cfg(name)
    return config.to_dict() if config is not None else {}  # type: ignore[no-untyped-call]


def _class_names(config: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    if config.get("label_names"):
        return tuple(config["label_names"])
    subset = infer_imagenet_subset({"num_classes": count})
    return tuple(ImageNetInfo(subset).label_names()) if subset else None  # type: ignore[no-untyped-call]


def _located(name: str, config: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Find the weights in the hub's cache, or make sure that the hub answers; return timm's overlay.

    Left to itself the hub's client asks the network for a file that it has, and retries for most of a
    minute where there is none.
    """
    repository, _, revision = (config.get("hf_hub_id") or "").partition("@")
    if config.get("file") or not repository:
        return {}
    for file in _FILES:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(cached, str):
            return {"file": cached}
    for file in _FILES:
        url = huggingface_hub.hf_hub_url(repository, file, revision=revision or None)
        try:
            huggingface_hub.get_hf_file_metadata(url, timeout=_PATIENCE)
        except EntryNotFoundError:
            continue
        except Exception as error:  # every way in which a network can be absent
            raise ModelError(_unreachable(name, config, error)) from error
        report(Note(f"Downloading {file} of {repository} from the Hugging Face hub."))
        break
    return {}


def _unreachable(name: str, config: Mapping[str, Any], error: Exception) -> str:
    if config.get("hf_hub_id"):
        place = f"{_FILES[0]} of {config['hf_hub_id']} on the Hugging Face hub"
    else:
        place = str(config.get("url") or config.get("file"))
    return (
        f"model timm/{name}: the pretrained weights are not on this machine and could not be downloaded "
        f"({_first_line(error)}). Connect to the network, or fetch {place} elsewhere and give "
        f"the file as checkpoint, with pretrained: false."
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
