from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import get_model  # type: ignore[attr-defined]

import dsft as library
from dsft.assembly import Source, load_source
from dsft.choices import TaskName
from dsft.errors import ModelError
from dsft.progress import Event, Note, ignore
from tests.workshop import CLASSES, Workshop
from tests.zoo import redraw


def test_a_model_folder_or_the_folder_of_its_run(workshop: Workshop) -> None:
    for folder in (workshop.separable, workshop.separable / "model"):
        network = load_source(Source(str(folder)), ignore)
        assert network.classes == CLASSES
        assert network.plan is not None
        assert network.preprocessing.size == (32, 32)
        assert set(network.trainings[-1].fingerprints) == {"train", "val"}
        images = torch.rand(1, 3, 32, 32)
        assert torch.equal(network.module(images), library.load(workshop.separable / "model")(images))


@pytest.mark.parametrize("model", ["timm/test_resnet", "torchvision/squeezenet1_1"])
def test_a_weights_file_belongs_to_a_network(model: str, tmp_path: Path) -> None:
    source, name = model.split("/")
    build = timm.create_model if source == "timm" else get_model
    network = redraw(build(name, num_classes=4)).eval()
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    events: list[Event] = []
    loaded = load_source(Source(str(tmp_path / "own.safetensors"), model, image_size=64), events.append)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.module.eval()(images), network(images))
    assert (str(loaded.spec), loaded.classes, loaded.plan, loaded.trainings) == (model, None, None, ())
    assert loaded.preprocessing.size == (64, 64)
    assert any(isinstance(event, Note) and "own.safetensors" in event.message for event in events)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, TaskName.CLASSIFICATION),
        (TaskName.MULTI_LABEL, TaskName.MULTI_LABEL),
        # The network returns one row of scores, whatever the recipe of the data says.
        (TaskName.SEGMENTATION, TaskName.CLASSIFICATION),
    ],
)
def test_a_weights_file_is_for_the_task_of_the_data_if_its_outputs_fit(
    asked: TaskName | None, found: TaskName, tmp_path: Path
) -> None:
    save_file(timm.create_model("test_resnet", num_classes=4).state_dict(), tmp_path / "own.safetensors")
    loaded = load_source(Source(str(tmp_path / "own.safetensors"), "timm/test_resnet"), ignore, asked)
    assert loaded.task.name is found


def test_a_weights_file_may_be_in_a_folder_called_like_a_library(here: Path) -> None:
    (here / "timm").mkdir()
    save_file(timm.create_model("test_resnet", num_classes=4).state_dict(), here / "timm" / "own.safetensors")
    loaded = load_source(Source("timm/own.safetensors", "timm/test_resnet", image_size=64), ignore)
    assert str(loaded.spec) == "timm/test_resnet"


@pytest.mark.parametrize(
    ("source", "model", "message"),
    [
        ("nothere", None, "expected timm/NAME, torchvision/NAME, a model folder or a weights file, and there is no"),
        ("timm/", None, "expected timm/NAME, torchvision/NAME"),
        ("keras/resnet50", None, "expected timm/NAME, torchvision/NAME"),
        ("own.pth", None, "a weights file needs --model timm/NAME or torchvision/NAME.*found neither"),
        (
            "own.pth",
            "resnet18",
            "found 'resnet18'. Did you mean timm/resnet18 or torchvision/resnet18",
        ),
        ("timm/resnet18", "timm/resnet18", "--model: goes with a weights file, found 'timm/resnet18'"),
        ("folder", "timm/resnet18", "--model: goes with a weights file"),
        ("timm/resnet81", None, "Did you mean resnet18"),
    ],
)
def test_anything_else_is_refused(here: Path, source: str, model: str | None, message: str) -> None:
    (here / "own.pth").touch()
    (here / "folder").mkdir()
    with pytest.raises(ModelError, match=message):
        load_source(Source(source, model), ignore)


def test_a_network_of_one_image_size_stays_at_it(tmp_path: Path) -> None:
    name = "test_vit"
    torch.save(timm.create_model(name, num_classes=2).state_dict(), tmp_path / "own.pth")
    with pytest.raises(ModelError, match=rf"timm/{name} takes images of 160 pixels only, found 64"):
        load_source(Source(str(tmp_path / "own.pth"), f"timm/{name}", image_size=64), ignore)


def test_the_advice_without_a_network_connection_is_for_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for source in ("timm/resnet18", "torchvision/resnet18"):
        with pytest.raises(ModelError, match=rf"in place of {source}, with --model {source}\.$") as caught:
            load_source(Source(source), ignore)
        assert "pretrained: false" not in str(caught.value)
        assert "model.checkpoint" not in str(caught.value)
