"""Commands other than train and finetune on networks that the user's own code builds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import dsft as library
from tests.workshop import CLASSES, Workshop, dsft, write_pictures
from tests.zoo import Residual, redraw

NET = """\
import torch
from torch import nn
from tests.zoo import Residual

def make():
    torch.manual_seed(1)
    network = Residual()
    network.head = nn.Linear(16, 3)
    return network
"""
BUILDER = ["--builder", "net.py:make"]


@pytest.fixture
def pictures(here: Path) -> Path:
    """Pictures, a file with a builder, and weights for its network."""
    write_pictures(here / "pictures", dict.fromkeys(CLASSES, 12))
    (here / "net.py").write_text(NET, encoding="utf-8")
    network = Residual()
    network.head = torch.nn.Linear(16, 3)
    torch.save(redraw(network).state_dict(), here / "own.pth")
    return here / "pictures"


def test_weights_of_an_own_network(pictures: Path, here: Path) -> None:
    source = ["own.pth", *BUILDER, "--image-size", "16", "--classes", "data", "--data", str(pictures)]
    done = dsft("convert", *source, "--budget", "macs=0.6", "--out", "new")
    assert done.exit_code == 0, done.stderr
    assert "top-1 on val: " in done.stdout
    # The folder names its code and never runs it.
    sys.modules.pop("_dsft_builder_net", None)
    refused = dsft("evaluate", "new", "--split", "val")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "the network was built by your own code (net.py:make)" in refused.stderr
    assert "add --builder FILE:FUNCTION" in refused.stderr
    assert "_dsft_builder_net" not in sys.modules

    verdict = json.loads((here / "new" / "conversion.json").read_text("utf-8"))["verdict"]
    scored = json.loads(dsft("evaluate", "new", *BUILDER, "--split", "val", "--json").stdout)["models"][0]["metrics"]
    assert scored["top1"] == verdict["score_after"]
    done = dsft("sweep", *source, "--budgets", "0.6", "--json")
    assert done.exit_code == 0, done.stderr
    original, converted = json.loads(done.stdout)["rows"]
    assert (original["metrics"]["top1"], converted["metrics"]["top1"]) == (verdict["score_before"], scored["top1"])


def test_a_network_with_the_weights_that_its_builder_gives_it(pictures: Path, here: Path) -> None:
    options = [*BUILDER, "--image-size", "16", "--rank", "full", "--out", "new"]
    done = dsft("convert", "data.val.fraction=0.5", *options, "--data", pictures, "--classes", "data")
    assert done.exit_code == 0, done.stderr
    assert "model python/net.py:make: Weights as given." in done.stderr
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(NET, namespace)  # noqa: S102
    made, images = namespace["make"](), torch.rand(2, 3, 16, 16)
    loaded = library.load("new", skeleton=namespace["make"]())
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), made.eval()(images), rtol=1e-3, atol=1e-4)

    shown = json.loads(dsft("inspect", *BUILDER, "--image-size", "16", "--json").stdout)
    again = json.loads(dsft("inspect", "new", *BUILDER, "--json").stdout)
    assert shown["model"] == again["model"] == "python/net.py:make"
    picture = pictures / "ant" / "000.png"
    predicted = dsft("predict", "new", picture, *BUILDER, "--format", "jsonl")
    assert json.loads(predicted.stdout)["path"] == str(picture)
    done = dsft("export", "new", "--out", "new.pt2", *BUILDER)
    assert done.exit_code == 0, done.stderr
    done = dsft("benchmark", "new", *BUILDER, "--against", "new", "--seconds", "0.1", "--image-size", "16")
    assert done.exit_code == 0, done.stderr
    assert (here / "new.pt2.json").is_file()


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["own.pth"],
            "a weights file needs --model timm/NAME or torchvision/NAME, or for a network of your own",
        ),
        (["own.pth", "--builder", "net"], "builder 'net': expected FILE:FUNCTION"),
        (["own.pth", *BUILDER, "--model", "timm/resnet18"], "--model: goes with a weights file, found 'timm/resnet18'"),
        (["timm/resnet18", *BUILDER], "--builder: builds a network of your own, found it beside 'timm/resnet18'"),
        (["nothere.pth", *BUILDER], "source 'nothere.pth': expected timm/NAME"),
        (["DENSE", *BUILDER], "records how its network is built. Leave the builder out"),
        ([], "SOURCE: expected timm/NAME, torchvision/NAME, a model folder or a weights file"),
        (["own.pth", "other.pth", *BUILDER], "SOURCE: expected one network, and after it key=value; found 'other.pth'"),
        (
            [*BUILDER, "--classes", "data", "--data", "two"],
            "for each of the 3 outputs of 'net.py:make', found 2",
        ),
    ],
)
def test_what_does_not_go_together(workshop: Workshop, here: Path, arguments: list[str], message: str) -> None:
    write_pictures(here / "two", {"ant": 8, "bee": 8})
    given = [str(workshop.dense) if word == "DENSE" else word for word in arguments]
    done = dsft("convert", *given, "--rank", "1", "--image-size", "16", "--out", "new")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (here / "new").exists()
