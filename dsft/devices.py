"""Where and in which number format a network runs."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsft.choices import Amp
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import RecipeError


@dataclass(frozen=True)
class Compute:
    """How forward passes run: the device, the mixed-precision format and the memory layout.

    Attributes:
        device: Where parameters and images are.
        amp_dtype: The number format of autocast, or None to compute in the parameters' own.
        channels_last: Store images and kernels as height, width, channel.
    """

    device: torch.device
    amp_dtype: torch.dtype | None = None
    channels_last: bool = False

    def place(self, images: Tensor) -> Tensor:
        """Return images on the device, and ``(batch, channels, height, width)`` in the memory layout."""
        layout = torch.channels_last if self.channels_last and images.dim() == 4 else torch.contiguous_format
        return images.to(self.device, non_blocking=True, memory_format=layout)

    def place_module(self, module: nn.Module) -> nn.Module:
        """Move a module to the device and the memory layout, in place, and return it."""
        if self.channels_last:
            # torch's stubs know only the overload without memory_format.
            return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
        return module.to(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which a forward pass and its loss run."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)


def allowed_cores() -> int:
    """Return how many cores this process may use: a container or a batch system may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def layout_of(kernel: Tensor) -> torch.memory_format:
    """Return the memory layout of a convolution's kernel; contiguous where it fits several."""
    layouts = (torch.channels_last, torch.channels_last_3d)
    fitting = (layout for layout in layouts if kernel.is_contiguous(memory_format=layout))
    return torch.contiguous_format if kernel.is_contiguous() else next(fitting, torch.contiguous_format)


def resolve_compute(device: str, amp: Amp, channels_last: bool, launch: Launch = SINGLE) -> Compute:
    """Turn a recipe's words into a :class:`Compute` that exists on this machine.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        amp: The mixed-precision format; ``auto`` chooses by device.
        channels_last: The memory layout.
        launch: The place of this process among others, each of which takes a GPU of its own.

    Raises:
        RecipeError: The device is unknown or not there, or does not compute in the format.
    """
    chosen = resolve_device(device if launch.count == 1 else own_device(device, launch))
    if launch.count > 1 and chosen.type == "cuda":
        # What does not say where it runs, NCCL among it, goes there.
        torch.cuda.set_device(chosen)
    return Compute(chosen, _amp_dtype(amp, chosen), channels_last)


def resolve_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is the first accelerator, else the CPU.

    Raises:
        RecipeError: torch does not know the name, or this machine has no such device.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(f"device: expected auto, cpu, cuda, cuda:N or mps, found {name!r}.") from error
    count = torch.accelerator.device_count() if accelerator and accelerator.type == device.type else 0
    if device.type != "cpu" and (device.index or 0) >= count:
        raise RecipeError(
            f"device: this machine has {count} device(s) of type {device.type!r}, found {name!r}. Use auto or cpu."
        )
    return device


def own_device(name: str, launch: Launch) -> str:
    """Return the name of the device that one of several processes uses.

    Raises:
        RecipeError: There is none for it, or all would use the same.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not has_cuda):
        return "cpu"
    if name not in ("auto", "cuda"):
        raise RecipeError(
            f"train.device: each of {launch.count} processes takes a device of its own, found {name!r}. Use auto, cuda "
            "or cpu."
        )
    count = torch.cuda.device_count()
    # srun may show each task its own GPU alone.
    index = 0 if count == 1 and launch.local_count == 1 else launch.local_rank
    if index >= count:
        raise RecipeError(
            f"train.device: each process takes a GPU of its own, found {count} on the machine of process "
            f"{launch.rank}, which is number {index} there. Start as many processes as there are GPUs, or use cpu."
        )
    return f"cuda:{index}"


def _amp_dtype(amp: Amp, device: torch.device) -> torch.dtype | None:
    if amp is Amp.NONE or (amp is Amp.AUTO and device.type == "cpu"):
        return None
    if amp is Amp.AUTO:
        has_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if amp is Amp.FLOAT16 and device.type == "cpu":
        raise RecipeError("train.amp: float16 needs a GPU, found device 'cpu'. Use bfloat16 or none.")
    return torch.bfloat16 if amp is Amp.BFLOAT16 else torch.float16
