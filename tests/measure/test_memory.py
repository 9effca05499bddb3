from __future__ import annotations

import pytest
import torch
from torch import nn

from dsft.measure import peak_memory

PIXELS = 16 * 16
IMAGE = torch.zeros(1, 3, 16, 16)


def _weights(module: nn.Module) -> int:
    return 4 * sum(parameter.numel() for parameter in module.parameters())


def test_weights_input_and_the_activations_that_are_alive_together() -> None:
    # While the second activation is computed the first convolution's output may be freed, its ReLU's not.
    chain = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    assert peak_memory(chain, IMAGE) == _weights(chain) + 4 * PIXELS * (3 + 8 + 8)


def test_what_is_written_in_place_costs_nothing_more() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 5, 1))
    assert peak_memory(chain, IMAGE) == _weights(chain) + 4 * PIXELS * (3 + 8 + 5)


def test_a_skip_connection_keeps_its_input() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = nn.Conv2d(3, 20, 1), nn.Conv2d(20, 3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = images + self.narrow(self.wide(images))
            return answer

    module = Skip()
    assert peak_memory(module, IMAGE) == _weights(module) + 4 * PIXELS * (3 + 20 + 3)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_needs_its_activations_and_the_weights_once(batch: int) -> None:
    module = nn.Conv2d(3, 8, 1)
    found = peak_memory(module, IMAGE.repeat(batch, 1, 1, 1))
    assert found == _weights(module) + batch * 4 * PIXELS * (3 + 8)


def test_shared_weights_count_once_and_views_not_at_all() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Flatten())
    module[1].weight = module[0].weight
    assert peak_memory(module, IMAGE) == _weights(module) + 4 * PIXELS * (3 + 3 + 3)


def test_modes_come_back() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    peak_memory(module, IMAGE)
    assert module.training
    assert module.state_dict()["1.num_batches_tracked"] == 0
