from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dsft.errors import DataError, TrainingError
from dsft.training.determinism import reproducible
from dsft.training.failures import explained_failures, explained_save
from tests.training.pieces import CPU, make_net


def test_batchnorm_with_one_image_is_explained() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 5), nn.BatchNorm2d(4), nn.Flatten()).train()
    images = torch.ones(1, 2, 5, 5)
    with pytest.raises(DataError, match=r"batch of one example cannot train the norm '1'.* batches of 2 or more"):
        run(net, images)
    run(net.eval(), images)


def test_one_image_with_room_to_spread_is_allowed() -> None:
    run(make_net().train()[:3], torch.ones(1, 2, 5, 5))


def test_other_value_errors_pass_through() -> None:
    with pytest.raises(ValueError, match="own"), explained_failures(make_net(), torch.ones(4, 2, 5, 5), CPU.device):
        raise ValueError("own")


def test_memory_that_runs_out_is_explained() -> None:
    images = torch.ones(4, 2, 5, 5)
    with (
        pytest.raises(TrainingError, match=r"meta ran out of memory .*inputs \(4, 2, 5, 5\)\. Lower data\.batch_size"),
        # The images are yet to go where the network is.
        explained_failures(make_net(), images, torch.device("meta")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("place", ["a step", "a save"])
def test_a_killed_reader_is_named_wherever_torch_tells_of_it(place: str, tmp_path: Path) -> None:
    around = (
        explained_failures(make_net(), torch.ones(2), CPU.device) if place == "a step" else explained_save(tmp_path)
    )
    with (
        pytest.raises(TrainingError, match=r"a worker process of the data loader was killed.* Lower data\.workers"),
        around,
    ):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")


def test_what_fails_within_a_reader_is_no_killed_one() -> None:
    with pytest.raises(RuntimeError, match="Caught"), explained_failures(make_net(), torch.ones(2), CPU.device):
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback ...")


def test_an_operation_without_deterministic_form_is_explained() -> None:
    with reproducible(0, torch.device("cpu"), deterministic=True):
        with pytest.raises(TrainingError, match=r"train\.deterministic: .*put_ does not have"):
            run(PutTwice(), torch.ones(4, 2, 5, 5))
        with pytest.raises(RuntimeError, match="own"), explained_failures(make_net(), torch.ones(2), CPU.device):
            raise RuntimeError("own")


class PutTwice(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.put_(torch.tensor([1, 1]), torch.ones(2))


def run(net: nn.Module, images: Tensor) -> None:
    with explained_failures(net, images, CPU.device):
        net(images)
