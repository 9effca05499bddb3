"""timm's entry point for model folders: ``import dsft.timm``, then ``timm.create_model("local-dir:FOLDER")``.

timm's own scripts import no other package. ``python -m dsft.timm train.py ARGUMENTS`` runs one with the entry point
registered.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from timm.models import register_model
from torch import nn

from dsft.artifact.folder import build_outline, load_model_folder
from dsft.artifact.locate import find_model_folder
from dsft.artifact.manifest import read_manifest
from dsft.choices import ModelSource
from dsft.errors import ModelError
from dsft.models import ModelSpec

_NOT_OF_THE_NETWORK = ("pretrained_cfg_overlay", "cache_dir", "pretrained_model_args")

_USAGE = "usage: python -m dsft.timm SCRIPT [ARGUMENT ...], such as python -m dsft.timm train.py --model local-dir:out"


def dsft(pretrained: bool = False, pretrained_cfg: Mapping[str, Any] | None = None, **arguments: Any) -> nn.Module:
    """Build the converted network of a model folder; ``timm.create_model`` calls it.

    Args:
        pretrained: Load the weights of the folder. A head for another number of classes is not trained.
        pretrained_cfg: What timm read in the folder's ``config.json``, and where.
        arguments: Of the network, such as ``num_classes`` and ``drop_rate``.

    Returns:
        The network, in training mode as timm returns networks.

    Raises:
        CheckpointError: The folder is damaged, or was not written by dsft.
        ModelError: timm was not given a folder, or one of a network that it did not build.
    """
    folder = _folder_of(pretrained_cfg or {})
    manifest = read_manifest(folder)
    spec = _timm_spec(folder, manifest.source)
    classes = arguments.pop("num_classes", spec.num_classes)
    channels = arguments.pop("in_chans", spec.in_chans)
    if channels != spec.in_chans:
        raise ModelError(
            f"model folder {str(folder)!r}: the network takes {spec.in_chans} channels, found in_chans={channels}. "
            "Convert a network with that many."
        )
    options = {name: value for name, value in arguments.items() if name not in _NOT_OF_THE_NETWORK}
    plain = timm.create_model(spec.name, num_classes=spec.num_classes, in_chans=spec.in_chans, **options)
    model: Any = load_model_folder(folder, plain).module if pretrained else build_outline(manifest, plain)
    if classes != spec.num_classes:
        model.reset_classifier(classes)
    _describe(model, pretrained_cfg or {}, classes)
    trained: nn.Module = model.train()
    return trained


def _folder_of(config: Mapping[str, Any]) -> Path:
    if config.get("file"):
        return Path(config["file"])
    if config.get("hf_hub_id"):
        return find_model_folder(Path("hf") / config["hf_hub_id"])
    raise ModelError(
        "timm/dsft: needs a model folder. Write timm.create_model('local-dir:FOLDER', pretrained=True), or hf-hub:NAME."
    )


def _timm_spec(folder: Path, spec: ModelSpec | None) -> ModelSpec:
    if spec is None or spec.source is not ModelSource.TIMM:
        origin = "your own code" if spec is None else str(spec)
        raise ModelError(
            f"model folder {str(folder)!r}: the network was built by {origin}, and not by timm. Load it with "
            "dsft.load(folder)."
        )
    return spec


def _describe(model: Any, config: Mapping[str, Any], classes: int) -> None:
    """State the folder's preprocessing where timm's functions read it, beside the architecture of the network."""
    known = {
        # JSON has no tuples, which timm expects.
        key: tuple(value) if isinstance(value, list) else value
        for key, value in config.items()
        if key not in ("architecture", "file", "source", "hf_hub_id")
    }
    model.pretrained_cfg = {**model.pretrained_cfg, **known, "num_classes": classes}
    model.default_cfg = model.pretrained_cfg


def run_script(command: Sequence[str]) -> None:
    """Run a Python script as ``python SCRIPT ARGUMENTS`` does.

    Args:
        command: The script and its arguments.

    Raises:
        SystemExit: There is no script.
    """
    if not command or not Path(command[0]).is_file():
        raise SystemExit(_USAGE)
    sys.argv = list(command)
    sys.path[0] = str(Path(command[0]).resolve().parent)
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    importlib.import_module("dsft.timm")
    run_script(sys.argv[1:])
else:
    register_model(dsft)
