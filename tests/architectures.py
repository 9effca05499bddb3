"""Every architecture of timm and torchvision: how it is built, and the smallest input that it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models._api import get_model, list_models

from dsft.measure import run_example

SIDES = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)
TORCHVISION_TASKS = {
    "classification": models,
    **{t: getattr(models, t) for t in ("segmentation", "detection", "video")},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
}


@dataclass(frozen=True)
class Architecture:
    """A name of a library.

    Attributes:
        library: ``timm`` or ``torchvision``.
        family: timm's module, or torchvision's task.
        name: As the library's own ``create_model`` takes it.
    """

    library: str
    family: str
    name: str

    def __str__(self) -> str:
        return f"{self.library}/{self.name}"

    def build(self, side: int | None = None) -> nn.Module:
        """Build the network with random weights, for images of so many pixels a side where it must be told."""
        if self.library == "timm":
            told: dict[str, Any] = {} if side is None else {"img_size": side}
            model: nn.Module = timm.create_model(self.name, **told)
            return model
        options = dict(OPTIONS.get(self.name, {}))
        if self.family in ("segmentation", "detection"):
            options["weights_backbone"] = None
        if self.family == "detection" and not self.name.startswith("ssd"):
            options |= {"min_size": 128, "max_size": 128}
        return get_model(self.name, weights=None, **options)

    def example(self, model: nn.Module, side: int) -> Any:
        """Return random images of so many pixels a side, as the network takes them."""
        if self.family == "detection" and self.library == "torchvision":
            return [torch.rand(3, 128, 128)]
        if self.family == "video":
            return torch.randn(1, 3, 16, side, side)
        channels = getattr(model, "pretrained_cfg", {}).get("input_size", (3,))[0]
        return torch.randn(1, channels, side, side)


def all_architectures() -> list[Architecture]:
    """Return every architecture of both libraries, each library's in the order of its names."""
    module_of = timm.models._registry._model_to_module
    found = [Architecture("timm", module_of[name], name) for name in timm.list_models()]
    for task, module in TORCHVISION_TASKS.items():
        found += [Architecture("torchvision", task, name) for name in list_models(module)]
    return found


def in_turn(architectures: Iterable[Architecture], parameters: dict[str, int]) -> Iterator[Architecture]:
    """Yield the smallest of each family, then the second smallest of each, and so on."""
    families: dict[tuple[str, str], list[Architecture]] = defaultdict(list)
    for architecture in architectures:
        families[architecture.library, architecture.family].append(architecture)
    ranked = [
        (rank, parameters[str(architecture)], str(architecture), architecture)
        for members in families.values()
        for rank, architecture in enumerate(sorted(members, key=lambda member: parameters[str(member)]))
    ]
    return (architecture for *_, architecture in sorted(ranked))


def count_without_memory(architecture: Architecture) -> int:
    """Return the number of parameters of an architecture; tensors are only described where it allows that."""
    try:
        with torch.device("meta"):
            model = architecture.build()
    except (RuntimeError, NotImplementedError, TypeError):
        model = architecture.build()
    return sum(parameter.numel() for parameter in model.parameters())


def build_smallest(architecture: Architecture) -> tuple[nn.Module, Any, int | None]:
    """Build a network with the smallest input that it takes.

    Returns:
        The network, the input, and the side that ``build`` was told, None where it was told none.

    Raises:
        RuntimeError: No input of the ``SIDES`` runs.
    """
    model = architecture.build()
    own = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1]
    for side in [side for side in SIDES if side < min(own, 257)] + ([own] if own <= 256 else []):
        if example := _taken(architecture, model, side):
            return model, example[0], None
    for side in (224, 256):
        if own > 256 and architecture.library == "timm" and (smaller := _told(architecture, side)):
            return *smaller, side
    for side in sorted({*SIDES, own}):
        if side > 256 and (example := _taken(architecture, model, side)):
            return model, example[0], None
    raise RuntimeError(f"{architecture}: takes none of the sides {SIDES} and {own}")


def _taken(architecture: Architecture, model: nn.Module, side: int) -> tuple[Any] | None:
    example = architecture.example(model, side)
    try:
        run_example(model, example)
    except Exception:
        return None
    return (example,)


def _told(architecture: Architecture, side: int) -> tuple[nn.Module, Any] | None:
    try:
        model = architecture.build(side)
    except Exception:
        return None
    example = _taken(architecture, model, side)
    return (model, example[0]) if example else None
