from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from dsft.training.checkpoint import best_folder, last_folder, load_best, save_best, save_last
from tests.training.pieces import assert_equal_tensors, make_net, tensors_of


def test_the_best_weights_come_back_to_the_bit(tmp_path: Path) -> None:
    net = make_net(seed=1)
    net.to(memory_format=torch.channels_last)
    save_best(tmp_path, net, {"epoch": 2})
    other = make_net(seed=2)
    load_best(tmp_path, other)
    assert_equal_tensors(tensors_of(other), tensors_of(net))
    assert json.loads((best_folder(tmp_path) / "checkpoint.json").read_text("utf-8")) == {"epoch": 2}


def test_a_module_under_two_names_comes_back(tmp_path: Path) -> None:
    net, other = (nn.Sequential(shared, shared) for shared in (nn.Linear(2, 2), nn.Linear(2, 2)))
    save_best(tmp_path, net, {})
    load_best(tmp_path, other)
    assert_equal_tensors(tensors_of(other), tensors_of(net))


def test_the_last_state_needs_no_pickled_code(tmp_path: Path) -> None:
    state = {"optimizer": {"state": {0: {"step": torch.ones(())}}}, "random_cpu": torch.get_rng_state()}
    save_last(tmp_path, make_net(), make_net(seed=1), state, {"step": 3})
    loaded = torch.load(last_folder(tmp_path) / "state.pt", weights_only=True)
    assert torch.equal(loaded["random_cpu"], state["random_cpu"])  # type: ignore[arg-type]
    assert {path.name for path in last_folder(tmp_path).iterdir()} == {
        "model.safetensors",
        "ema.safetensors",
        "state.pt",
        "checkpoint.json",
    }


def test_a_failed_save_keeps_the_one_before(tmp_path: Path) -> None:
    save_best(tmp_path, make_net(seed=1), {"epoch": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_best(tmp_path, make_net(seed=2), {"epoch": float("nan")})
    other = make_net(seed=3)
    load_best(tmp_path, other)
    assert_equal_tensors(tensors_of(other), tensors_of(make_net(seed=1)))
    assert [path.name for path in best_folder(tmp_path).parent.iterdir()] == ["best"]
