"""``data.batch_size: auto``: the largest batch whose training step fits into memory."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsft.errors import TrainingError
from dsft.process_memory import free_memory
from dsft.progress import ignore
from dsft.training.determinism import reproducible
from dsft.training.setup import TrainingSetup
from dsft.training.train_step import TrainStep

STEP_IMAGES = 64
"""Images per optimizer step for any batch size, since the learning rate depends on this number."""

_CPU_SHARE = 0.5  # of the free memory: a step needs more than what is stored for the backward pass
_SAMPLE = 2


@dataclass(frozen=True)
class _BlankBatch:
    images: Tensor
    targets: Tensor
    number: int = 0


def find_batch_size(setup: TrainingSetup, example: Tensor, num_classes: int) -> int:
    """Return the largest batch size of 64, 32, ... 2 images whose step fits into memory.

    On an accelerator whole steps are tried, the largest first, with every parameter trained. On a CPU the process would
    be killed instead of raising an error: there the size of the activations of a small batch is extrapolated.

    Args:
        setup: The network, of which a copy is trained, its hyperparameters, and where it runs.
        example: An input ``(1, ...)``.
        num_classes: Number of classes.

    Raises:
        TrainingError: Not even two images fit.
    """
    sizes = [STEP_IMAGES >> shift for shift in range(STEP_IMAGES.bit_length() - 1)]
    device = setup.compute.device
    if device.type == "cpu":
        free = free_memory()
        # Unlimited if the system does not report it.
        budget = _CPU_SHARE * (math.inf if free is None else free)
        per_image = activation_bytes(setup.module, _repeated(example, _SAMPLE)) / _SAMPLE
        return next((size for size in sizes if size * per_image <= budget), sizes[-1])
    for size in sizes:
        images = _repeated(example, size)
        targets = setup.settings.task.codec.placeholder_targets(images.shape, num_classes)
        if fits_step(setup, _BlankBatch(images, targets)):
            return size
    raise TrainingError(
        f"data.batch_size: a step with two inputs of {' x '.join(map(str, example.shape[1:]))} does not fit into the "
        f"memory of {device}. Lower data.image_size, or turn train.amp or train.grad_checkpointing on."
    )


def _repeated(example: Tensor, count: int) -> Tensor:
    return example.repeat(count, *(1,) * (example.dim() - 1))


def fits_step(setup: TrainingSetup, batch: _BlankBatch) -> bool:
    """Take a whole step with a copy of a network, and return whether the device's memory suffices."""
    # Patterns that name parameters have no influence on the memory.
    optimizer = dataclasses.replace(setup.settings.optimizer, lr_mult=())
    settings = dataclasses.replace(setup.settings, freeze=(), compile=False, optimizer=optimizer)
    try:
        setup = dataclasses.replace(setup, module=copy.deepcopy(setup.module), settings=settings)
        with reproducible(settings.seed, setup.compute.device, deterministic=False):
            step = TrainStep(setup, steps_per_epoch=1, report=ignore)
            try:
                # In the second one the state of the optimizer exists too.
                for number in range(2):
                    step.run(number, [batch]).item()
            finally:
                step.close()
    except torch.OutOfMemoryError:
        return False
    except TrainingError as error:
        if not isinstance(error.__cause__, torch.OutOfMemoryError):
            raise
        return False
    finally:
        if setup.compute.device.type == "cuda":
            torch.cuda.empty_cache()
    return True


def activation_bytes(module: nn.Module, images: Tensor) -> int:
    """Return the bytes that a forward pass stores for the backward pass, without parameters and buffers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    stored: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            stored[storage.data_ptr()] = storage.nbytes()
        return tensor

    network = copy.deepcopy(module).train()
    own |= {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        # Keep the output alive, so that no storage is freed and its address used for another.
        output = network(images)
    del output
    return sum(stored.values())
