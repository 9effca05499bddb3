"""BatchNorm statistics over the batch of all processes.

torch's ``SyncBatchNorm`` runs on GPUs only and replaces modules, which would have to be undone before the network is
saved or exported. Here the modules stay, and the function that they call is replaced. This works on any device, for any
number of dimensions, and for subclasses such as timm's ``BatchNormAct2d``.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dsft.compat.torch_modules import batch_norm_class, replace_forward
from dsft.distributed.processes import Processes


class SyncBatchNorm(ExitStack):
    """Makes the BatchNorms of a network share their statistics between processes, until it is closed.

    In training mode each normalizes with mean and variance over the images of all processes, and updates its running
    statistics with them; its forward pass and its backward pass communicate once each. So all processes must run the
    network the same number of times: one without images runs it on a placeholder, in :meth:`placeholder`.

    Args:
        module: The network.
        processes: The processes, at least two.
    """

    def __init__(self, module: nn.Module, processes: Processes) -> None:
        super().__init__()
        self._mode = _SharedStatistics(processes)
        for norm in module.modules():
            if isinstance(norm, batch_norm_class()) and not isinstance(norm, nn.SyncBatchNorm):
                self.callback(replace_forward(norm, functools.partial(self._forward, norm.forward)))

    @contextlib.contextmanager
    def placeholder(self) -> Iterator[None]:
        """Leave the images of the forward and backward passes in the context out of the statistics."""
        self._mode.is_counted = False
        try:
            yield
        finally:
            self._mode.is_counted = True

    def _forward(self, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        with self._mode:
            return forward(*inputs, **named)


class _SharedStatistics(TorchFunctionMode):
    """Replaces ``functional.batch_norm``."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self.is_counted = True
        self._processes = processes

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, or its counterpart with shared statistics."""
        del types
        called = self._batch_norm if func is functional.batch_norm else func
        return called(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        images: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Normalize ``(batch, channels, ...)``: Ioffe & Szegedy 2015 (Batch Normalization, algorithm 1)."""
        if not training:
            return functional.batch_norm(images, running_mean, running_var, weight, bias, False, momentum, eps)
        values = images.to(torch.promote_types(images.dtype, torch.float32))
        count, mean, variance = self._statistics(values)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                unbiased = variance * (count / (count - 1).clamp(min=1))
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        normalized = (values - _along_channels(mean, values)) * _along_channels((variance + eps).rsqrt(), values)
        if weight is not None:
            normalized = normalized * _along_channels(weight, values)
        if bias is not None:
            normalized = normalized + _along_channels(bias, values)
        return normalized.to(images.dtype)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the number of values per channel, their means and their biased variances, over all processes.

        Each process contributes its own; the variances are combined as ``E[var_i + (mean_i - mean)^2]``, without the
        cancellation of ``E[x^2] - mean^2``.
        """
        variance, mean = torch.var_mean(values, dim=[0, *range(2, values.dim())], correction=0)
        size = values.numel() // values.shape[1] if self.is_counted else 0
        own = torch.cat([mean, variance, mean.new_tensor([size])])
        table = own.new_zeros(self._processes.count, len(own))
        # Each process fills its own row, so that the sum over the processes is the whole table.
        table[self._processes.rank] = own
        rows: Tensor = _SumOverProcesses.apply(table)
        means, variances, counts = torch.split(rows, [len(mean), len(mean), 1], dim=1)
        count = counts.sum()
        shares = counts / count
        mean = (shares * means).sum(0)
        return count, mean, (shares * (variances + (means - mean) ** 2)).sum(0)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of those of all processes."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        del context
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        del context
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def _along_channels(vector: Tensor, values: Tensor) -> Tensor:
    return vector.view(1, -1, *[1] * (values.dim() - 2))
