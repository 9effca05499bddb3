from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dsft.losses import sampled_binary_cross_entropy, sampled_cross_entropy

LOGITS = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)


def second_moment(loss: Callable[[torch.Tensor, torch.Generator], torch.Tensor]) -> torch.Tensor:
    """Return the mean of the outer products of many gradients."""
    generator = torch.Generator().manual_seed(0)
    logits = LOGITS.repeat(200_000, 1).requires_grad_()
    (gradients,) = torch.autograd.grad(loss(logits, generator), logits)
    return gradients.T @ gradients / len(logits)


def test_the_gradients_of_one_class_have_the_fisher_information_of_the_softmax() -> None:
    chances = LOGITS.softmax(1)[0]
    expected = chances.diag() - torch.outer(chances, chances)
    torch.testing.assert_close(second_moment(sampled_cross_entropy), expected, atol=2e-3, rtol=0)


def test_those_of_several_labels_that_of_independent_decisions() -> None:
    chances = LOGITS.sigmoid()[0]
    expected = (chances * (1 - chances)).diag()
    torch.testing.assert_close(second_moment(sampled_binary_cross_entropy), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("loss", [sampled_cross_entropy, sampled_binary_cross_entropy])
def test_the_draw_depends_on_the_generator(loss: Callable[[torch.Tensor, torch.Generator], torch.Tensor]) -> None:
    logits = torch.zeros(50, 3)
    found = [loss(logits + 0.1 * torch.arange(3), torch.Generator().manual_seed(seed)).item() for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
