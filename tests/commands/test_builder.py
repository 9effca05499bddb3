"""Runs of networks that the user's own code builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import dsft as library
from tests.workshop import CLASSES, Workshop, dsft
from tests.zoo import Residual

NET = """\
from tests.zoo import Residual

class Loud(Residual):
    def forward(self, images):
        print("forward")
        return super().forward(images)

def make():
    print("a network is made")
    return Loud()
"""
SHORT = ["schedule.epochs=1", "data.image_size=16", "data.batch_size=16"]


@pytest.fixture
def net(here: Path) -> Path:
    (here / "net.py").write_text(NET, encoding="utf-8")
    return here / "net.py"


@pytest.mark.usefixtures("net")
def test_it_is_trained_converted_and_tuned(workshop: Workshop, here: Path) -> None:
    builder = ["--builder", "net.py:make"]
    done = dsft("train", workshop.dense_recipe, *SHORT, "output.dir=own", *builder, "--json")
    assert done.exit_code == 0, done.stderr
    # What the user's code prints is no result.
    assert json.loads(done.stdout)["folder"] == "own"
    assert "a network is made" in done.stderr
    assert "forward" in done.stderr
    manifest = json.loads((here / "own/model/manifest.json").read_text("utf-8"))
    assert manifest["source"] == {
        "source": "python",
        "name": "net.py:make",
        "num_classes": 3,
        "in_chans": 3,
        "aux_heads": False,
    }
    assert manifest["classes"] == list(CLASSES)
    assert "builder: net.py:make" in (here / "own/recipe.yaml").read_text("utf-8")
    network = library.load("own/model", skeleton=with_classes(Residual(), 3))
    saved = load_file("own/model/model.safetensors")
    assert all((saved[name] == tensor).all() for name, tensor in network.state_dict().items())

    changes = ["model.path=own/model", "output.dir=converted", "~freeze"]
    done = dsft("finetune", workshop.separable_recipe, *SHORT, *changes)
    assert done.exit_code == 2
    assert "built by your own code (net.py:make), which dsft runs only where it is named" in done.stderr
    done = dsft("finetune", workshop.separable_recipe, *SHORT, *changes, *builder, "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["conversion"]["converted"]["macs"] <= 0.5 * result["conversion"]["original"]["macs"]
    assert list(result["scores"]) == ["val-teacher", "test-original", "test-converted", "val", "test"]
    plan = json.loads((here / "converted/model/manifest.json").read_text("utf-8"))["plan"]
    assert any(layer["decision"] == "converted" for layer in plan["layers"])


def with_classes(network: Residual, classes: int) -> Residual:
    from torch import nn

    network.head = nn.Linear(16, classes)
    return network


@pytest.mark.usefixtures("net")
def test_a_recipe_names_it_too(workshop: Workshop, here: Path) -> None:
    (here / "own.yaml").write_text(
        f"extends: {workshop.dense_recipe.as_posix()}\nname: own\n"
        "model: {source: python, name: null, builder: net.py:make, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}\n",
        encoding="utf-8",
    )
    done = dsft("finetune", "own.yaml", *SHORT, "output.dir=out")
    assert done.exit_code == 0, done.stderr
    assert "model python/net.py:make: Weights as given." in done.stderr
    preprocessing = json.loads((here / "out/model/manifest.json").read_text("utf-8"))["preprocessing"]
    assert (preprocessing["mean"], preprocessing["std"]) == ([0.5] * 3, [0.5] * 3)
    assert preprocessing["image_size"] == [16, 16]
    assert "net.py:make" in (here / "out" / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--builder", "nothere.py:make"], "builder 'nothere.py': a Python file is needed, there is no such file"),
        (["--builder", "net.py:makes"], "builder net.py:makes: a function of that name is needed"),
        (["--builder", "net"], "model.builder: expected"),
        (["--builder", "net.py:make", "optim.lr=fast"], "optim.lr: expected a number > 0"),
        (["model.source=python", "model.builder=net.py:make"], "name: cannot be combined with source python"),
        (["model.source=python", "model.name=null"], "builder: source python requires FILE:FUNCTION"),
        (["model.builder=net.py:make"], "builder: cannot be combined with source timm"),
        (["model.mean=[0.5]"], "mean: cannot be combined with source timm"),
    ],
)
def test_errors_are_reported_before_anything_is_written(
    workshop: Workshop, net: Path, arguments: list[str], message: str
) -> None:
    done = dsft("train", workshop.dense_recipe, *SHORT, "output.dir=out", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert [path.name for path in net.parent.iterdir() if path.name != "__pycache__"] == ["net.py"]


def test_an_error_of_its_own_comes_with_its_own_traceback(workshop: Workshop, net: Path) -> None:
    net.write_text("def make():\n    return undefined_name\n", encoding="utf-8")
    done = dsft("train", workshop.dense_recipe, *SHORT, "output.dir=out", "--builder", "net.py:make")
    assert done.exit_code == 2
    assert "builder net.py:make: calling make() failed. The traceback is:\n" in done.stderr
    assert done.stderr.rstrip().endswith("NameError: name 'undefined_name' is not defined")
