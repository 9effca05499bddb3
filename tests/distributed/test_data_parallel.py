from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dsft.distributed.data_parallel import GradientExchange, unify_strides
from dsft.distributed.processes import ALONE, Processes
from tests.distributed.siblings import run_together


class Loss(nn.Module):
    """The sum of a used weight times the input, or of an anchor; the first input also uses another weight."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.sometimes, self.never, self.anchor = (nn.Parameter(torch.ones(2)) for _ in range(4))

    def forward(self, factor: Tensor | None) -> Tensor:
        if factor is None:
            return self.anchor.sum() * 0.0
        weights = self.used + self.sometimes if factor.item() == 1 else self.used
        return (weights * factor).sum()


def exchange(processes: Processes) -> list[dict[str, Any]]:
    """Accumulate two backward passes in process 0 and one in process 1; then one with images only in process 0."""
    loss, found = Loss(), []
    gradients = GradientExchange(loss, processes)
    steps: list[list[float | None]] = [[1.0, 2.0], [2.0]] if processes.is_first else [[4.0], [None]]
    for factors in steps:
        loss.zero_grad(set_to_none=True)
        for number, factor in enumerate(factors, 1):
            with gradients.backward_pass(is_last=number == len(factors)):
                gradients(torch.tensor(factor) if factor is not None else None).backward()  # type: ignore[no-untyped-call]
        found.append({name: None if p.grad is None else p.grad.tolist() for name, p in loss.named_parameters()})
    return found


def test_gradients_are_averaged_also_over_unequal_numbers_of_passes() -> None:
    first, second = run_together(exchange)
    assert first == second
    # Process 0 accumulates 1 + 2, process 1 has 4.
    assert first[0] == {"used": [3.5, 3.5], "sometimes": [0.5, 0.5], "never": None, "anchor": None}
    assert first[1] == {"used": [1.0, 1.0], "sometimes": None, "never": None, "anchor": [0.0, 0.0]}


def test_a_single_process_computes_the_loss_directly() -> None:
    loss = Loss()
    gradients = GradientExchange(loss, ALONE)
    for is_last in (False, True):
        with gradients.backward_pass(is_last=is_last):
            gradients(torch.tensor(2.0)).backward()  # type: ignore[no-untyped-call]
    assert loss.used.grad is not None
    assert loss.used.grad.tolist() == [4.0, 4.0]
    assert loss.never.grad is None


def test_strides_are_those_of_new_tensors() -> None:
    kernels, pointwise, matrix = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 4)
    module = nn.Sequential(kernels, pointwise, matrix)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    matrix.weight.data = matrix.weight.data.t().contiguous().t()
    pointwise.weight.data = pointwise.weight.data.as_strided((4, 4, 1, 1), (4, 1, 7, 7))
    for channels_last in (True, False):
        unify_strides(module, channels_last=channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        for part in (kernels, pointwise):
            assert part.weight.stride() == torch.empty(part.weight.shape, memory_format=layout).stride()
        assert matrix.weight.stride() == (4, 1)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
