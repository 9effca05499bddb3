from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dsft.training import TrainingSetup
from dsft.training import batch_size as room
from dsft.training.batch_size import activation_bytes, find_batch_size, fits_step
from tests.training.pieces import (
    CPU,
    Batch,
    assert_equal_tensors,
    constant_rate,
    distill_settings,
    ema_settings,
    freeze_phase,
    make_net,
    tensors_of,
)


class Greedy(nn.Sequential):
    """A network that has room for eight images."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        for part in self:
            images = part(images)
        return images


def batch_of(size: int) -> room._BlankBatch:
    return room._BlankBatch(torch.zeros(size, 2, 5, 5), torch.arange(size) % 3)


def test_a_step_tells_whether_it_fits_and_leaves_the_network() -> None:
    net = Greedy(*make_net())
    before, state = tensors_of(net), torch.get_rng_state()
    settings = replace(
        constant_rate(1, opt="adamw"),
        ema=ema_settings(),
        distill=distill_settings(),
        freeze=(freeze_phase("1it", ("0.*",)),),
    )
    setup = TrainingSetup(net, settings, CPU, teacher=make_net())
    fits = [fits_step(setup, batch_of(size)) for size in (16, 8)]
    assert fits == [False, True]
    assert_equal_tensors(tensors_of(net), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_stored_activations_are_counted_exactly() -> None:
    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            # Each square stores its input, and nothing else.
            return ((images * self.weight) ** 2 + 1) ** 2

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

    # The images, their product with the weight, and the sum: three tensors of 100 numbers of 4 bytes.
    assert activation_bytes(Squares(), torch.ones(100)) == 3 * 400


@pytest.mark.parametrize(("free", "size"), [(1e12, 64), (20.5, 8), (0, 2)])
def test_a_cpu_is_filled_to_half(free: float, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net()
    per_image = activation_bytes(net, torch.zeros(2, 2, 5, 5)) / 2
    monkeypatch.setattr(room, "free_memory", lambda: int(free * per_image))
    assert find_batch_size(TrainingSetup(net, constant_rate(1), CPU), torch.zeros(1, 2, 5, 5), 3) == size


def test_a_batch_is_what_training_takes() -> None:
    assert vars(batch_of(1)).keys() == vars(Batch(torch.ones(1), torch.ones(1))).keys()


def test_rates_of_named_parameters_do_not_stop_the_trial() -> None:
    settings = constant_rate(1)
    settings = replace(settings, optimizer=replace(settings.optimizer, lr_mult=(("head", 10.0),)))
    assert fits_step(TrainingSetup(make_net(), settings, CPU), batch_of(2))
