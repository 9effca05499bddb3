"""``train``: how the machine is used, and the seed."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dsft.choices import Amp
from dsft.recipe.sections.base import Section, Seed


class TrainSection(Section):
    """How the machine is used, and the seed."""

    seed: Seed = 0
    """Seed of the weights, the order of the images and the augmentation."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    amp: Amp = Amp.AUTO
    """Mixed precision: `auto` is bfloat16 on a GPU that has it, else float16 there, and none on a CPU."""
    channels_last: bool = True
    """Store images as height, width, channel: faster for convolutions on most devices."""
    grad_accum: Annotated[int, Field(ge=1)] = 1
    """Batches that are summed up in a training step: the same as a `batch_size` that many times as large, norms over
    the batch apart, in the memory of one batch."""
    grad_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more time, the
    same result."""
    compile: bool = False
    """Train a network compiled by `torch.compile`; what is saved is the plain one."""
    deterministic: bool = False
    """Refuse operations that give another result each time."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.compile and self.grad_checkpointing:
            raise ValueError("compile: goes without grad_checkpointing, since it plans itself what it computes again")
        return self
