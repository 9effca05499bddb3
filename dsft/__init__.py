"""dsft: pretrained CNNs as depthwise-separable networks that keep their weights.

The public functions are loaded when they are first used, so that importing dsft loads no torch (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsft.artifact.own_network import load, save
    from dsft.commands.export import export
    from dsft.conversion import Budget, Conversion, ConversionPlan, Request, apply_plan, convert, plan_conversion
    from dsft.separable import (
        DepthwiseSeparableConv1d,
        DepthwiseSeparableConv2d,
        DepthwiseSeparableConv3d,
        DepthwiseSeparableConvTranspose2d,
        LowRankConv1d,
        LowRankConv2d,
        LowRankConv3d,
    )

_HOMES = {
    "Budget": "dsft.conversion",
    "Conversion": "dsft.conversion",
    "ConversionPlan": "dsft.conversion",
    "DepthwiseSeparableConv1d": "dsft.separable",
    "DepthwiseSeparableConv2d": "dsft.separable",
    "DepthwiseSeparableConv3d": "dsft.separable",
    "DepthwiseSeparableConvTranspose2d": "dsft.separable",
    "LowRankConv1d": "dsft.separable",
    "LowRankConv2d": "dsft.separable",
    "LowRankConv3d": "dsft.separable",
    "Request": "dsft.conversion",
    "apply_plan": "dsft.conversion",
    "convert": "dsft.conversion",
    "export": "dsft.commands.export",
    "load": "dsft.artifact.own_network",
    "plan_conversion": "dsft.conversion",
    "save": "dsft.artifact.own_network",
}

__all__ = [
    "Budget",
    "Conversion",
    "ConversionPlan",
    "DepthwiseSeparableConv1d",
    "DepthwiseSeparableConv2d",
    "DepthwiseSeparableConv3d",
    "DepthwiseSeparableConvTranspose2d",
    "LowRankConv1d",
    "LowRankConv2d",
    "LowRankConv3d",
    "Request",
    "apply_plan",
    "convert",
    "export",
    "load",
    "plan_conversion",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dsft' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
