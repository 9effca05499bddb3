from __future__ import annotations

import torch

from dsft.console import inspection_table
from dsft.conversion import Request, apply_plan, inspect_layers, plan_conversion
from tests.console.test_results import cells, lines
from tests.zoo import Residual

IMAGES = torch.randn(1, 3, 8, 8)


def test_each_layer_is_a_row_with_its_prospect() -> None:
    shown = lines(inspection_table(inspect_layers(Residual(), IMAGES), "a network"), width=200)
    assert shown[0].startswith("a network. Saved: ")
    rows = {cells(line)[0]: cells(line)[1:] for line in shown[2:] if line}
    macs = 16 * 9 * 8 * 16
    saved = macs - 8 * 16 * (9 + 16)
    assert rows["conv2"][:3] == ["conv 3x3 /2", "16x4x4", "1.17 k"]
    assert rows["conv2"][-1] == f"{saved / 1e3:.3g} k"
    assert rows["skip"][-2:] == ["-", "1x1 kernel"]
    assert rows["head"][0] == "Linear"
    assert rows["network"][-1].startswith("x 0.")


def test_a_separable_layer_says_its_order_and_kernels() -> None:
    model = Residual()
    apply_plan(model, plan_conversion(model, IMAGES, Request(rank=2)))
    shown = lines(inspection_table(inspect_layers(model, IMAGES), "a network"), width=200)
    assert any("separable 2d 3x3" in line and "converted: dw_pw, 2.0 kernels per channel" in line for line in shown)
    assert max(len(line) for line in lines(inspection_table(inspect_layers(model, IMAGES), "a network"))) <= 80
