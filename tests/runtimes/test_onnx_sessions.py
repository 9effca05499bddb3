from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from dsft.choices import Form, Structure
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.runtimes.onnx_runtime import require_onnx
from dsft.runtimes.onnx_sessions import open_exported, open_sessions
from dsft.separable import DepthwiseSeparableConv2d
from tests.zoo import Residual, redraw

CPU = Compute(torch.device("cpu"))
IMAGES = torch.randn(2, 4, 9, 9)


class TwoHeads(nn.Module):
    def forward(self, left: torch.Tensor, *, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": left + right, "product": left * right}


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    pytest.importorskip("onnxruntime")


def test_each_module_computes_in_a_session_of_its_own_what_it_computes_in_torch() -> None:
    dense = nn.Conv2d(4, 6, 3, padding=1)
    separable = [
        DepthwiseSeparableConv2d.like(dense, (2, 1, 0, 3), Structure.DW_PW, Form.GATHER),
        DepthwiseSeparableConv2d.like(dense, (2,) * 4, Structure.DW_PW, Form.CONCATENATE),
        DepthwiseSeparableConv2d.like(dense, (1, 2, 1, 3, 1, 1), Structure.PW_DW),
    ]
    shared = nn.Sequential(dense, nn.ReLU())
    layers = [dense, *separable, shared, TwoHeads()]
    examples: list[Any] = [IMAGES.to(memory_format=torch.channels_last)] * 5
    examples.append({"left": IMAGES, "right": IMAGES})
    with torch.no_grad(), open_sessions([layer.eval() for layer in layers], examples, CPU, 1) as sessions:
        runs: list[Any] = sessions
        for layer, run in zip(layers[:-1], runs[:-1], strict=True):
            (output,) = run()
            torch.testing.assert_close(torch.from_numpy(output), layer(IMAGES), atol=1e-5, rtol=1e-5)
        total, product = map(torch.from_numpy, runs[-1]())
    torch.testing.assert_close(total, IMAGES + IMAGES)
    torch.testing.assert_close(product, IMAGES * IMAGES)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(ModelError, match=r"needs the package onnxscript.*pip install 'dsft\[onnx\]'"):
        require_onnx()


def test_a_network_that_cannot_be_converted_to_onnx_is_an_error() -> None:
    class ByValue(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    with (
        pytest.raises(
            ModelError, match=r"runtime onnxruntime: .*cannot be converted to ONNX .*Choose the runtime eager"
        ),
        open_sessions([ByValue()], [IMAGES], CPU, 1),
    ):
        pass


def test_an_exported_network_computes_what_it_computes_in_torch() -> None:
    network = redraw(Residual()).eval()
    images = torch.randn(3, 3, 16, 16)
    with open_exported([network], [images], threads=1) as runs, torch.no_grad():
        logits: Any = runs[0]()
        torch.testing.assert_close(logits, network(images), atol=1e-4, rtol=1e-4)
