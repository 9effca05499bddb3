from __future__ import annotations

import re
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torchvision.models import googlenet, inception_v3

from dsft.errors import ModelError
from dsft.tasks import split_outputs


class _Maybe(NamedTuple):
    logits: torch.Tensor
    aux_logits: torch.Tensor | None


def test_a_tensor_is_the_main_output() -> None:
    logits = torch.randn(2, 3)
    assert split_outputs(logits) == (logits, ())


@pytest.mark.parametrize(
    ("build", "size", "heads"),
    [(googlenet, 64, 2), (inception_v3, 299, 1)],
    ids=["googlenet", "inception_v3"],
)
def test_torchvision_auxiliary_heads_are_split_off(build: type[nn.Module], size: int, heads: int) -> None:
    module = build(num_classes=3, aux_logits=True, init_weights=False).train()
    output = module(torch.randn(2, 3, size, size))
    main, auxiliary = split_outputs(output)
    assert main is output.logits
    assert len(auxiliary) == heads
    assert all(logits.shape == (2, 3) and logits is not main for logits in auxiliary)


def test_an_auxiliary_head_that_is_off_is_left_out() -> None:
    logits = torch.randn(2, 3)
    assert split_outputs(_Maybe(logits, None)) == (logits, ())


def test_a_dict_has_its_main_output_under_out() -> None:
    main, aux = torch.randn(2, 3), torch.randn(2, 3)
    assert split_outputs({"aux": aux, "out": main}) == (main, (aux,))


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (torch.zeros(2, 3, 4, 4), "a tensor of shape (2, 3, 4, 4)"),
        ({"out": torch.zeros(2, 3, 4, 4)}, "dict('out': a tensor of shape (2, 3, 4, 4))"),
        ({"pred": torch.zeros(2, 3)}, "dict('pred': a tensor of shape (2, 3))"),
        ([torch.zeros(2, 3)], "an object of type list"),
        ((torch.zeros(2, 3), torch.zeros(2, 3)), "an object of type tuple"),
        (None, "an object of type NoneType"),
    ],
    ids=["map", "dict-map", "dict-key", "list", "tuple", "none"],
)
def test_other_outputs_are_errors_that_describe_them(output: object, found: str) -> None:
    with pytest.raises(ModelError, match=r"output of the model.*found " + re.escape(found)):
        split_outputs(output)
