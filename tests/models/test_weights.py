from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models import mnasnet0_5

from dsft.errors import CheckpointError
from dsft.models import load_weights, read_weights


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


RAW, EMA = network().state_dict(), network().state_dict()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".tar", ".PTH"])
def test_reads_a_plain_pytorch_file(tmp_path: Path, suffix: str) -> None:
    state = network().state_dict()
    torch.save(state, tmp_path / f"w{suffix}")
    weights = read_weights(tmp_path / f"w{suffix}")
    assert_same(weights.state, state)
    assert "entry" not in weights.origin
    assert "prefix" not in weights.origin


def test_reads_safetensors(tmp_path: Path) -> None:
    state = network().state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert_same(read_weights(tmp_path / "w.safetensors").state, state)


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        ({"state_dict": RAW, "epoch": 3}, "state_dict"),
        ({"model": RAW, "optimizer": {"lr": 0.1}}, "model"),
        ({"model_state_dict": RAW}, "model_state_dict"),
        ({"state_dict": RAW, "state_dict_ema": EMA}, "state_dict_ema"),
        ({"model": RAW, "model_ema": EMA}, "model_ema"),
        ({"model": RAW, "ema": {"module": EMA}}, "ema.module"),
        ({"model": RAW, "ema": None}, "model"),
        ({"state_dict": RAW, "args": argparse.Namespace(lr=0.1)}, "state_dict"),
    ],
)
def test_the_preferred_entry_is_used_and_reported(tmp_path: Path, content: Any, entry: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    assert_same(weights.state, EMA if "ema" in entry else RAW)
    assert f"entry {entry!r}" in weights.origin


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod."])
def test_prefixes_are_removed_and_reported(tmp_path: Path, prefix: str) -> None:
    state = network().state_dict()
    torch.save({prefix + key: tensor for key, tensor in state.items()}, tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    assert_same(weights.state, state)
    assert f"prefix {prefix!r} removed" in weights.origin


def test_reads_an_averaged_model(tmp_path: Path) -> None:
    averaged = AveragedModel(network())
    torch.save({"model_ema": averaged.state_dict()}, tmp_path / "w.pth")
    assert_same(read_weights(tmp_path / "w.pth").state, averaged.module.state_dict())


def test_a_prefix_of_some_names_only_is_a_name(tmp_path: Path) -> None:
    state = {"model.weight": torch.zeros(1), "head.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").state.keys() == state.keys()


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth'.*there is no such file"):
        read_weights(tmp_path / "gone.pth")
    with pytest.raises(CheckpointError, match="found a folder"):
        read_weights(tmp_path)
    for name in ("w.safetensors", "w.pth", "w.onnx"):
        (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w\.pth'"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"must be one of \.safetensors, \.pth.* found '\.onnx'"):
        read_weights(tmp_path / "w.onnx")


@pytest.mark.parametrize("size", [0, 1, 200, 2000])
def test_refuses_a_file_that_was_cut(tmp_path: Path, size: int) -> None:
    for name, save in (("w.pth", torch.save), ("w.safetensors", safetensors.torch.save_file)):
        save(network().state_dict(), tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: min(size, len(content) - 1)])
        with pytest.raises(CheckpointError, match=name):
            read_weights(tmp_path / name)


def test_runs_no_code(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"loading it would run torch\.nn\.modules.*runs no code.*state_dict\(\)"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated", "ignore:.*not supported in Python")
def test_says_what_else_a_file_is(tmp_path: Path) -> None:
    torch.jit.script(nn.Conv2d(3, 4, 3)).save(tmp_path / "program.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(CheckpointError, match=r"is a TorchScript program.*torch\.jit\.load\(path\)\.state_dict"):
        read_weights(tmp_path / "program.pt")
    (tmp_path / "damaged.pth").write_bytes(b"\x80\x02garbage")
    with pytest.raises(CheckpointError, match=r"not a PyTorch file, or damaged. Save or download it again\.$"):
        read_weights(tmp_path / "damaged.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"model": {"a": 1}}])
def test_refuses_a_file_without_weights(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="contains no state dict"):
        read_weights(tmp_path / "w.pth")


def test_loads_exactly(tmp_path: Path) -> None:
    source, target = network(), network()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    load_weights(target, read_weights(tmp_path / "w.pth").state, "here")
    assert_same(target.state_dict(), source.state_dict())


def test_a_misfit_is_described_and_the_module_is_unchanged() -> None:
    module = network()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    state = {key: torch.full_like(tensor, 7) for key, tensor in before.items()}
    del state["0.bias"]
    state |= {"3.weight": torch.zeros(5, 4), "9.weight": torch.zeros(1)}
    expected = (
        r"^here: .*1 missing: 0\.bias\. 1 unexpected: 9\.weight\. "
        r"1 of another shape: 3\.weight \(5, 4\), expected \(2, 4\)\.$"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_weights(module, state, "here")
    assert_same(module.state_dict(), before)


def test_names_the_first_few_of_many() -> None:
    with pytest.raises(CheckpointError, match=r"here: .*11 missing: 0\.weight; 0\.bias; 1\.weight; 1\.bias; \.\.\."):
        load_weights(nn.Sequential(*network(), nn.Linear(2, 2)), {"x": torch.zeros(1)}, "here")


def test_old_files_have_no_batch_counters() -> None:
    source, target = network(), network()
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    target[1](torch.randn(2, 4, 3, 3))
    load_weights(target, state, "here")
    assert_same(target.state_dict(), source.state_dict())


def test_a_plain_table_is_taken_for_todays_format() -> None:
    # MNASNet refuses tables without a version, as safetensors files and stripped ones are.
    source, target = mnasnet0_5(num_classes=3), mnasnet0_5(num_classes=3)
    load_weights(target, dict(source.state_dict()), "here")
    assert_same(target.state_dict(), source.state_dict())


def test_a_files_own_format_version_is_kept(tmp_path: Path) -> None:
    class Renamed(nn.Module):
        _version = 2

        def __init__(self) -> None:
            super().__init__()
            self.new = nn.Parameter(torch.zeros(1))

        def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
            if metadata.get("version", 1) < 2:
                state[f"{prefix}new"] = state.pop(f"{prefix}old")
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    old = OrderedDict(old=torch.ones(1))
    old._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    torch.save(old, tmp_path / "w.pth")
    module = Renamed()
    load_weights(module, read_weights(tmp_path / "w.pth").state, "here")
    assert module.new.item() == 1
