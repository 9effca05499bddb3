"""Converted networks in a training loop of the user's own, with what torch wraps around networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import dsft
from dsft.separable import FactoredConv
from tests.zoo import Residual, redraw

IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
STRUCTURES = ["dw_pw", "pw_dw", "pw_dw_pw"]


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def networks(structure: str) -> tuple[nn.Module, nn.Module]:
    """Return a converted network and its teacher."""
    teacher = redraw(Residual()).eval()
    conversion = dsft.convert(teacher, IMAGES[:1], rank=1, structures=[structure])
    assert conversion.plan.converted
    return conversion.model, teacher


def distil(student: Any, teacher: nn.Module, *, steps: int = 5, dtype: torch.dtype | None = None) -> list[float]:
    """Train without labels, and return the losses."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            with torch.no_grad():
                expected = teacher(IMAGES)
            loss = dsft.distillation_loss(student(IMAGES), expected)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.state_dict().items()}


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="aot_eager"),
        DistributedDataParallel,
        lambda model: fully_shard(model, mesh=init_device_mesh("cpu", (1,))),
    ],
    ids=["compile", "ddp", "fsdp2"],
)
def test_a_wrapped_network_learns_as_the_plain_one(structure: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain, teacher = networks(structure)
    student = copy.deepcopy(plain)
    losses = distil(plain, teacher)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(distil(wrap(student), teacher), losses, rtol=1e-4, atol=1e-6)
    for name, value in weights_of(student).items():
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        torch.testing.assert_close(whole, weights_of(plain)[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_bfloat16_autocast(structure: str, tmp_path: Path) -> None:
    student, teacher = networks(structure)
    losses = distil(student, teacher, steps=10, dtype=torch.bfloat16)
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    assert [layer for layer in student.modules() if isinstance(layer, FactoredConv)]
    plan = dsft.convert(teacher, IMAGES[:1], rank=1, structures=[structure]).plan
    dsft.save(student, tmp_path / "out", plan=plan)
    student.eval()
    with torch.no_grad():
        assert torch.equal(dsft.load(tmp_path / "out", skeleton=Residual())(IMAGES), student(IMAGES))


@pytest.mark.slow
def test_compiled_by_inductor() -> None:
    plain, teacher = networks("pw_dw_pw")
    losses = distil(plain, teacher)
    compiled = torch.compile(copy.deepcopy(networks("pw_dw_pw")[0]))
    torch.testing.assert_close(distil(compiled, teacher), losses, rtol=1e-3, atol=1e-5)
