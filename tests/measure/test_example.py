from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dsft.errors import ModelError
from dsft.measure import batch_size_of, run_example
from tests.zoo import TwoInputs


def test_tuples_are_positional_and_dicts_are_keywords() -> None:
    model, left, right = TwoInputs(), torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    expected = model(left, right)
    assert torch.equal(run_example(model, (left, right)), expected)
    assert torch.equal(run_example(model, {"right": right, "left": left}), expected)


def test_a_list_is_one_argument() -> None:
    class Stack(nn.Module):
        def forward(self, images: list[Tensor]) -> Tensor:
            return torch.stack(images)

    images = [torch.randn(3, 4, 4), torch.randn(3, 4, 4)]
    assert run_example(Stack(), images).shape == (2, 3, 4, 4)
    assert batch_size_of(images) == 2


def test_modes_come_back_one_by_one_and_no_statistics_move() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model[0].eval()
    run_example(model, torch.randn(4, 3, 5, 5))
    assert [module.training for module in model] == [False, True]
    assert torch.equal(model[1].running_mean, torch.zeros(3))  # type: ignore[arg-type]


def test_batch_size_of_each_kind() -> None:
    images = torch.randn(4, 3, 5, 5)
    assert [batch_size_of(each) for each in (images, (images, 1), {"mask": None, "images": images})] == [
        4,
        4,
        4,
    ]
    with pytest.raises(ModelError, match="expected a tensor in it, found tuple"):
        batch_size_of(("no", "tensor"))
