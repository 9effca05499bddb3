"""A trained network and photographs; ``tests/benchmarks/cifar.py`` measures the whole of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import dsft
from tests.cifar import DATA, EXAMPLE, load_images, load_resnet32

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")


@torch.no_grad()
def top1(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return 100 * float((model(images).argmax(1) == labels).double().mean())


def test_a_refit_on_unlabelled_images_keeps_most_of_the_score_where_svd_loses_it() -> None:
    torch.set_num_threads(1)
    model = load_resnet32()
    test, calibration = load_images("test", 30), load_images("train", 10)[0]
    settings = {"budget": {"macs": 0.4}, "form": "gather"}
    plain = dsft.convert(model, EXAMPLE, **settings).model  # type: ignore[arg-type]
    fitted = dsft.convert(model, EXAMPLE, calibration=calibration, **settings).model  # type: ignore[arg-type]
    dense = top1(model, *test)
    assert dense > 75
    assert top1(fitted, *test) > dense - 8
    assert top1(fitted, *test) > top1(plain, *test) + 10
