"""``data.batch_size: auto``: the most images that a training step has room for at once."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.errors import TrainingError
from dsft.process_memory import free_memory
from dsft.progress import ignore
from dsft.training.determinism import reproducible
from dsft.training.settings import FitSettings
from dsft.training.train_step import Learner

STEP_IMAGES = 64
"""Images in a training step, however many of them fit at once: the learning rate goes with this number."""

_CPU_SHARE = 0.5  # of the memory that is free: what is kept for the backward pass is not all that a step needs
_SAMPLE = 2


@dataclass(frozen=True)
class _BlackBatch:
    images: Tensor
    targets: Tensor
    number: int = 0


def find_batch_size(
    module: nn.Module,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    settings: FitSettings,
    compute: Compute,
    teacher: nn.Module | None = None,
) -> int:
    """Return the largest of 64, 32, ... 2 images with which a step fits into memory.

    An accelerator is asked by whole steps, from the largest on, with everything that trains in any phase. A CPU would
    not refuse but be killed: there the activations that a small batch keeps say what a larger one would.

    Args:
        module: The network; a copy of it is trained.
        image_shape: ``(channels, height, width)``.
        num_classes: Classes of the labels.
        settings: How it trains.
        compute: Where, and in which number format.
        teacher: The network to learn from.

    Raises:
        TrainingError: Not even two images fit.
    """
    sizes = [STEP_IMAGES >> shift for shift in range(STEP_IMAGES.bit_length() - 1)]
    if compute.device.type == "cpu":
        free = free_memory()
        # Where the system does not say, as much as anyone could need.
        room = _CPU_SHARE * (math.inf if free is None else free)
        per_image = kept_for_backward(module, torch.zeros(_SAMPLE, *image_shape)) / _SAMPLE
        return next((size for size in sizes if size * per_image <= room), sizes[-1])
    for size in sizes:
        batch = _BlackBatch(torch.zeros(size, *image_shape), settings.task.placeholder_targets(size, num_classes))
        if fits_step(module, batch, settings=settings, compute=compute, teacher=teacher):
            return size
    raise TrainingError(
        f"data.batch_size: {compute.device} has no room for a step with two images of {image_shape[1]} x "
        f"{image_shape[2]} pixels. Lower data.image_size, or turn train.amp or train.grad_checkpointing on."
    )


def fits_step(
    module: nn.Module,
    batch: _BlackBatch,
    *,
    settings: FitSettings,
    compute: Compute,
    teacher: nn.Module | None = None,
) -> bool:
    """Take a whole step with a copy of a network, and say whether the device's memory was enough."""
    # What names parameters of the whole network is nothing to the memory.
    optimizer = dataclasses.replace(settings.optimizer, lr_mult=())
    settings = dataclasses.replace(settings, freeze=(), compile=False, optimizer=optimizer)
    try:
        with reproducible(settings.seed, compute.device, deterministic=False):
            learner = Learner(
                copy.deepcopy(module),
                teacher,
                settings,
                compute,
                steps_per_epoch=1,
                head=(),
                converted=(),
                report=ignore,
            )
            try:
                # The second one has the optimizer's state beside it.
                for step in range(2):
                    learner.update(step, [batch])
            finally:
                learner.finish()
    except TrainingError as error:
        if not isinstance(error.__cause__, torch.OutOfMemoryError):
            raise
        return False
    finally:
        if compute.device.type == "cuda":
            torch.cuda.empty_cache()
    return True


def kept_for_backward(module: nn.Module, images: Tensor) -> int:
    """Return the bytes of activations that a forward pass keeps for the backward pass; parameters do not count."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network = copy.deepcopy(module).train()
    own |= {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # The output is held, so that no storage is freed and its place taken by another.
        output = network(images)
    del output
    return sum(kept.values())
