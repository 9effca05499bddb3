"""Every architecture of timm and torchvision: how it is built, and the smallest input that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import timm
import torch
from timm.layers import weight_init
from torch import Tensor, nn
from torchvision import models
from torchvision.models._api import get_model, list_models

from dsft.measure import run_example
from tests.zoo import redraw

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


def count_without_memory(architecture: Architecture) -> int:
    """Return the number of parameters of an architecture; tensors are only described where it allows that."""
    try:
        with torch.device("meta"):
            model = architecture.build()
    except (RuntimeError, NotImplementedError, TypeError):
        model = architecture.build()
    return sum(parameter.numel() for parameter in model.parameters())


def build_smallest(architecture: Architecture) -> tuple[nn.Module, Any, int | None]:
    """Build a network in evaluation mode, its weights redrawn, with the smallest input that it takes.

    Returns:
        The network, the input, and the side that ``build`` was told, None where it was told none.

    Raises:
        RuntimeError: No input of the ``SIDES`` runs.
    """
    with undrawn(is_marked=False):
        model = architecture.build()
    if architecture.library == "torchvision":
        redraw(model)  # what finds boxes does not run on numbers that are none
    own = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1]
    smaller, larger = [side for side in SIDES if side < own], [side for side in SIDES if side > own]
    if found := _first_taken(architecture, model, smaller):
        return redraw(model).eval(), found[0], None
    if told := _first_told(architecture, smaller):
        return told
    if found := _first_taken(architecture, model, [own, *larger]):
        return redraw(model).eval(), found[0], None
    raise RuntimeError(f"{architecture}: takes none of the sides {SIDES} and {own}")


def _first_taken(architecture: Architecture, model: nn.Module, sides: Iterable[int]) -> tuple[Any] | None:
    return next((taken for side in sides if (taken := _taken(architecture, model, side))), None)


def _first_told(architecture: Architecture, sides: Iterable[int]) -> tuple[nn.Module, Any, int] | None:
    """Return the first network that timm builds for one of the sides and that takes it, its input and the side."""
    for side in sides if architecture.library == "timm" else ():
        try:
            with undrawn(is_marked=False):
                model = architecture.build(side)
        except TypeError:
            return None  # no size can be told
        except Exception:  # not this size
            model = None
        if model is not None and (taken := _taken(architecture, model, side)):
            return redraw(model).eval(), taken[0], side
    return None


def _taken(architecture: Architecture, model: nn.Module, side: int) -> tuple[Any] | None:
    example = architecture.example(model, side)
    try:
        run_example(model, example)
    except Exception:
        return None
    return (example,)


@contextmanager
def undrawn(*, is_marked: bool = True) -> Iterator[None]:
    """Build networks without drawing their weights, which takes most of that time.

    Args:
        is_marked: They are NaN, so that what is not loaded later is seen; else they are what the memory held.
    """
    drawing = {
        nn.init: ("_no_grad_uniform_", "_no_grad_normal_", "_no_grad_trunc_normal_", "kaiming_uniform_"),
        weight_init: ("_trunc_normal_",),
    }
    with ExitStack() as stack:
        for module, names in drawing.items():
            for name in names:
                stack.enter_context(patch.object(module, name, _make_nan if is_marked else _leave))
        yield


def _leave(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor


def _make_nan(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    with torch.no_grad():
        return tensor.fill_(torch.nan)
