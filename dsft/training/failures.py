"""What goes wrong inside a training step, said in the user's words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from dsft.compat.torch_compile import is_compiler_error
from dsft.errors import DataError, TrainingError, worker_killed
from dsft.training.optim.freezing import has_running_statistics


@contextlib.contextmanager
def explained_failures(module: nn.Module, images: Tensor, device: torch.device) -> Iterator[None]:
    """Translate torch's errors of one step.

    Args:
        module: The network that trains.
        images: The step's images ``(batch, channels, height, width)``, on any device.
        device: Where it trains.

    Raises:
        DataError: BatchNorm met a single image.
        TrainingError: The device ran out of memory, the network cannot be compiled, an operation has no
            deterministic form, or a process that reads images was killed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{device} ran out of memory in a training step with images {tuple(images.shape)}. "
            "Lower data.batch_size or data.image_size, or turn train.amp on."
        ) from error
    except ValueError as error:
        norm = _training_norm(module)
        if len(images) > 1 or norm is None:
            raise
        raise DataError(
            f"data.batch_size: a batch of one image cannot train the norm {norm!r}, which needs more than "
            "one value per channel. Use batches of 2 or more, and a train split of at least 2 images."
        ) from error
    except RuntimeError as error:
        if killed := worker_killed(error):
            raise killed from error
        if is_compiler_error(error):
            raise TrainingError(
                f"train.compile: torch cannot compile this network here. Set it to false. torch says: {error}"
            ) from error
        if not torch.are_deterministic_algorithms_enabled() or "deterministic" not in str(error):
            raise
        raise TrainingError(
            f"train.deterministic: this network has no deterministic form on {device}. "
            f"Set it to false, or use another device. torch says: {error}"
        ) from error


@contextlib.contextmanager
def explained_save(run: Path) -> Iterator[None]:
    """Say of a checkpoint that cannot be written which one is left.

    Raises:
        TrainingError: The disk is full, or the system refused otherwise.
    """
    try:
        yield
    # torch and safetensors wrap what the system says in errors of their own.
    except (OSError, RuntimeError, SafetensorError) as error:
        if killed := worker_killed(error):
            raise killed from error
        raise TrainingError(
            f"{str(run / 'checkpoints')!r}: the state cannot be saved: {error}. The checkpoint before is whole. Make "
            "room, or make the folder writable, and go on with --resume."
        ) from error


def _training_norm(module: nn.Module) -> str | None:
    named = module.named_modules()
    return next((name for name, part in named if part.training and has_running_statistics(part)), None)
