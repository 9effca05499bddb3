from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from dsft.errors import CheckpointError
from dsft.training.checkpointing.checkpoint import (
    best_folder,
    find_checkpoint,
    last_folder,
    load_best,
    load_checkpoint,
    previous_folder,
    save_best,
    save_last,
)
from dsft.training.checkpointing.history import EpochMeter, RunProgress
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


def save(run: Path, step: int) -> None:
    progress = RunProgress(step, [{"epoch": 1.0, "val/top1": 0.1 + 0.2}], EpochMeter(1 / 3, 7, 0.5), 3, 0.25)
    save_last(run, make_net(seed=step), make_net(seed=step + 1), {"optimizer": {"step": torch.ones(())}}, progress)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose best weights have seed 9, saved after steps 3 and 4."""
    save_best(tmp_path, make_net(seed=9), {"epoch": 1})
    save(tmp_path, 3)
    save(tmp_path, 4)
    return tmp_path


def test_the_last_state_is_restored_to_the_bit(run: Path) -> None:
    found = find_checkpoint(run)
    assert (found.folder, found.damage, found.best) == (last_folder(run), None, {"epoch": 1})
    progress = found.progress
    assert (
        progress.to_dict()
        == RunProgress(4, [{"epoch": 1, "val/top1": 0.1 + 0.2}], EpochMeter(1 / 3, 7, 0.5), 3, 0.25).to_dict()
    )
    net, average = make_net(), make_net()
    state = load_checkpoint(run, found, net, average)
    assert state == {"optimizer": {"step": torch.ones(())}}
    assert_equal_tensors(tensors_of(net), tensors_of(make_net(seed=4)))
    assert_equal_tensors(tensors_of(average), tensors_of(make_net(seed=5)))


def test_the_system_s_own_program_finds_a_checkpoint_whole(run: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("this system has no sha256sum")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=last_folder(run), check=True)
    listed = (last_folder(run) / "SHA256SUMS").read_text("utf-8").split()[1::2]
    assert listed == [
        "best.safetensors", "checkpoint.json", "ema.safetensors", "model.safetensors", "state.pt"
    ]  # fmt: skip


FILES = ["best.safetensors", "checkpoint.json", "ema.safetensors", "model.safetensors", "state.pt", "SHA256SUMS"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_passed_over(run: Path, name: str, harm: str) -> None:
    spoil(last_folder(run) / name, harm)
    found = find_checkpoint(run)
    assert (found.folder, found.progress.step) == (previous_folder(run), 3)
    assert found.damage is not None
    assert str(last_folder(run)) in found.damage
    assert (name if name != "SHA256SUMS" else "SHA256") in found.damage
    net = make_net()
    load_checkpoint(run, found, net, make_net())
    assert_equal_tensors(tensors_of(net), tensors_of(make_net(seed=3)))
    # It is the last one now, so that the next save removes the damaged one and not this.
    assert find_checkpoint(run).progress.step == 3
    save(run, 5)
    spoil(last_folder(run) / name, harm)
    assert find_checkpoint(run).progress.step == 3


def spoil(file: Path, harm: str) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(content if harm == "flip" else content[: len(content) // 2])


def test_a_kill_between_the_two_renames_leaves_the_one_before(run: Path) -> None:
    last_folder(run).rename(run / "gone")
    found = find_checkpoint(run)
    assert (found.folder, found.damage) == (previous_folder(run), None)


def test_going_back_brings_back_the_best_weights_of_then(run: Path) -> None:
    found = find_checkpoint(run)
    save_best(run, make_net(seed=11), {"epoch": 2})
    load_checkpoint(run, found, make_net(), make_net())
    best = make_net()
    load_best(run, best)
    assert_equal_tensors(tensors_of(best), tensors_of(make_net(seed=9)))
    assert json.loads((best_folder(run) / "checkpoint.json").read_text("utf-8")) == {"epoch": 1}


def test_a_missing_checkpoint_differs_from_a_damaged_one(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*: the run ended before training started"):
        find_checkpoint(tmp_path / "nothing")
    for folder in (last_folder(run), previous_folder(run)):
        spoil(folder / "state.pt", "cut")
    with pytest.raises(CheckpointError, match=r"every checkpoint .* is damaged: .*last': .*; .*previous': .*state\.pt"):
        find_checkpoint(run)


def test_a_state_needs_no_pickled_code(run: Path) -> None:
    assert torch.load(last_folder(run) / "state.pt", weights_only=True)


def test_a_failed_save_keeps_the_one_before(tmp_path: Path) -> None:
    save_best(tmp_path, make_net(seed=1), {"epoch": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_best(tmp_path, make_net(seed=2), {"epoch": float("nan")})
    other = make_net(seed=3)
    load_best(tmp_path, other)
    assert_equal_tensors(tensors_of(other), tensors_of(make_net(seed=1)))
    assert [path.name for path in best_folder(tmp_path).parent.iterdir()] == ["best"]
