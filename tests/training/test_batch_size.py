from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dsft.training import DistillSettings, EmaSettings, FreezePhase
from dsft.training import batch_size as room
from dsft.training.batch_size import find_batch_size, fits_step, kept_for_backward
from tests.training.pieces import CPU, Batch, assert_equal_tensors, constant_rate, make_net, tensors_of


class Greedy(nn.Sequential):
    """A network that has room for eight images."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        for part in self:
            images = part(images)
        return images


def batch_of(size: int) -> room._BlackBatch:
    return room._BlackBatch(torch.zeros(size, 2, 5, 5), torch.arange(size) % 3)


def test_a_step_tells_whether_it_fits_and_leaves_the_network() -> None:
    net = Greedy(*make_net())
    before, state = tensors_of(net), torch.get_rng_state()
    settings = replace(
        constant_rate(1, opt="adamw"),
        ema=EmaSettings(),
        distill=DistillSettings(),
        freeze=(FreezePhase("1it", ("0.*",)),),
    )
    fits = [fits_step(net, batch_of(size), settings=settings, compute=CPU, teacher=make_net()) for size in (16, 8)]
    assert fits == [False, True]
    assert_equal_tensors(tensors_of(net), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_kept_activations_are_counted_exactly() -> None:
    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            # Each square keeps what it squares, and nothing else.
            return ((images * self.weight) ** 2 + 1) ** 2

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

    # The images, their product with the weight, and the sum: three tensors of 100 numbers of 4 bytes.
    assert kept_for_backward(Squares(), torch.ones(100)) == 3 * 400


@pytest.mark.parametrize(("free", "size"), [(1e12, 64), (20.5, 8), (0, 2)])
def test_a_cpu_is_filled_to_half(free: float, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net()
    per_image = kept_for_backward(net, torch.zeros(2, 2, 5, 5)) / 2
    monkeypatch.setattr(room, "free_memory", lambda: int(free * per_image))
    assert find_batch_size(net, (2, 5, 5), 3, settings=constant_rate(1), compute=CPU) == size


def test_a_batch_is_what_training_takes() -> None:
    assert vars(batch_of(1)).keys() == vars(Batch(torch.ones(1), torch.ones(1))).keys()


def test_rates_of_named_parameters_do_not_stop_the_trial() -> None:
    settings = constant_rate(1)
    settings = replace(settings, optimizer=replace(settings.optimizer, lr_mult=(("head", 10.0),)))
    assert fits_step(make_net(), batch_of(2), settings=settings, compute=CPU)
