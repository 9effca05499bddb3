"""Both forms of weight normalisation in torch: the parametrization, and the older forward pre-hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from dsft.compat.lookup import lookup
from dsft.compat.torch_modules import hooks_of


def is_weight_normed(module: nn.Module) -> bool:
    """Whether the weight is a direction times a length (Salimans & Kingma 2016) and nothing else is computed."""
    hook = lookup("torch.nn.utils.weight_norm", "WeightNorm")
    if hook is not None and (found := [each for each in hooks_of(module) if isinstance(each, hook)]):
        return [each.name for each in found] == ["weight"]
    lists = cast("Mapping[str, Sequence[nn.Module]]", getattr(module, "parametrizations", {}))
    return list(lists) == ["weight"] and [type(step) for step in lists["weight"]] == [registered_class()]


@cache
def registered_class() -> type[nn.Module]:
    """Return the class that the public function registers, by calling it: the class itself is private."""
    example = nn.Module()
    example.weight = nn.Parameter(torch.ones(1, 1))
    parametrizations: Any = weight_norm(example).parametrizations
    return type(parametrizations["weight"][0])
