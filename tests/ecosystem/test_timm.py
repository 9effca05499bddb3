"""Converted networks in timm: its factory, its checkpoints, its training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data.config import resolve_data_config
from timm.models import load_checkpoint
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.task import ClassificationTask
from timm.utils import CheckpointSaver  # type: ignore[attr-defined]
from torch import nn

import dsft
import dsft.timm
from dsft.choices import ModelSource
from dsft.conversion import ConversionPlan
from dsft.errors import CheckpointError, ModelError
from dsft.models import library_of
from tests.quick_conversion import convert_quickly, converted_layers
from tests.zoo import Residual, redraw

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, ConversionPlan]:
    return convert_quickly(redraw(timm.create_model("resnet10t", num_classes=10)).eval(), IMAGES)


@pytest.fixture(scope="module")
def folder(network: tuple[nn.Module, ConversionPlan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timm") / "out"
    dsft.save(network[0], folder, plan=network[1], classes=[f"class {place}" for place in range(10)])
    return folder


def test_the_factory_builds_and_loads_a_model_folder(network: tuple[nn.Module, ConversionPlan], folder: Path) -> None:
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert model.training
    assert converted_layers(model) == converted_layers(network[0])
    with torch.no_grad():
        assert torch.equal(model.eval()(IMAGES), network[0](IMAGES))
    empty = timm.create_model(f"local-dir:{folder}")
    assert not torch.equal(empty.state_dict()["fc.weight"], model.state_dict()["fc.weight"])


def test_arguments_change_the_network_around_the_converted_layers(folder: Path, tmp_path: Path) -> None:
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=4, drop_rate=0.25)
    assert (model.num_classes, model.drop_rate, model(IMAGES).shape) == (4, 0.25, (2, 4))
    plan = ConversionPlan.from_dict(json.loads((folder / "manifest.json").read_text())["plan"])
    dsft.save(model.eval(), tmp_path / "again", plan=plan)
    with torch.no_grad():
        assert torch.equal(
            dsft.load(tmp_path / "again", skeleton=timm.create_model("resnet10t", num_classes=4))(IMAGES), model(IMAGES)
        )


def test_preprocessing_and_class_names_are_those_of_the_folder(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"][3] == "class 3"
    model: Any = timm.create_model(f"local-dir:{folder}")
    found = resolve_data_config(model=model)  # type: ignore[no-untyped-call]
    expected = resolve_data_config(model=timm.create_model("resnet10t"))  # type: ignore[no-untyped-call]
    assert found == expected
    assert model.pretrained_cfg["label_names"][3] == "class 3"
    assert model.pretrained_cfg["architecture"] == "resnet10t"


def test_its_training_keeps_the_layers_and_its_checkpoints_load(folder: Path, tmp_path: Path) -> None:
    """As timm's train.py: task, checkpoint saver, and ``--initial-checkpoint`` of another run."""
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    before = converted_layers(model)
    task = ClassificationTask(model, criterion=nn.CrossEntropyLoss(), verbose=False)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.02)
    losses = []
    for _ in range(5):
        loss = task(IMAGES, torch.tensor([1, 2]))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert converted_layers(model) == before
    saver = CheckpointSaver(model=model, optimizer=optimizer, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path))  # type: ignore[no-untyped-call]
    saver.save_checkpoint(0, metric=1.0)  # type: ignore[no-untyped-call]
    again = timm.create_model(f"local-dir:{folder}", checkpoint_path=tmp_path / "last.pth.tar").eval()
    with torch.no_grad():
        assert torch.equal(again(IMAGES), model.eval()(IMAGES))
    # A dense network does not take the file by mistake.
    with pytest.raises(RuntimeError, match="Missing key"):
        load_checkpoint(timm.create_model("resnet10t", num_classes=10), str(tmp_path / "last.pth.tar"))


def test_the_entry_point_is_no_network_of_timm() -> None:
    assert timm.is_model("dsft")
    assert "dsft" not in library_of(ModelSource.TIMM, "resnet10t").names()


def test_what_it_cannot_build_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs a model folder\. Write timm.create_model"):
        timm.create_model("dsft")
    with pytest.raises(ModelError, match=r"takes 3 channels, found in_chans=1"):
        timm.create_model(f"local-dir:{folder}", in_chans=1)
    model = redraw(Residual()).eval()
    converted, plan = convert_quickly(model, IMAGES)
    dsft.save(converted, tmp_path / "own", plan=plan)
    assert not (tmp_path / "own" / "config.json").exists()
    (tmp_path / "own" / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError, match="was built by your own code, and not by timm"):
        timm.create_model(f"local-dir:{tmp_path / 'own'}")
    (tmp_path / "own" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="was not written by dsft"):
        timm.create_model(f"local-dir:{tmp_path / 'own'}")


@pytest.mark.slow
def test_a_script_runs_with_the_entry_point(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, timm, beside\n"
        "if __name__ == '__main__':\n"
        "    print(type(timm.create_model(sys.argv[1], pretrained=True).layer1[0].conv1).__name__, beside.value)\n"
    )
    (tmp_path / "beside.py").write_text("value = 7\n")
    command = [sys.executable, "-W", "error", "-m", "dsft.timm"]
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "env": os.environ}
    done = subprocess.run([*command, str(script), f"local-dir:{folder}"], **options)
    assert done.stdout == "DepthwiseSeparableConv2d 7\n", done.stderr
    missing = subprocess.run([*command, "missing.py"], **options)
    assert missing.returncode
    assert "usage: python -m dsft.timm SCRIPT" in missing.stderr
