"""Calibration data: what it may be, and which positions of a layer's maps are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_leaves, tree_map
from dsft.errors import ConversionError
from dsft.measure.example import ExampleInput

Calibration = Iterable[ExampleInput] | Tensor
"""Batches as the network takes them, preprocessed and without labels: tensors, tuples, lists or dicts. One tensor is
images along its first dimension."""

CHUNK = 16
"""Images that pass through a network at a time where the calibration data is one tensor, or tensors."""

MAP_BYTES = 64 << 20
"""About how much memory the maps take that are made to be looked at."""


def read_calibration(calibration: Calibration, model: nn.Module) -> list[ExampleInput]:
    """Return the batches as a list, on the network's device; tensors are cut into small batches.

    Raises:
        ConversionError: There is none, or one holds NaN or infinite values.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    given = [calibration] if isinstance(calibration, Tensor) else calibration
    if isinstance(given, Mapping | str) or not isinstance(given, Iterable):
        raise ConversionError(
            f"calibration: an iterable of batches is needed, as the network takes them, found "
            f"{type(calibration).__name__}. A batch that is a dict or a tuple goes into a list."
        )
    batches: list[ExampleInput] = []
    for number, batch in enumerate(given):
        moved = tree_map(lambda leaf: _placed(leaf, device) if isinstance(leaf, Tensor) else leaf, batch)
        _require_finite(moved, number)
        batches += list(torch.split(moved, CHUNK)) if isinstance(moved, Tensor) and moved.dim() else [moved]
    if not batches:
        raise ConversionError("calibration: at least one batch of inputs is needed, found none.")
    return batches


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    # No gradient can pass through what was made in inference mode.
    placed = tensor.detach().to(device)
    return placed.clone() if placed.is_inference() else placed


def _require_finite(batch: Any, number: int) -> None:
    tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]
    if not tensors:
        raise ConversionError(
            f"calibration: batch {number} holds no tensor, found {type(batch).__name__}. Give inputs as the network "
            "takes them."
        )
    for tensor in tensors:
        if not tensor.numel():
            raise ConversionError(f"calibration: batch {number} is empty, of shape {tuple(tensor.shape)}.")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ConversionError(
                f"calibration: batch {number} holds NaN or infinite values, which no weights can be fitted to. Leave "
                "the image out."
            )


def choose_positions(maps: Tensor, count: int, seed: int) -> Tensor:
    """Choose the positions of some maps that are looked at: as many in each image, the same for one size and seed.

    Args:
        maps: ``(batch, channels, *size)``.
        count: How many positions at most, over all images; each image has at least one.
        seed: Chooses them.

    Returns:
        Places in the flattened size, ascending in each image, ``(batch, positions)``, on the maps' device.
    """
    images, positions = maps.shape[0], math.prod(maps.shape[2:])
    each = min(positions, max(count // max(images, 1), 1))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(images, positions, generator=generator).topk(each, dim=1).indices
    # Ascending, so that memory is read from front to back.
    return chosen.sort(dim=1).values.to(maps.device)


def take_positions(maps: Tensor, chosen: Tensor) -> Tensor:
    """Return the values of maps ``(batch, channels, *size)`` there: ``(batch * positions, channels)``, float32."""
    rows = maps.detach().movedim(1, -1).flatten(1, -2)
    images = torch.arange(len(rows), device=rows.device).unsqueeze(1)
    return rows[images, chosen].flatten(0, 1).float()


def look(make: Callable[[Tensor], Tensor], images: Tensor, count: int, seed: int) -> Tensor:
    """Make maps of images, a few at a time, and return their values at chosen positions.

    Args:
        make: Makes maps ``(batch, channels, *size)`` of images.
        images: ``(batch, channels, *size)``.
        count: How many positions at most, over all images.
        seed: Chooses them as :func:`choose_positions` does.
    """
    with torch.no_grad():
        first = make(images[:1])
        chosen = choose_positions(first.expand(len(images), *first.shape[1:]), count, seed)
        # Of no boxes, for example, there are no maps.
        size = max(MAP_BYTES // max(first.numel() * first.element_size(), 1), 1)
        parts = zip(torch.split(images, size), torch.split(chosen, size), strict=True)
        return torch.cat([take_positions(make(part), places) for part, places in parts])
