"""``train``: device, number format and seed."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.choices import Amp
from dsft.recipe.sections.base import Section, Seed


class TrainSection(Section):
    """Device, number format, memory and seed."""

    seed: Seed = 0
    """Seed of initial weights, order of the images, augmentation and dropout."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    amp: Amp = Amp.AUTO
    """Mixed precision: `auto` is bfloat16 on a GPU that supports it, float16 on other GPUs, and none on a CPU."""
    channels_last: bool = True
    """Use the channels_last memory format, which is faster for convolutions on most devices."""
    grad_accum: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients are accumulated in a training step: equivalent to a `batch_size` that many times as
    large, except for BatchNorm, in the memory of one batch."""
    grad_checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them: less memory, about a third more time, the
    same result."""
    compile: bool = False
    """Train a network compiled with `torch.compile`; the saved one is not compiled."""
    sync_batchnorm: bool = False
    """With several processes, compute BatchNorm statistics over the batch of all of them, not over each one's part."""
    deterministic: bool = False
    """Use deterministic operations only; one that has no deterministic form is an error."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.compile and self.grad_checkpointing:
            raise ValueError(
                "compile: cannot be combined with grad_checkpointing, since the compiler decides what to recompute"
            )
        if self.compile and self.sync_batchnorm:
            raise ValueError("sync_batchnorm: cannot be combined with compile")
        return self
