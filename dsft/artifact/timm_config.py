"""The ``config.json`` by which timm builds the network of a model folder."""

from __future__ import annotations

from typing import Any

from dsft.artifact.manifest import Manifest
from dsft.choices import ModelSource
from dsft.preprocessing import Preprocessing

TIMM_CONFIG_FILE = "config.json"

TIMM_ENTRY_POINT = "dsft"
"""Name under which :mod:`dsft.timm` registers the networks of model folders."""


def timm_config(manifest: Manifest) -> dict[str, Any] | None:
    """Return what timm's ``local-dir:`` and ``hf-hub:`` read in a folder; None if timm did not build the network.

    Args:
        manifest: Of the folder; the entry point reads the plan from it.
    """
    spec, preprocessing = manifest.source, manifest.preprocessing
    if spec is None or spec.source is not ModelSource.TIMM:
        return None
    config: dict[str, Any] = {"num_classes": spec.num_classes}
    if isinstance(preprocessing, Preprocessing):
        config |= {
            "input_size": [spec.in_chans, *preprocessing.image_size],
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "interpolation": preprocessing.interpolation,
            "crop_pct": preprocessing.crop_pct,
            "crop_mode": preprocessing.crop_mode,
        }
    labels = {} if manifest.classes is None else {"label_names": list(manifest.classes)}
    return {"architecture": TIMM_ENTRY_POINT, "num_classes": spec.num_classes, **labels, "pretrained_cfg": config}
