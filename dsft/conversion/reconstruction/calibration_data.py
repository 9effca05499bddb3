"""Read calibration data, and sample positions of feature maps."""

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
"""Batches as the network takes them, preprocessed and without labels: tensors, tuples, lists or dicts. A single
tensor holds images along its first dimension."""

BATCH_SIZE = 16
"""Images per forward pass, for calibration data given as tensors."""

CHUNK_BYTES = 64 << 20
"""Approximate size of the feature maps computed at a time by :func:`sample_maps`."""


def read_calibration(calibration: Calibration, model: nn.Module) -> list[ExampleInput]:
    """Return calibration data as a list of batches on the network's device; tensors are split into small batches.

    Raises:
        ConversionError: There are no batches, or one is empty or holds NaN or infinite values.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    given: Any = [calibration] if isinstance(calibration, Tensor) else calibration
    if isinstance(given, Mapping | str) or not isinstance(given, Iterable):
        raise ConversionError(
            f"calibration: expected an iterable of batches as the network takes them, found "
            f"{type(calibration).__name__}. Put a batch that is a dict or a tuple into a list."
        )
    batches: list[ExampleInput] = []
    for number, batch in enumerate(given):
        moved = tree_map(lambda leaf: _moved(leaf, device) if isinstance(leaf, Tensor) else leaf, batch)
        _require_finite(moved, number)
        batches += list(torch.split(moved, BATCH_SIZE)) if isinstance(moved, Tensor) and moved.dim() else [moved]
    if not batches:
        raise ConversionError("calibration: expected at least one batch of inputs, found none.")
    return batches


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    # Inference tensors cannot be part of a backward pass.
    moved = tensor.detach().to(device)
    return moved.clone() if moved.is_inference() else moved


def _require_finite(batch: Any, number: int) -> None:
    tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]
    if not tensors:
        raise ConversionError(
            f"calibration: expected tensors in batch {number}, found {type(batch).__name__}. Give inputs as the "
            "network takes them."
        )
    for tensor in tensors:
        if not tensor.numel():
            raise ConversionError(f"calibration: batch {number} is empty, of shape {tuple(tensor.shape)}.")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ConversionError(
                f"calibration: batch {number} holds NaN or infinite values. Remove the input or fix its preprocessing."
            )


def sample_positions(maps: Tensor, count: int, seed: int) -> Tensor:
    """Draw random positions of feature maps, as many in each image; the same for equal sizes and seeds.

    Args:
        maps: ``(batch, channels, *size)``.
        count: Maximum number of positions over all images; each image has at least one.
        seed: Seed of the draw.

    Returns:
        Indices into the flattened size, ascending in each image, ``(batch, positions)``, on the maps' device.
    """
    images, positions = maps.shape[0], math.prod(maps.shape[2:])
    each = min(positions, max(count // max(images, 1), 1))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(images, positions, generator=generator).topk(each, dim=1).indices
    # Ascending, so that memory is read sequentially.
    return chosen.sort(dim=1).values.to(maps.device)


def gather_positions(maps: Tensor, positions: Tensor) -> Tensor:
    """Return the values of maps ``(batch, channels, *size)`` at positions, ``(batch * positions, channels)``, float32.

    The result is a copy, so that in-place operations on the maps do not change it.
    """
    rows = maps.detach().movedim(1, -1).flatten(1, -2)
    images = torch.arange(len(rows), device=rows.device).unsqueeze(1)
    return rows[images, positions].flatten(0, 1).float()


def sample_maps(make: Callable[[Tensor], Tensor], images: Tensor, count: int, seed: int) -> Tensor:
    """Compute feature maps of a few images at a time, and return their values at random positions.

    Args:
        make: Computes maps ``(batch, channels, *size)`` from images.
        images: ``(batch, channels, *size)``.
        count: Maximum number of positions over all images.
        seed: Seed of the draw, see :func:`sample_positions`.

    Returns:
        ``(batch * positions, channels)``, float32.
    """
    with torch.no_grad():
        first = make(images[:1])
        positions = sample_positions(first.expand(len(images), *first.shape[1:]), count, seed)
        # The maps of a detector's boxes are empty if there are none.
        size = max(CHUNK_BYTES // max(first.numel() * first.element_size(), 1), 1)
        parts = zip(torch.split(images, size), torch.split(positions, size), strict=True)
        return torch.cat([gather_positions(make(part), places) for part, places in parts])
