"""``dsft env``: the environment information that a bug report needs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import huggingface_hub.constants
import torch
from torch import nn

from dsft.devices import Compute, allowed_cores
from dsft.runtimes import RUNTIMES, measured_on, why_unusable
from dsft.storage import cache_folder

PACKAGES = (
    *("dsft", "torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "huggingface-hub", "scikit-learn"),
    *("onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "executorch", "tensorboard", "wandb", "mlflow"),
)


def run() -> dict[str, Any]:
    """Return versions, devices, threads and caches as JSON values; the version of a missing package is None.

    For each runtime there is the reason why it cannot be used, or None if it can.
    """
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "platform": platform.platform(),
        "cpu": {
            "name": _name_of(torch.device("cpu")),
            "cores": os.cpu_count(),
            "cores_allowed": allowed_cores(),
            "torch_threads": torch.get_num_threads(),
        },
        "accelerators": _accelerators(),
        "runtimes": {runtime.value: why_unusable(runtime) for runtime in RUNTIMES},
        "caches": {
            "huggingface": huggingface_hub.constants.HF_HUB_CACHE,
            "torch": torch.hub.get_dir(),
            "dsft": str(cache_folder()),
        },
        "offline": bool(huggingface_hub.constants.HF_HUB_OFFLINE),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _name_of(device: torch.device) -> str:
    return measured_on(nn.Identity(), torch.zeros(1, 1), Compute(device)).device


def _accelerators() -> list[dict[str, Any]]:
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:
        return []
    devices = [torch.device(kind.type, index) for index in range(torch.accelerator.device_count())]
    return [{"device": str(device), "name": _name_of(device), "bytes": _memory(device)} for device in devices]


def _memory(device: torch.device) -> int | None:
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
