from __future__ import annotations

import pytest
import torch
from torch import nn

from dsft.choices import Amp
from dsft.devices import Compute, own_device, resolve_compute, resolve_device
from dsft.distributed.launch import Launch
from dsft.errors import RecipeError

CPU = torch.device("cpu")
has_accelerator = torch.accelerator.is_available()


@pytest.mark.skipif(has_accelerator, reason="this machine has one")
def test_without_an_accelerator_auto_is_the_cpu() -> None:
    assert resolve_device("auto") == CPU
    assert resolve_compute("auto", Amp.AUTO, channels_last=True) == Compute(CPU, None, channels_last=True)


def test_the_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "Cpu"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"device: expected auto, cpu, cuda, cuda:N or mps, found '{name}'"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda:99", "mps:99", "meta"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"this machine has \d+ devices? of type .*found '{name}'. Use auto or cpu"):
        resolve_device(name)


@pytest.mark.parametrize(("amp", "expected"), [(Amp.AUTO, None), (Amp.NONE, None), (Amp.BFLOAT16, torch.bfloat16)])
def test_number_formats_of_the_cpu(amp: Amp, expected: torch.dtype | None) -> None:
    assert resolve_compute("cpu", amp, channels_last=False).amp_dtype is expected


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(RecipeError, match=r"amp: float16 needs a GPU, found device 'cpu'\. Use bfloat16 or none"):
        resolve_compute("cpu", Amp.FLOAT16, channels_last=False)


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_and_kernels_have_the_same_layout(channels_last: bool) -> None:
    compute = Compute(CPU, channels_last=channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(2, 3, 4, 5)
    placed = compute.place(images)
    assert placed.is_contiguous(memory_format=layout)
    assert torch.equal(placed, images)
    module = nn.Conv2d(3, 8, 3)
    assert compute.place_module(module) is module
    assert module.weight.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_autocast_is_of_the_format(dtype: torch.dtype | None) -> None:
    module, compute = nn.Linear(3, 4), Compute(CPU, dtype)
    with compute.autocast():
        assert module(torch.randn(2, 3)).dtype is (dtype or torch.float32)
    assert module(torch.randn(2, 3)).dtype is torch.float32


@pytest.mark.parametrize("name", ["cuda:0", "cuda:1", "mps", "meta"])
def test_several_processes_have_a_device_each(name: str) -> None:
    message = rf"train\.device: each of 2 processes needs a device of its own, found '{name}'\. Use auto, cuda or cpu"
    with pytest.raises(RecipeError, match=message):
        resolve_compute(name, Amp.NONE, channels_last=False, launch=Launch(0, 2))


@pytest.mark.parametrize("rank", [0, 1])
def test_several_processes_may_share_a_cpu(rank: int) -> None:
    launch = Launch(rank, 2, rank, 2)
    assert resolve_compute("cpu", Amp.NONE, channels_last=False, launch=launch).device == CPU


@pytest.mark.parametrize(
    ("count", "launch", "device"),
    [
        (4, Launch(5, 8, 1, 4), "cuda:1"),
        # srun shows each task its own alone.
        (1, Launch(1, 2, 1, 1), "cuda:0"),
        (1, Launch(1, 2, 1, 2), None),
        (2, Launch(2, 3, 2, 3), None),
    ],
)
def test_each_process_takes_the_gpu_of_its_number(
    count: int, launch: Launch, device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two GPUs in one machine are no thing to have for a test.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if device is not None:
        assert own_device("auto", launch) == own_device("cuda", launch) == device
        return
    with pytest.raises(RecipeError, match=rf"found {count} GPUs? on the machine of process {launch.rank}, whose local"):
        own_device("auto", launch)


def test_kernels_with_three_axes_have_no_layout_of_images() -> None:
    compute = Compute(CPU, channels_last=True)
    volumes, kernel = nn.Conv3d(1, 4, 3), nn.Conv2d(4, 4, 3)
    compute.place_module(nn.ModuleList([volumes, kernel]))
    assert volumes(torch.zeros(1, 1, 5, 5, 5)).shape == (1, 4, 3, 3, 3)
    compute.place_module(nn.ModuleList([kernel, nn.Conv1d(4, 4, 3)]))
    assert kernel.weight.is_contiguous(memory_format=torch.channels_last)
