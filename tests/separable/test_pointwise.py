from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from dsft.separable import pointwise as room
from dsft.separable.pointwise import PointwiseConv2d

IMAGES = torch.randn(2, 8, 9, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the calls of oneDNN's convolution."""
    if not room.HAS_ONEDNN:
        pytest.skip("needs oneDNN on an x86 processor")
    monkeypatch.setattr(room, "LEAST_POSITIONS", 1)
    monkeypatch.setattr(room, "LEAST_MACS", 1)
    monkeypatch.setattr(room, "LEAST_IMAGES", 1)
    monkeypatch.setattr(room, "IS_INTEL", False)
    calls: list[int] = []
    original: Callable[..., Tensor] = torch.mkldnn_convolution

    def counted(*arguments: object) -> Tensor:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(torch, "mkldnn_convolution", counted)
    return calls


def twins(**settings: object) -> tuple[PointwiseConv2d, nn.Conv2d]:
    torch.manual_seed(0)
    ours, theirs = PointwiseConv2d(8, 12, 1, **settings), nn.Conv2d(8, 12, 1, **settings)  # type: ignore[arg-type]
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"groups": 4}, {"stride": 2}, {"padding": (1, 2)}])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchs_convolution(settings: dict[str, object], layout: torch.memory_format, taken: list[int]) -> None:
    ours, theirs = twins(**settings)
    images = IMAGES.contiguous(memory_format=layout)
    with torch.inference_mode():
        found, expected = ours.to(memory_format=layout)(images), theirs.to(memory_format=layout)(images)
    assert taken
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found.is_contiguous(memory_format=layout) == expected.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_what_is_padded_otherwise_is_torchs_own(mode: str, taken: list[int]) -> None:
    ours, theirs = twins(padding=1, padding_mode=mode)
    with torch.inference_mode():
        assert torch.equal(ours(IMAGES), theirs(IMAGES))
    assert not taken


@pytest.mark.parametrize("case", ["gradient", "float64", "bfloat16", "unbatched", "empty", "autocast", "export"])
def test_where_more_is_wanted_it_is_torchs_own(case: str, taken: list[int]) -> None:
    ours, theirs = twins()
    if case == "gradient":
        images = IMAGES.clone().requires_grad_()
        ours(images).square().sum().backward()
        mine = images.grad
        images.grad = None
        theirs(images).square().sum().backward()
        torch.testing.assert_close(mine, images.grad)
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    elif case == "export":
        program = torch.export.export(ours.eval(), (IMAGES,))
        assert "mkldnn" not in str(program.graph)
    else:
        kind = {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(case, torch.float32)
        images = {"unbatched": IMAGES[0], "empty": IMAGES[:0]}.get(case, IMAGES).to(kind)
        with torch.no_grad(), torch.autocast("cpu", enabled=case == "autocast"):
            assert torch.equal(ours.to(kind)(images), theirs.to(kind)(images))
    assert not taken


@pytest.mark.filterwarnings("ignore:.*jit.*is deprecated")
def test_its_operations_are_counted_and_traced(taken: list[int]) -> None:
    ours, theirs = (each.eval().requires_grad_(requires_grad=False) for each in twins())
    counts = []
    for module in (ours, theirs):
        with FlopCounterMode(display=False) as counter:
            module(IMAGES)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    traced = torch.jit.trace(ours, (IMAGES,), check_trace=False)  # type: ignore[no-untyped-call]
    assert "mkldnn" not in str(traced.graph)
    assert not taken


def test_small_maps_are_torchs_own(taken: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = twins()
    positions = IMAGES.shape[0] * IMAGES.shape[2] * IMAGES.shape[3]
    with torch.inference_mode():
        monkeypatch.setattr(room, "LEAST_POSITIONS", positions + 1)
        ours(IMAGES)
        monkeypatch.setattr(room, "LEAST_POSITIONS", positions)
        monkeypatch.setattr(room, "LEAST_MACS", positions * 8 * 12 + 1)
        ours(IMAGES)
        assert not taken
        monkeypatch.setattr(room, "LEAST_MACS", positions * 8 * 12)
        ours(IMAGES)
    assert taken == [1]


def test_on_intel_processors_few_or_contiguous_images_are_torchs_own(
    taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = twins()
    monkeypatch.setattr(room, "IS_INTEL", True)
    monkeypatch.setattr(room, "LEAST_IMAGES", 2)
    with torch.inference_mode():
        ours(IMAGES)
        ours(IMAGES[:1].contiguous(memory_format=torch.channels_last))
        assert not taken
        ours(IMAGES.contiguous(memory_format=torch.channels_last))
    assert taken


@pytest.mark.filterwarnings("ignore:.*jit.*is deprecated")
@pytest.mark.parametrize("transform", ["dual numbers", "jvp"])
def test_forward_derivatives_are_torchs_own(transform: str, taken: list[int]) -> None:
    ours, theirs = (each.requires_grad_(requires_grad=False) for each in twins())

    def derivative(module: nn.Module) -> Tensor:
        if transform == "jvp":
            return torch.func.jvp(module, (IMAGES,), (IMAGES,))[1]  # type: ignore[no-any-return]
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(module(forward_ad.make_dual(IMAGES, IMAGES))).tangent  # type: ignore

    assert torch.equal(derivative(ours), derivative(theirs))
    assert not taken


def test_rows_of_whole_pages_need_more_positions(taken: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LEAST_POSITIONS_OF_PAGES", 64)
    with torch.inference_mode():
        PointwiseConv2d(1024, 8, 1)(torch.randn(1, 1024, 7, 9))
        assert not taken
        PointwiseConv2d(1024, 8, 1)(torch.randn(1, 1024, 8, 8))
        PointwiseConv2d(1000, 8, 1)(torch.randn(1, 1000, 7, 9))
    assert taken == [1, 1]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_it_can_be_mapped(taken: list[int]) -> None:
    ours, theirs = (each.eval().requires_grad_(requires_grad=False) for each in twins())
    images = IMAGES.unsqueeze(1)
    torch.testing.assert_close(torch.vmap(ours)(images), torch.vmap(theirs)(images), rtol=1e-5, atol=1e-6)
    assert taken
