from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.ao.nn import quantized as nnq
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DataParallel, DistributedDataParallel

import dsft
from dsft.conversion import Request, convert, plan_conversion, replay_plan, unwrap_network
from dsft.errors import ConversionError
from dsft.measure import run_example
from tests.zoo import Residual, redraw

IMAGES = torch.randn(2, 3, 16, 16)
CPU = torch.device("cpu")


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # type: ignore[return-value]


@pytest.mark.parametrize("wrap", [compiled, DataParallel, lambda model: DataParallel(compiled(model))])
def test_wrappers_are_taken_off_and_names_are_those_inside(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = redraw(Residual())
    wrapped = wrap(model)
    conversion = convert(wrapped, IMAGES, rank="full")
    assert [layer.name for layer in conversion.plan.layers] == ["stem", "conv1", "conv2", "skip"]
    assert type(conversion.model) is Residual
    assert unwrap_network(wrapped) is model
    torch.testing.assert_close(run_example(conversion.model, IMAGES), run_example(model, IMAGES), atol=1e-5, rtol=1e-4)


def test_distributed_networks_are_taken_out(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", store=FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        model = DistributedDataParallel(redraw(Residual()))
        conversion = convert(model, IMAGES, rank=1)
    finally:
        distributed.destroy_process_group()
    assert conversion.plan.converted[0].name == "stem"
    assert type(conversion.model) is Residual


@pytest.mark.filterwarnings("ignore:FSDP")
@pytest.mark.parametrize("shard", [fully_shard, lambda model: FullyShardedDataParallel(model, device_id=CPU)])
def test_sharded_networks_are_errors(shard: Callable[[nn.Module], Any], tmp_path: Path) -> None:
    model = Residual()
    distributed.init_process_group("gloo", store=FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        sharded = shard(model) or model
        with pytest.raises(ConversionError, match=r"its weights are sharded over processes. Convert the whole network"):
            convert(sharded, IMAGES, rank=1)
    finally:
        distributed.destroy_process_group()


def test_a_compiled_network_is_saved_as_the_one_inside(tmp_path: Path) -> None:
    conversion = convert(redraw(Residual()), IMAGES, rank=1)
    dsft.save(compiled(conversion.model), tmp_path / "model", plan=conversion.plan)
    loaded = dsft.load(tmp_path / "model", skeleton=Residual())
    assert torch.equal(run_example(loaded, IMAGES), run_example(conversion.model, IMAGES))


def test_parts_that_are_compiled_are_errors() -> None:
    model = nn.ModuleDict({"part": Residual()})
    model["part"] = compiled(model["part"])
    with pytest.raises(ConversionError, match=r"module 'part': is compiled.* then compile the converted one"):
        convert(model, IMAGES, rank=1)
    inplace = Residual()
    inplace.compile()
    with pytest.raises(ConversionError, match="module '': is compiled"):
        convert(inplace, IMAGES, rank=1)


def test_converted_networks_are_not_converted_again() -> None:
    conversion = convert(redraw(Residual()), IMAGES, rank=1, include=["stem"])
    with pytest.raises(
        ConversionError, match=r"1 of its layers are converted already, such as 'stem'. Convert the net"
    ):
        convert(conversion.model, IMAGES, rank=1)


def test_lazy_layers_want_to_be_run_first() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU())
    with pytest.raises(ConversionError, match=r"module '0': weight has no shape yet, since LazyConv2d .* Run the net"):
        convert(model, IMAGES, rank=1)
    run_example(model, IMAGES)
    plan = convert(model, IMAGES, rank=1).plan
    assert plan.converted[0].kernels == (1, 1, 1)
    with pytest.raises(ConversionError, match=r"layer '0': .* found LazyConv2d"):
        replay_plan(nn.Sequential(nn.LazyConv2d(4, 3)), plan)


def test_networks_without_values_are_errors() -> None:
    with torch.device("meta"):
        model = Residual()
    with pytest.raises(ConversionError, match="module 'stem': weight is on the meta device"):
        plan_conversion(model, IMAGES, Request(rank=1))


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated", "ignore:.*not supported in Python")
@pytest.mark.parametrize("wrap", [lambda model: model, nn.Sequential])
def test_scripted_networks_and_parts_are_errors(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = wrap(torch.jit.script(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ConversionError, match=r"is a RecursiveScriptModule, .* Convert the network first"):
        convert(model, IMAGES, rank=1)


def test_exported_networks_are_errors() -> None:
    model = torch.export.export(Residual().eval(), (IMAGES,)).module()
    with pytest.raises(
        ConversionError, match=r"is a GraphModule, whose forward pass is fixed. Convert the network fir"
    ):
        convert(model, IMAGES, rank=1)


@pytest.mark.filterwarnings("ignore")  # what torch says of the future of its quantisation
def test_quantised_networks_are_errors() -> None:
    model = nn.Sequential(nnq.Conv2d(3, 4, 3))  # type: ignore[no-untyped-call]
    with pytest.raises(ConversionError, match=r"module '0': is a quantized Conv2d, whose weights are rounded"):
        convert(model, IMAGES, rank=1)


def test_weights_made_in_inference_mode_are_errors() -> None:
    with torch.inference_mode():
        model = Residual()
    with pytest.raises(ConversionError, match=r"'stem': weight was created in inference mode.* outside of torch.inf"):
        convert(model, IMAGES, rank=1)


def test_what_is_no_network_is_an_error() -> None:
    with pytest.raises(ConversionError, match=r"model: a torch.nn.Module is needed, found str"):
        convert("resnet18", IMAGES, rank=1)  # type: ignore[arg-type]
