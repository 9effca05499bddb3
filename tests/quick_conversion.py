"""A conversion without the measurements of ``dsft.convert``, for tests of what comes after it."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

import dsft
from dsft.choices import Structure
from dsft.conversion import ConversionPlan
from dsft.measure.example import ExampleInput
from dsft.separable import FactoredConv


def convert_quickly(
    model: Any,
    example_input: ExampleInput,
    structures: tuple[str, ...] = ("dw_pw",),
    rank: int = 1,
    exclude: tuple[str, ...] = (),
) -> tuple[Any, ConversionPlan]:
    """Return a converted copy and its plan."""
    words = tuple(Structure(word) for word in structures)
    plan = dsft.plan_conversion(model, example_input, dsft.Request(rank=rank, structures=words, exclude=exclude))
    assert plan.converted
    return dsft.apply_plan(copy.deepcopy(model), plan), plan


def converted_layers(model: nn.Module) -> list[str]:
    """Return the names of a network's converted layers."""
    return [name for name, layer in model.named_modules() if isinstance(layer, FactoredConv)]
