from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch

import dsft as library
from dsft.assembly import load_folder
from dsft.errors import CheckpointError
from tests.workshop import Workshop, contents
from tests.zoo import Residual, redraw


def test_half_precision_computes_in_float32(tmp_path: Path) -> None:
    module = redraw(timm.create_model("test_resnet", num_classes=3)).eval().half()
    library.save(module, tmp_path / "half")
    network = load_folder(tmp_path / "half")
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network.module(images), module.float()(images))


@pytest.mark.parametrize("name", ["digits_dense", "timm_folder_dense"])
def test_a_folder_that_a_shipped_recipe_makes_names_the_command(here: Path, name: str) -> None:
    verb = "train" if name == "digits_dense" else "finetune"
    with pytest.raises(CheckpointError, match=f"there is no such folder. First run: dsft {verb} {name}$"):
        load_folder(Path("runs") / name / "model")
    assert contents(here) == {}


def test_a_run_without_its_model_was_interrupted_or_is_damaged(workshop: Workshop, here: Path) -> None:
    shutil.copytree(workshop.dense, here / "run", ignore=shutil.ignore_patterns("model"))
    with pytest.raises(CheckpointError, match=r"was not written by dsft: it has no manifest\.json"):
        load_folder(here / "run")
    record = json.loads((here / "run" / "run.json").read_text(encoding="utf-8"))
    (here / "run" / "run.json").write_text(json.dumps({**record, "finished": False}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"was interrupted before it saved its model\. .*dsft train run --resume"):
        load_folder(Path("run"))


def test_an_own_network_requires_its_builder(tmp_path: Path) -> None:
    library.save(Residual(), tmp_path / "own")
    with pytest.raises(CheckpointError, match=r"built by your own code, .*--builder FILE:FUNCTION.*skeleton="):
        load_folder(tmp_path / "own")
