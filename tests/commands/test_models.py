from __future__ import annotations

import json

import pytest
import timm

from tests.workshop import Workshop, dsft


def test_ls_lists_what_a_pattern_fits() -> None:
    lines = dsft("models", "ls", "resnet1*").stdout.splitlines()
    assert {"timm/resnet18", "torchvision/resnet18"} <= set(lines)
    assert all(line.partition("/")[2].startswith("resnet1") for line in lines)
    assert not [line for line in lines if "." in line]
    assert "timm/wide_resnet50_2" in dsft("models", "ls", "resnet50").stdout.splitlines()
    assert dsft("models", "ls", "torchvision/vgg*", "--json").stdout.count("torchvision/vgg") == 8


def test_ls_lists_published_weights_with_their_tags() -> None:
    lines = dsft("models", "ls", "timm/resnet18*", "--pretrained").stdout.splitlines()
    assert lines == [f"timm/{name}" for name in timm.list_models("resnet18*", pretrained=True)]


def test_ls_that_finds_nothing_names_the_nearest() -> None:
    done = dsft("models", "ls", "resnet81")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no network is named 'resnet81'. Did you mean resnet18 or " in done.stderr
    assert done.stderr.count("resnet18") == 1


def test_show_tells_of_a_network_and_of_a_model_folder(workshop: Workshop) -> None:
    found = json.loads(dsft("models", "show", "timm/test_resnet", "--json").stdout)
    assert found["params"] == sum(p.numel() for p in timm.create_model("test_resnet").parameters())
    assert found["manifest"] is None
    shown = dsft("models", "show", workshop.separable).stdout
    assert "3: ant, bee, cat" in shown
    assert "convolutions by refit" in shown
    manifest = json.loads((workshop.separable / "model" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sha256"] in shown


@pytest.mark.usefixtures("here")
def test_push_wants_a_model_folder() -> None:
    done = dsft("models", "push", "nothere", "me/small")
    assert done.exit_code == 2
    assert "model folder 'nothere': there is no such folder" in done.stderr
