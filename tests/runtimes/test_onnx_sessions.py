from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dsft.choices import Form, Structure
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.runtimes.onnx_sessions import open_sessions, require_onnxruntime
from dsft.separable import DepthwiseSeparableConv2d

CPU = Compute(torch.device("cpu"))
IMAGES = torch.randn(2, 4, 9, 9)


class TwoHeads(nn.Module):
    def forward(self, left: torch.Tensor, *, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": left + right, "product": left * right}


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    pytest.importorskip("onnxruntime")


def test_each_module_computes_in_a_session_of_its_own_what_it_computes_in_torch(tmp_path: Path) -> None:
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
    with torch.no_grad():
        runs: list[Any] = open_sessions([layer.eval() for layer in layers], examples, CPU, tmp_path)
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
        require_onnxruntime(CPU)


def test_other_devices_and_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found cuda, float32"):
        require_onnxruntime(Compute(torch.device("cuda")))
    module = nn.Conv2d(4, 4, 3).to(torch.bfloat16).eval()
    with pytest.raises(ModelError, match="on the CPU in float32, found cpu, bfloat16"):
        open_sessions([module], [IMAGES.to(torch.bfloat16)], CPU, tmp_path)


def test_what_has_no_onnx_form_is_refused(tmp_path: Path) -> None:
    class ByValue(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    with pytest.raises(ModelError, match=r"no ONNX form .*Choose the runtime eager"):
        open_sessions([ByValue()], [IMAGES], CPU, tmp_path)
