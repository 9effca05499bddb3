"""A refit whose passes begin where nothing changes any more, against one whose passes all begin at the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsft.choices import Form, Structure
from dsft.conversion.calibration_set import CalibrationSet
from dsft.conversion.converter import Converter
from dsft.conversion.reconstruction import layerwise as room
from dsft.conversion.reconstruction.partial_forward import PartialForward
from dsft.conversion.request import Request
from tests.zoo import Residual, RewrittenSkips, Shared, redraw

IMAGES = torch.randn(48, 4, 8, 8, generator=torch.Generator().manual_seed(0))


class Counted(nn.Module):
    """Counts its forward passes."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return images


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))


class Chain(nn.Sequential):
    """Each layer reads what the one before it puts out, and writes into it."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__(Counted(), *(convolution() for _ in range(depth)))


class Everything(nn.Module):
    """Each layer reads the outputs of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Counted()
        self.layers = nn.ModuleList(convolution() for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        outputs = [self.counted(images)]
        for layer in self.layers:
            outputs.append(layer(torch.stack(outputs).sum(0)))
        return torch.cat(outputs, 1)


class Branches(nn.Module):
    """Branches beside each other, two layers each, behind one that all read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Counted(), convolution())
        self.branches = nn.ModuleList(nn.Sequential(convolution(), convolution()) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        seen = self.stem(images)
        return torch.cat([branch(seen) for branch in self.branches], 1)


class Stash(nn.Module):
    """Keeps what it puts out in itself, beside the flow of the tensors."""

    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = convolution()

    def forward(self, images: Tensor) -> Tensor:
        self.kept = self.inner(images)
        return self.kept.clone()


class BehindTheBack(nn.Module):
    """Its last layers read what an early one has kept, which a pass that skips that one finds of another batch."""

    def __init__(self, between: int = 1) -> None:
        super().__init__()
        self.stem, self.stash = convolution(), Stash()
        self.middle = nn.Sequential(*(convolution() for _ in range(between)))
        self.ends = nn.ModuleList(convolution() for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        seen: Tensor = self.middle(self.stash(self.stem(images)))
        for end in self.ends:
            seen = end(seen + self.stash.kept)
        return seen


def refitted(model: nn.Module, images: Tensor | Sequence[Any] = IMAGES) -> nn.Module:
    example = images[:1] if isinstance(images, Tensor) else images[0]
    # Not dsft.convert, which times the networks: that takes more passes on a faster machine.
    request = Request(rank=1, form=Form.GATHER, structures=[Structure.DW_PW])
    return Converter(model, example, request, calibration=CalibrationSet.read(model, images)).convert().model


def from_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        room, "PartialForward", lambda model, batches, layers, _: PartialForward(model, batches, layers, 0)
    )


class FarBehind(BehindTheBack):
    """The same, with layers between that a late beginning does not harm."""

    def __init__(self) -> None:
        super().__init__(4)


@pytest.mark.parametrize(
    "make", [Chain, Everything, Branches, BehindTheBack, FarBehind, Residual, RewrittenSkips, Shared]
)
@pytest.mark.parametrize("count", [16, 32, 48])
def test_the_outcome_is_the_same_to_the_bit(
    make: Callable[[], nn.Module], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = redraw(make()).eval()
    images = IMAGES[:count, :3] if make in (Residual, RewrittenSkips) else IMAGES[:count]
    found = refitted(model, images)
    from_the_input(monkeypatch)
    expected = refitted(model, images)
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def passes_of(model: nn.Module, images: Tensor = IMAGES) -> int:
    converted = refitted(model, images)
    return int(next(module for module in converted.modules() if isinstance(module, Counted)).passes)


def test_a_chain_runs_about_as_often_for_many_layers_as_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = passes_of(redraw(Chain(3)).eval()), passes_of(redraw(Chain(9)).eval())
    # One of three batches, in which both are compared, runs from the input each time.
    assert many == few + 6
    from_the_input(monkeypatch)
    assert passes_of(redraw(Chain(9)).eval()) == passes_of(redraw(Chain(3)).eval()) + 18


def test_what_does_not_suffice_is_tried_once_and_not_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[nn.Module] = []
    original = PartialForward._reject

    def refuse(self: PartialForward, module: nn.Module) -> None:
        refused.append(module)
        original(self, module)

    monkeypatch.setattr(PartialForward, "_reject", refuse)
    refitted(redraw(Everything()).eval())
    assert refused
    assert len(set(refused)) == len(refused)


def test_no_trace_is_left_in_the_network() -> None:
    converted = refitted(redraw(Branches()).eval())
    for module in converted.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_forward_of_the_modules_own_is_put_back() -> None:
    model = redraw(Chain()).eval()
    relu = model[1][2]  # type: ignore[index]
    vars(relu)["forward"] = torch.tanh
    converted = refitted(model)
    assert vars(converted[1][2])["forward"] is torch.tanh  # type: ignore[index]


def test_memory_stays_within_the_limit() -> None:
    model = redraw(Chain()).eval()
    batches = list(torch.split(IMAGES, 8))
    limit = 3 * batches[0].nbytes
    names = [f"{place}.0" for place in range(1, 7)]
    reruns = PartialForward(model, batches, names, limit)
    for name in names:
        for number in range(len(batches)):
            reruns.run(name, number, lambda run: run())
            assert reruns._cached_bytes() <= limit
    assert reruns._cached_bytes() > 0


def test_batches_of_other_sizes_and_of_several_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = redraw(Chain()).eval()
    batches = [(torch.randn(images, 4, *size),) for images, size in ((4, (8, 8)), (2, (6, 10)), (4, (8, 8)))]
    found = refitted(model, batches)
    from_the_input(monkeypatch)
    expected = refitted(model, batches)
    assert all(map(torch.equal, found.state_dict().values(), expected.state_dict().values()))
