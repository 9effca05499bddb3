from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsft.conversion.reconstruction.residual_targets import Epilogue, EpilogueTracer
from tests.zoo import redraw


def epilogues_of(run: Callable[[nn.Module, Tensor], object], *, images: Tensor | None = None) -> list[Epilogue]:
    """Run something with one convolution and return where its output went."""
    conv = nn.Conv2d(3, 4, 3, padding=1)
    found: list[Epilogue] = []
    with (
        torch.no_grad(),
        EpilogueTracer(lambda _, other: other.clone(), lambda _, epilogue: found.append(epilogue)) as tracer,
    ):
        conv.register_forward_hook(lambda module, _, output: tracer.follow(module, output))
        run(conv, torch.randn(2, 3, 5, 5) if images is None else images)
        tracer.finish()
    return found


def norm() -> nn.BatchNorm2d:
    batch_norm = nn.BatchNorm2d(4)
    redraw(batch_norm)
    return batch_norm.eval()


@pytest.mark.parametrize(
    "add",
    [
        lambda x, y: x + y,
        lambda x, y: y + x,
        lambda x, y: x.add_(y),
        lambda x, y: x.add(y),
        torch.add,
        lambda x, y: torch.add(y, other=x),
    ],
)
def test_a_sum_behind_a_norm_is_found_with_what_is_added(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    shortcut, batch_norm = torch.randn(2, 4, 5, 5), norm()
    (epilogue,) = epilogues_of(lambda conv, images: functional.relu(add(batch_norm(conv(images)), shortcut)))
    assert epilogue.summand is not None
    assert torch.equal(epilogue.summand, shortcut)
    assert epilogue.is_rectified
    assert epilogue.scale is not None
    assert epilogue.shift is not None
    images = torch.randn(2, 4, 5, 5)
    rebuilt = images * epilogue.scale.reshape(-1, 1, 1) + epilogue.shift.reshape(-1, 1, 1)
    torch.testing.assert_close(rebuilt, batch_norm(images))


def test_an_inplace_sum_is_seen_before_it_is_done() -> None:
    shortcut = torch.randn(2, 4, 5, 5)
    before = shortcut.clone()

    def run(conv: nn.Module, images: Tensor) -> None:
        shortcut.add_(conv(images))

    (epilogue,) = epilogues_of(run)
    assert epilogue.summand is not None
    assert torch.equal(epilogue.summand, before)
    assert not torch.equal(shortcut, before)


@pytest.mark.parametrize(
    ("run", "is_rectified"),
    [
        (lambda conv, images: functional.relu(conv(images)), True),
        (lambda conv, images: nn.ReLU(inplace=True)(norm()(conv(images))), True),
        (lambda conv, images: conv(images).relu_() + 1, True),
        (lambda conv, images: functional.silu(conv(images)), False),
        (lambda conv, images: functional.relu(conv(images).mean(1)), False),
        (lambda conv, images: functional.relu(norm()(norm()(conv(images)))), False),
        (lambda conv, images: functional.relu(conv(images) + torch.ones(2, 4, 5, 5) + torch.ones(2, 4, 5, 5)), False),
    ],
)
def test_a_relu_right_behind_is_found(run: Callable[[nn.Module, Tensor], object], is_rectified: bool) -> None:
    (epilogue,) = epilogues_of(run)
    assert epilogue.is_rectified is is_rectified


@pytest.mark.parametrize(
    "run",
    [
        lambda conv, images: functional.relu(conv(images)) + torch.ones(2, 4, 5, 5),
        lambda conv, images: conv(images).mean((2, 3), keepdim=True) + torch.ones(2, 4, 1, 1),
        lambda conv, images: conv(images) + torch.ones(4, 1, 1),
        lambda conv, images: conv(images) + 1,
        lambda conv, images: torch.add(conv(images), torch.ones(2, 4, 5, 5), alpha=2),
        lambda conv, images: nn.BatchNorm2d(4).train()(conv(images)) + torch.ones(2, 4, 5, 5),
        lambda conv, images: nn.GroupNorm(2, 4)(conv(images)) + torch.ones(2, 4, 5, 5),
        lambda conv, images: conv(images),
    ],
)
def test_what_is_no_sum_of_equals_behind_a_fixed_norm_has_no_summand(
    run: Callable[[nn.Module, Tensor], object],
) -> None:
    (epilogue,) = epilogues_of(run)
    assert epilogue.summand is None


def test_shapes_may_be_asked_for_on_the_way() -> None:
    def run(conv: nn.Module, images: Tensor) -> None:
        output = conv(images)
        assert (output.shape[1], output.size(0), output.dim(), output.dtype) == (4, 2, 4, torch.float32)
        torch.add(output, torch.ones(2, 4, 5, 5))

    (epilogue,) = epilogues_of(run)
    assert epilogue.summand is not None


def test_two_convolutions_that_are_added_are_each_others_summand() -> None:
    left, right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    found: dict[nn.Module, Tensor | None] = {}
    with (
        torch.no_grad(),
        EpilogueTracer(
            lambda _, other: other, lambda layer, epilogue: found.update({layer: epilogue.summand})
        ) as tracer,
    ):
        for conv in (left, right):
            conv.register_forward_hook(lambda module, _, output: tracer.follow(module, output))
        images = torch.randn(1, 3, 4, 4)
        _ = left(images) + right(images)
        tracer.finish()
        expected: dict[nn.Module, Tensor] = {left: right(images), right: left(images)}
    assert found.keys() == expected.keys()
    for layer, images in expected.items():
        summand = found[layer]
        assert summand is not None
        assert torch.equal(summand, images)


@pytest.mark.parametrize(
    "run",
    [
        lambda x: x + functional.relu(x),
        lambda x: functional.relu(x) + x,
        lambda x: torch.cat([functional.relu(norm()(x)), x]),
        lambda x: (x + torch.ones(2, 4, 5, 5), x.mean()),
        lambda x: (functional.relu(x), torch.zeros(2, 4, 5, 5).add_(x)),
    ],
)
def test_an_output_with_several_readers_has_no_epilogue(run: Callable[[Tensor], object]) -> None:
    *_, epilogue = epilogues_of(lambda conv, images: run(conv(images)))
    assert epilogue == Epilogue()


@pytest.mark.parametrize(
    "run",
    [
        lambda x: functional.relu(x, inplace=True) + x,
        lambda x: x.relu_() + x,
        lambda x: torch.cat([nn.ReLU(inplace=True)(x), x]),
    ],
)
def test_after_a_relu_in_place_all_readers_see_its_result(run: Callable[[Tensor], object]) -> None:
    (epilogue,) = epilogues_of(lambda conv, images: run(conv(images)))
    assert epilogue == Epilogue(is_rectified=True)


def test_a_tensor_at_the_place_of_a_freed_one_is_no_further_reader() -> None:
    def run(conv: nn.Module, images: Tensor) -> None:
        rectified = functional.relu(conv(images))
        for _ in range(20):
            rectified = functional.relu(rectified + 1)

    (epilogue,) = epilogues_of(run)
    assert epilogue.is_rectified
