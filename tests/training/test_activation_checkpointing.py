from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import timm
import torch
from timm.layers import freeze_batch_norm_2d  # type: ignore[attr-defined]
from torch import nn
from torchvision.models import get_model  # type: ignore[attr-defined]

from dsft.errors import ModelError
from dsft.progress import ignore
from dsft.training import TrainingSetup
from dsft.training.activation_checkpointing import ActivationCheckpointing, find_blocks
from dsft.training.train_step import TrainStep
from tests.training.pieces import CPU, Batch, assert_equal_tensors, constant_rate, tensors_of


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3, drop_rate=0.5)


def run_steps(*, again: bool) -> tuple[dict[str, torch.Tensor], list[float], int]:
    """Return what three steps come to, and how often a layer inside a block ran."""
    network, count = make_network(), Counter[nn.Module]()
    settings = replace(constant_rate(1, 0.1), grad_checkpointing=again)
    train_step = TrainStep(TrainingSetup(network, settings, CPU), steps_per_epoch=4, report=ignore)
    layer = find_blocks(network)[0].get_submodule("conv1")
    layer.register_forward_hook(lambda layer, *_: count.update([layer]))
    batch = Batch(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0]))
    losses = [train_step.run(step, [batch]).item() for step in range(3)]
    train_step.close()
    assert not any("forward" in vars(part) for part in network.modules())
    return tensors_of(network), losses, count[layer]


def test_a_step_comes_out_as_without() -> None:
    plain, again = run_steps(again=False), run_steps(again=True)
    # The backward pass ran the block a second time.
    assert (plain[2], again[2]) == (3, 6)
    assert again[1] == plain[1]
    assert_equal_tensors(again[0], plain[0])


def test_frozen_norms_are_recomputed_and_a_block_keeps_its_own_forward() -> None:
    network = freeze_batch_norm_2d(timm.create_model("test_resnet", num_classes=3)).train()  # type: ignore[no-untyped-call]
    block, images = find_blocks(network)[0], torch.randn(2, 3, 32, 32)
    plain = block.forward
    block.forward = lambda inputs: 2 * plain(inputs)
    weight = next(block.parameters())
    (expected,) = torch.autograd.grad(network(images).sum(), weight)
    with ActivationCheckpointing(network):
        (found,) = torch.autograd.grad(network(images).sum(), weight)
    (afterwards,) = torch.autograd.grad(network(images).sum(), weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(afterwards, expected)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        ("timm/resnet18", 8),
        ("timm/efficientnet_b0", 16),
        ("torchvision/resnet18", 8),
        ("torchvision/mobilenet_v2", 19),
        ("torchvision/shufflenet_v2_x0_5", 16),
    ],
)
def test_blocks_are_found_in_any_library_s_networks(network: str, count: int) -> None:
    library, _, name = network.partition("/")
    with torch.device("meta"):
        blocks = find_blocks(timm.create_model(name) if library == "timm" else get_model(name))
    assert len(blocks) == count
    # No block is a part of another.
    inner = {id(part) for block in blocks for part in block.modules() if part is not block}
    assert not inner & set(map(id, blocks))


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(
        ModelError,
        match=r"needs a network with a sequence of blocks, found none in Sequential",
    ):
        ActivationCheckpointing(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten()))
