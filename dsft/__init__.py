"""Convert pretrained CNNs to depthwise-separable networks that keep their weights, and fine-tune them.

Public names are imported when they are first used (PEP 562), so that ``import dsft`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsft.api import evaluate, export, finetune, show_progress, train
    from dsft.artifact.own_network import load, save
    from dsft.conversion import (
        Budget,
        CalibrationSet,
        Conversion,
        ConversionPlan,
        LayerLatency,
        MaxDrop,
        Request,
        apply_plan,
        check_converted,
        convert,
        factorize,
        plan_conversion,
        reconstruct,
        recover,
        replay_plan,
    )
    from dsft.data.photographs import photographs
    from dsft.errors import (
        BudgetError,
        CheckpointError,
        ConversionError,
        DataError,
        DsftError,
        ExportError,
        InputError,
        InterruptedRun,
        ModelError,
        OutputError,
        PretrainedWeightsError,
        RecipeError,
        TrainingError,
    )
    from dsft.separable import (
        DepthwiseSeparableConv1d,
        DepthwiseSeparableConv2d,
        DepthwiseSeparableConv3d,
        DepthwiseSeparableConvTranspose2d,
        LowRankConv1d,
        LowRankConv2d,
        LowRankConv3d,
        PointwiseDepthwisePointwiseConv1d,
        PointwiseDepthwisePointwiseConv2d,
        PointwiseDepthwisePointwiseConv3d,
        PointwiseDepthwisePointwiseConvTranspose2d,
    )
    from dsft.tasks.distillation import distillation_loss

    __version__: str

_HOMES = {
    "Budget": "dsft.conversion",
    "BudgetError": "dsft.errors",
    "CalibrationSet": "dsft.conversion",
    "CheckpointError": "dsft.errors",
    "Conversion": "dsft.conversion",
    "ConversionError": "dsft.errors",
    "ConversionPlan": "dsft.conversion",
    "DataError": "dsft.errors",
    "DepthwiseSeparableConv1d": "dsft.separable",
    "DepthwiseSeparableConv2d": "dsft.separable",
    "DepthwiseSeparableConv3d": "dsft.separable",
    "DepthwiseSeparableConvTranspose2d": "dsft.separable",
    "DsftError": "dsft.errors",
    "ExportError": "dsft.errors",
    "InputError": "dsft.errors",
    "InterruptedRun": "dsft.errors",
    "LayerLatency": "dsft.conversion",
    "LowRankConv1d": "dsft.separable",
    "LowRankConv2d": "dsft.separable",
    "LowRankConv3d": "dsft.separable",
    "MaxDrop": "dsft.conversion",
    "ModelError": "dsft.errors",
    "OutputError": "dsft.errors",
    "PointwiseDepthwisePointwiseConv1d": "dsft.separable",
    "PointwiseDepthwisePointwiseConv2d": "dsft.separable",
    "PointwiseDepthwisePointwiseConv3d": "dsft.separable",
    "PointwiseDepthwisePointwiseConvTranspose2d": "dsft.separable",
    "PretrainedWeightsError": "dsft.errors",
    "RecipeError": "dsft.errors",
    "Request": "dsft.conversion",
    "TrainingError": "dsft.errors",
    "apply_plan": "dsft.conversion",
    "check_converted": "dsft.conversion",
    "convert": "dsft.conversion",
    "distillation_loss": "dsft.tasks.distillation",
    "evaluate": "dsft.api",
    "export": "dsft.api",
    "factorize": "dsft.conversion",
    "finetune": "dsft.api",
    "load": "dsft.artifact.own_network",
    "photographs": "dsft.data.photographs",
    "plan_conversion": "dsft.conversion",
    "reconstruct": "dsft.conversion",
    "recover": "dsft.conversion",
    "replay_plan": "dsft.conversion",
    "save": "dsft.artifact.own_network",
    "show_progress": "dsft.api",
    "train": "dsft.api",
}

__all__ = [
    "Budget",
    "BudgetError",
    "CalibrationSet",
    "CheckpointError",
    "Conversion",
    "ConversionError",
    "ConversionPlan",
    "DataError",
    "DepthwiseSeparableConv1d",
    "DepthwiseSeparableConv2d",
    "DepthwiseSeparableConv3d",
    "DepthwiseSeparableConvTranspose2d",
    "DsftError",
    "ExportError",
    "InputError",
    "InterruptedRun",
    "LayerLatency",
    "LowRankConv1d",
    "LowRankConv2d",
    "LowRankConv3d",
    "MaxDrop",
    "ModelError",
    "OutputError",
    "PointwiseDepthwisePointwiseConv1d",
    "PointwiseDepthwisePointwiseConv2d",
    "PointwiseDepthwisePointwiseConv3d",
    "PointwiseDepthwisePointwiseConvTranspose2d",
    "PretrainedWeightsError",
    "RecipeError",
    "Request",
    "TrainingError",
    "apply_plan",
    "check_converted",
    "convert",
    "distillation_loss",
    "evaluate",
    "export",
    "factorize",
    "finetune",
    "load",
    "photographs",
    "plan_conversion",
    "reconstruct",
    "recover",
    "replay_plan",
    "save",
    "show_progress",
    "train",
]


if not TYPE_CHECKING:  # for type checkers the imports above are all names that there are

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("dsft")
        if name not in _HOMES:
            raise AttributeError(f"module 'dsft' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
