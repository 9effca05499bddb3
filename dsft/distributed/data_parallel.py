"""Gradient averaging with torch's ``DistributedDataParallel``, overlapped with the backward pass."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dsft.distributed.processes import Processes, explained_exchange

# Newer versions of torch deprecate the second name; both are public.
_WITHOUT_BUFFERS: dict[str, Any] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}
)


class GradientExchange:
    """Computes a loss in each process, and averages the gradients of its parameters over the processes.

    No-op in a single process: the loss is called directly.

    Which parameters a backward pass uses may differ from step to step and from process to process: one that no process
    has used keeps its gradient None, one that some have used gets a gradient in all. Buffers are left alone.

    Args:
        loss: Returns a scalar. Its parameters that require a gradient are exchanged, so a new instance is needed when
            others are to be trained. They have the same values and strides in every process.
        processes: The processes.
    """

    def __init__(self, loss: nn.Module, processes: Processes) -> None:
        self._loss = loss
        self._parallel: DistributedDataParallel | None = None
        if processes.count > 1:
            with explained_exchange():
                self._parallel = DistributedDataParallel(
                    loss,
                    find_unused_parameters=True,
                    gradient_as_bucket_view=True,
                    **_WITHOUT_BUFFERS,
                )

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """Return the loss of the inputs."""
        with explained_exchange():
            value: Tensor = self._loss(*inputs) if self._parallel is None else self._parallel(*inputs)
        return value

    @contextlib.contextmanager
    def backward_pass(self, *, is_last: bool) -> Iterator[None]:
        """Return the context of the forward and backward pass of a batch.

        Args:
            is_last: Exchange the gradients that have been accumulated since the last exchange.

        Raises:
            LostProcessError: Another process has ended.
        """
        skip: AbstractContextManager[None] = contextlib.nullcontext()
        if self._parallel is not None and not is_last:
            skip = self._parallel.no_sync()
        with explained_exchange(), skip:
            yield


@torch.no_grad()
def unify_strides(module: nn.Module, *, channels_last: bool) -> None:
    """Give every parameter the strides that torch gives a new tensor of its shape, in place.

    Processes exchange gradients as they lie in memory, and a converted network may lie in memory in another way than
    one whose conversion was replayed.

    Args:
        module: The module.
        channels_last: The memory layout of parameters of four dimensions.
    """
    for parameter in module.parameters():
        is_image = channels_last and parameter.dim() == 4
        layout = torch.channels_last if is_image else torch.contiguous_format
        unified = torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device, memory_format=layout)
        parameter.data = unified.copy_(parameter)
