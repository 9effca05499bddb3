from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dsft.errors import ExportError
from dsft.models.unet import ResidualDenoiser
from dsft.runtimes import graph_of, input_shape, trace, trace_folded
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


def test_a_program_takes_images_of_any_size_if_asked() -> None:
    network = ResidualDenoiser(1, 4, 3).eval()
    images = torch.randn(2, 1, 8, 8)
    program, folded = trace_folded(network, images, any_size=True)
    assert (input_shape(program), folded) == ((0, 1, 0, 0), 1)
    larger = torch.randn(3, 1, 11, 20)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(larger), network(larger))
    assert input_shape(trace_folded(network, images)[0]) == (0, 1, 8, 8)
    assert input_shape(trace_folded(network, images[:1], dynamic_batch=False)[0]) == (1, 1, 8, 8)
