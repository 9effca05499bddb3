"""What goes wrong inside a training step, said in the user's words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dsft.errors import DataError, TrainingError
from dsft.training.freezing import has_running_statistics


@contextlib.contextmanager
def explained_failures(module: nn.Module, images: Tensor) -> Iterator[None]:
    """Translate torch's errors of one step.

    Args:
        module: The network that trains.
        images: The step's images ``(batch, channels, height, width)``.

    Raises:
        DataError: BatchNorm met a single image.
        TrainingError: The device ran out of memory, or an operation has no deterministic form.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{images.device} ran out of memory in a training step with images {tuple(images.shape)}. "
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
        if not torch.are_deterministic_algorithms_enabled() or "deterministic" not in str(error):
            raise
        raise TrainingError(
            f"train.deterministic: this network has no deterministic form on {images.device}. "
            f"Set it to false, or use another device. torch says: {error}"
        ) from error


def _training_norm(module: nn.Module) -> str | None:
    named = module.named_modules()
    return next((name for name, part in named if part.training and has_running_statistics(part)), None)
