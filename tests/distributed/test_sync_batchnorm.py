from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d  # type: ignore[attr-defined] # no __all__
from torch import Tensor, nn

from dsft.distributed.processes import Processes
from dsft.distributed.sync_batchnorm import SyncBatchNorm
from tests.distributed.siblings import run_together

CUT = 5
WHOLE = 8


def make_norm(kind: str) -> nn.Module:
    torch.manual_seed(0)
    norms: dict[str, Any] = {
        "1d": lambda: nn.BatchNorm1d(3, momentum=0.3),
        "1d of rows": lambda: nn.BatchNorm1d(3),
        "2d": lambda: nn.BatchNorm2d(3, eps=0.1),
        "3d": lambda: nn.BatchNorm3d(3, affine=False),
        "average": lambda: nn.BatchNorm2d(3, momentum=None),
        "no statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
        "timm": lambda: BatchNormAct2d(3),
    }
    norm: nn.Module = norms[kind]()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.uniform_(0.5, 1.5)
    return norm


def images_of(kind: str) -> Tensor:
    shape = {"1d": (4,), "1d of rows": (), "3d": (2, 3, 2)}.get(kind, (3, 2))
    images = torch.randn(WHOLE, 3, *shape, generator=torch.Generator().manual_seed(1))
    # Unequal means in the two parts, far from zero.
    images[CUT:] += 2
    return (images + 50).requires_grad_()


def normalize(norm: nn.Module, images: Tensor, rows: slice) -> dict[str, Tensor]:
    output = norm(images[rows])
    weights = torch.linspace(-1, 1, output.numel() // len(output)).view(output.shape[1:])
    places = torch.arange(1.0, WHOLE + 1)[rows].view(-1, *[1] * (output.dim() - 1))
    (output * weights * places).sum().backward()
    assert images.grad is not None
    found = {"output": output.detach(), "gradient": images.grad[rows]}
    found |= {f"{name}.gradient": p.grad for name, p in norm.named_parameters() if p.grad is not None}
    return found | dict(norm.named_buffers())


def run_part(processes: Processes) -> dict[str, dict[str, Tensor]]:
    found = {}
    for kind in KINDS:
        norm = make_norm(kind)
        with SyncBatchNorm(norm, processes):
            rows = slice(CUT) if processes.is_first else slice(CUT, None)
            found[kind] = normalize(norm, images_of(kind), rows)
        assert "forward" not in vars(norm)
    return found


KINDS = ("1d", "1d of rows", "2d", "3d", "average", "no statistics", "timm")


@pytest.fixture(scope="module")
def parts() -> list[dict[str, dict[str, Tensor]]]:
    return run_together(run_part)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_normalized_as_a_whole_batch(parts: list[dict[str, dict[str, Tensor]]], kind: str) -> None:
    norm = make_norm(kind)
    expected = normalize(norm, images_of(kind), slice(None))
    first, second = (part[kind] for part in parts)
    for name, tensor in expected.items():
        if name in ("output", "gradient"):
            found = torch.cat([first[name], second[name]])
        elif name.endswith("gradient"):
            found = first[name] + second[name]
        else:
            torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
            found = first[name]
        torch.testing.assert_close(found, tensor, rtol=1e-4, atol=1e-4)


def run_with_placeholder(processes: Processes) -> dict[str, Tensor]:
    norm, images = make_norm("2d"), images_of("2d")
    with SyncBatchNorm(norm, processes) as norms:
        if processes.is_first:
            return normalize(norm, images, slice(None))
        with norms.placeholder():
            # Requires a gradient, as the images in process 0 do: the backward pass communicates too.
            (norm(torch.zeros(1, 3, 3, 2, requires_grad=True)).sum() * 0.0).backward()
    return dict(norm.named_buffers())


def test_a_placeholder_changes_nothing() -> None:
    expected = normalize(make_norm("2d"), images_of("2d"), slice(None))
    first, second = run_together(run_with_placeholder)
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second["running_var"], expected["running_var"], rtol=1e-4, atol=1e-4)


def evaluate(processes: Processes) -> Tensor:
    norm = make_norm("2d").eval()
    with SyncBatchNorm(norm, processes):
        found: Tensor = norm(images_of("2d")[: 1 + processes.rank]).detach()
    return found[:1]


def test_evaluation_uses_running_statistics_and_needs_no_other_process() -> None:
    expected = make_norm("2d").eval()(images_of("2d")[:1]).detach()
    for found in run_together(evaluate):
        assert torch.equal(found, expected)


def half(processes: Processes) -> torch.dtype:
    norm = make_norm("2d")
    with SyncBatchNorm(norm, processes), torch.autocast("cpu", dtype=torch.bfloat16):
        output: Tensor = norm(images_of("2d").bfloat16())
    return output.dtype


def test_the_number_format_is_kept() -> None:
    assert run_together(half) == [torch.bfloat16] * 2
