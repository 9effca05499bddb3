from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dsft.errors import ExportError
from dsft.runtimes import graph_of, trace
from tests.zoo import Residual


def test_a_traced_network_takes_batches_of_any_size() -> None:
    model = Residual().eval()
    graph = graph_of(trace(model, torch.randn(2, 3, 8, 8)))
    for count in (1, 5):
        images = torch.randn(count, 3, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(graph(images), model(images))


class LooksAtValues(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images


class OneSize(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, -1) if len(images) == 2 else images


@pytest.mark.parametrize("model", [LooksAtValues(), OneSize()], ids=["values", "size"])
def test_a_forward_pass_that_cannot_be_traced_is_an_error(model: nn.Module) -> None:
    with pytest.raises(ExportError, match="cannot be traced for batches of any size"):
        trace(model, torch.randn(2, 3, 8, 8))
