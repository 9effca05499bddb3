"""The device, number format and memory layout of a network."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsft.choices import Amp
from dsft.distributed.launch import SINGLE, Launch
from dsft.errors import RecipeError
from dsft.number_format import plural


@dataclass(frozen=True)
class Compute:
    """How forward passes run.

    Attributes:
        device: Device of parameters and images.
        amp_dtype: Number format of autocast; None computes in the format of the parameters.
        channels_last: Use the memory layout channels_last for images and kernels.
    """

    device: torch.device
    amp_dtype: torch.dtype | None = None
    channels_last: bool = False

    def place(self, images: Tensor) -> Tensor:
        """Return images on the device; those of shape ``(batch, channels, height, width)`` in the memory layout."""
        layout = torch.channels_last if self.channels_last and images.dim() == 4 else torch.contiguous_format
        return images.to(self.device, non_blocking=True, memory_format=layout)

    def place_module(self, module: nn.Module) -> nn.Module:
        """Move a module to the device and the memory layout, in place, and return it."""
        # torch applies one layout to all kernels, and those with three axes have another one.
        has_volumes = any(tensor.dim() == 5 for tensor in (*module.parameters(), *module.buffers()))
        if self.channels_last and not has_volumes:
            # torch's stubs know only the overload without memory_format.
            return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
        return module.to(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context manager for a forward pass and its loss."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)


def allowed_cores() -> int:
    """Return the number of cores that this process may use, which a container or batch system may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def layout_of(kernel: Tensor) -> torch.memory_format:
    """Return the memory layout of a convolution's kernel; contiguous if several layouts apply."""
    layouts = (torch.channels_last, torch.channels_last_3d)
    fitting = (layout for layout in layouts if kernel.is_contiguous(memory_format=layout))
    return torch.contiguous_format if kernel.is_contiguous() else next(fitting, torch.contiguous_format)


def resolve_compute(device: str, amp: Amp, channels_last: bool, launch: Launch = SINGLE) -> Compute:
    """Resolve the settings of a recipe to a :class:`Compute` on this machine.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        amp: The mixed-precision format; ``auto`` depends on the device.
        channels_last: Whether to use the memory layout channels_last.
        launch: Rank and number of the processes; each of several processes uses a GPU of its own.

    Raises:
        RecipeError: The device is unknown or missing, or does not support the number format.
    """
    chosen = resolve_device(device if launch.count == 1 else own_device(device, launch))
    if launch.count > 1 and chosen.type == "cuda":
        # The default device for everything without an explicit one, such as NCCL.
        torch.cuda.set_device(chosen)
    return Compute(chosen, _amp_dtype(amp, chosen), channels_last)


def resolve_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is the first accelerator, or else the CPU.

    Raises:
        RecipeError: The name is invalid, or this machine has no such device.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    device = parse_device(name)
    count = torch.accelerator.device_count() if accelerator and accelerator.type == device.type else 0
    if device.type != "cpu" and (device.index or 0) >= count:
        raise RecipeError(
            f"device: this machine has {plural(count, 'device')} of type {device.type!r}, found {name!r}. "
            "Use auto or cpu."
        )
    return device


def parse_device(name: str) -> torch.device:
    """Return the device called ``name``, whether this machine has it or not.

    Raises:
        RecipeError: torch does not know such a device.
    """
    try:
        return torch.device("cpu" if name == "auto" else name)
    except RuntimeError as error:
        raise RecipeError(f"device: expected auto, cpu, cuda, cuda:N or mps, found {name!r}.") from error


def own_device(name: str, launch: Launch) -> str:
    """Return the name of the device that one of several processes uses.

    Raises:
        RecipeError: There are too few devices, or all processes would use the same one.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not has_cuda):
        return "cpu"
    if name not in ("auto", "cuda"):
        raise RecipeError(
            f"train.device: each of {launch.count} processes needs a device of its own, found {name!r}. Use auto, cuda "
            "or cpu."
        )
    count = torch.cuda.device_count()
    # srun can make a single GPU visible to each task.
    index = 0 if count == 1 and launch.local_count == 1 else launch.local_rank
    if index >= count:
        raise RecipeError(
            f"train.device: each process needs a GPU of its own, found {plural(count, 'GPU')} on the machine of "
            f"process {launch.rank}, whose local rank is {index}. Start one process per GPU, or use cpu."
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
