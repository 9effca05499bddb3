"""Errors of torch in a training step or a save, translated into messages that name the recipe's keys."""

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
def explained_failures(module: nn.Module, images: Tensor | None, device: torch.device) -> Iterator[None]:
    """Translate torch's errors of one step.

    Args:
        module: The network that is trained.
        images: Images of the step ``(batch, channels, height, width)``, on any device; None without any.
        device: Where it is trained.

    Raises:
        DataError: BatchNorm received a single image.
        TrainingError: The device ran out of memory, the network cannot be compiled, an operation has no
            deterministic form, or a worker of the data loader was killed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        shape = tuple(images.shape) if images is not None else ()
        raise TrainingError(
            f"{device} ran out of memory in a training step with inputs {shape}. "
            "Lower data.batch_size or data.image_size, or turn train.amp on."
        ) from error
    except ValueError as error:
        norm = _training_norm(module)
        if images is None or len(images) > 1 or norm is None:
            raise
        raise DataError(
            f"data.batch_size: a batch of one example cannot train the norm {norm!r}, which needs more than "
            "one value per channel. Use batches of 2 or more, and a train split of at least 2 examples."
        ) from error
    except RuntimeError as error:
        if translated := _translate(error, device):
            raise translated from error
        raise


def _translate(error: RuntimeError, device: torch.device) -> TrainingError | None:
    if killed := worker_killed(error):
        return killed
    if is_compiler_error(error):
        return TrainingError(
            f"train.compile: torch cannot compile this network on this machine. Set it to false. torch says: {error}"
        )
    if torch.are_deterministic_algorithms_enabled() and "deterministic" in str(error):
        return TrainingError(
            f"train.deterministic: this network has no deterministic form on {device}. "
            f"Set it to false, or use another device. torch says: {error}"
        )
    return None


@contextlib.contextmanager
def explained_save(run: Path) -> Iterator[None]:
    """Translate the error of a checkpoint that cannot be written.

    Raises:
        TrainingError: The disk is full, or the system does not permit it.
    """
    try:
        yield
    # torch and safetensors wrap the system's errors in their own.
    except (OSError, RuntimeError, SafetensorError) as error:
        if killed := worker_killed(error):
            raise killed from error
        raise TrainingError(
            f"{str(run / 'checkpoints')!r}: the checkpoint cannot be saved: {error}. The one before it is intact. Free "
            "some space, or make the folder writable, and continue with --resume."
        ) from error


def _training_norm(module: nn.Module) -> str | None:
    named = module.named_modules()
    return next((name for name, part in named if part.training and has_running_statistics(part)), None)
