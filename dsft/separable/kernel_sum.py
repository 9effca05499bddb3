"""The sum over the kernels of each output channel, the last step of the order ``pw_dw``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn


class KernelSum(nn.Module):
    """Sum the filtered maps of each output channel and add the bias.

    Outputs are processed in the order of their number of kernels, the most first. Outputs with equal numbers are then
    adjacent, and their maps of one rank are one slice. The sum needs slices and additions, one concatenation if the
    numbers differ, and a gather if the order is not that of the output.

    Args:
        kernels: Depthwise kernels of each output channel.
        channels: The output channel that each map belongs to, in the order of the maps: within a group by rank,
            within a rank by number of kernels.
        dimensions: Number of spatial dimensions: 1, 2 or 3.
        bias: Whether a bias is added.
        device: Device of the bias.
        dtype: Data type of the bias.
    """

    before: Tensor | None
    after: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        kernels: Sequence[int],
        channels: Sequence[int],
        dimensions: int,
        *,
        bias: bool,
        device: torch.device | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        outputs = sorted(range(len(kernels)), key=lambda output: (-kernels[output], output))
        places: dict[int, list[int]] = {output: [] for output in outputs}
        for place, output in enumerate(channels):
            places[output].append(place)
        by_rank = [
            places[output][rank] for rank in range(kernels[outputs[0]]) for output in outputs if kernels[output] > rank
        ]
        back = sorted(range(len(outputs)), key=outputs.__getitem__)
        self._orders = {"before": by_rank, "after": back}
        for name, order in self._orders.items():
            self.register_buffer(name, _index(order, device), persistent=False)
        self.slices = _slices([kernels[output] for output in outputs])
        self.dimensions = dimensions
        zeros = torch.zeros(len(kernels), device=device, dtype=dtype)
        self.register_parameter("bias", nn.Parameter(zeros) if bias else None)

    def reset_indices(self) -> None:
        """Compute the buffers anew, which are not in the state dict."""
        for name, order in self._orders.items():
            buffer = getattr(self, name)
            if buffer is not None:
                buffer.copy_(torch.tensor(order))

    def forward(self, maps: Tensor) -> Tensor:
        """Sum ``(..., kernels, *size)`` to ``(..., out_channels, *size)``."""
        axis = -1 - self.dimensions
        if self.before is not None:
            maps = maps.index_select(axis, self.before)
        sums = [
            reduce(torch.add, [maps.narrow(axis, start, width) for start in starts]) for starts, width in self.slices
        ]
        output = sums[0] if len(sums) == 1 else torch.cat(sums, axis)
        if self.after is not None:
            output = output.index_select(axis, self.after)
        return output if self.bias is None else output + self.bias.reshape(-1, *(1,) * self.dimensions)


def _index(order: Sequence[int], device: torch.device | None) -> Tensor | None:
    return None if list(order) == sorted(order) else torch.tensor(order, device=device)


def _slices(counts: Sequence[int]) -> list[tuple[list[int], int]]:
    """Return for each distinct number of kernels the start of its maps of every rank, and their width."""
    ranks = range(counts[0])
    starts = [sum(min(count, rank) for count in counts) for rank in ranks]
    return [
        ([starts[rank] + counts.index(count) for rank in range(count)], counts.count(count))
        for count in sorted(set(counts), reverse=True)
    ]
