from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision.models import get_model  # type: ignore[attr-defined]

import dsft as library
from dsft.artifact import ModelDescription, save_model
from dsft.assembly import Network, load_network
from dsft.choices import ModelSource, Reason
from dsft.conversion import ConversionPlan
from dsft.conversion.plan import LayerPlan
from dsft.errors import CheckpointError, ModelError
from dsft.models import ModelSpec
from dsft.progress import Event, Note, ignore
from dsft.recipe.sections import ModelSection
from tests.data.pictures import model_input
from tests.workshop import CLASSES, Workshop
from tests.zoo import redraw

TINY = ModelSection(source=ModelSource.TIMM, name="test_resnet")
OTHERS = ("dog", "elk")


def load(section: ModelSection, classes: tuple[str, ...] = CLASSES, *, seed: int = 0) -> tuple[Network, list[str]]:
    events: list[Event] = []
    network = load_network(section, classes, 32, seed, events.append)
    return network, [event.message for event in events if isinstance(event, Note)]


def layer_of(plan: ConversionPlan) -> LayerPlan:
    return next(layer for layer in plan.layers if layer.name == "classifier.1")


def saved(folder: Path, module: nn.Module, spec: ModelSpec, plan: ConversionPlan) -> Path:
    save_model(folder, module, ModelDescription(spec, model_input(size=(64, 64)), plan=plan))
    return folder


def tensors(network: Network) -> dict[str, torch.Tensor]:
    return network.module.state_dict()


def test_random_weights_are_drawn_by_the_seed_and_nothing_else_is() -> None:
    state = torch.get_rng_state()
    (first, notes), (again, _), (other, _) = load(TINY), load(TINY), load(TINY, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensors(first)[name], tensor) for name, tensor in tensors(again).items())
    assert not torch.equal(tensors(first)["conv1.0.weight"], tensors(other)["conv1.0.weight"])
    assert (first.classes, first.spec.num_classes, first.plan) == (CLASSES, 3, None)
    assert first.preprocessing.size == (32, 32)
    assert notes == ["model timm/test_resnet: Random weights."]


def test_image_channels_are_the_recipes() -> None:
    network, _ = load(TINY.model_copy(update={"in_chans": 1}))
    assert network.preprocessing.channels == 1
    assert network.module(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


class TestCheckpoint:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "own.pth")
        return tmp_path / "own.pth"

    def section(self, file: Path, classes: list[str] | str | None = None) -> ModelSection:
        values = {"source": "timm", "name": "test_resnet", "checkpoint": str(file), "classes": classes}
        return ModelSection.model_validate_json(json.dumps(values))

    @pytest.mark.parametrize("told", ["data", list(CLASSES)])
    def test_of_the_datas_classes_keeps_its_head(self, file: Path, told: list[str] | str) -> None:
        network, notes = load(self.section(file, told))
        saved = torch.load(file, weights_only=True)
        assert all(torch.equal(saved[name], tensor) for name, tensor in tensors(network).items())
        assert network.classes == CLASSES
        assert len(notes) == 1

    def test_of_as_many_classes_without_names_keeps_its_head(self, file: Path) -> None:
        network, _ = load(self.section(file))
        saved = torch.load(file, weights_only=True)
        assert torch.equal(tensors(network)["fc.weight"], saved["fc.weight"])
        assert network.classes is None

    @pytest.mark.parametrize("classes", [OTHERS, ("dog", "elk", "fox")])
    def test_of_other_classes_gets_a_new_head_and_keeps_the_rest(self, file: Path, classes: tuple[str, ...]) -> None:
        network, notes = load(self.section(file, list(CLASSES)), classes)
        saved = torch.load(file, weights_only=True)
        assert network.module.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, len(classes))
        changed = {name for name, tensor in tensors(network).items() if not torch.equal(tensor, saved[name])}
        assert changed <= {"fc.weight", "fc.bias"}
        assert "fc.weight" in changed
        # What it knew before, which no longer is its head's table.
        assert network.classes == CLASSES
        assert network.spec.num_classes == len(classes)
        expected = f"its head of 3 classes is replaced by an untrained one for the {len(classes)} classes of the data"
        assert any(expected in note for note in notes)

    def test_of_torchvision_likewise(self, tmp_path: Path) -> None:
        torch.save(get_model("squeezenet1_1", num_classes=5).state_dict(), tmp_path / "own.pth")
        values = {"source": "torchvision", "name": "squeezenet1_1", "checkpoint": str(tmp_path / "own.pth")}
        network, _ = load(ModelSection.model_validate_json(json.dumps(values)), OTHERS)
        assert network.module(torch.zeros(2, 3, 32, 32)).shape == (2, 2)

    def test_with_too_many_names_is_refused(self, file: Path) -> None:
        with pytest.raises(CheckpointError, match=r"model\.classes must name its 3 classes, found 2 names"):
            load(self.section(file, list(OTHERS)))


class TestModelFolder:
    def test_is_what_the_run_saved(self, workshop: Workshop) -> None:
        network, notes = load(ModelSection(source=ModelSource.DSFT, path=str(workshop.separable / "model")))
        saved = library.load(workshop.separable / "model").state_dict()
        assert all(torch.equal(saved[name], tensor) for name, tensor in tensors(network).items())
        assert network.plan is not None
        assert [training.data["root"] for training in network.trainings] == [workshop.pictures.as_posix()]
        assert notes == []

    def test_of_other_classes_gets_a_new_head_and_keeps_its_layers(self, workshop: Workshop) -> None:
        network, _ = load(ModelSection(source=ModelSource.DSFT, path=str(workshop.separable)), OTHERS)
        saved = library.load(workshop.separable / "model").state_dict()
        assert {name for name in saved if not torch.equal(saved[name], tensors(network)[name])} <= {
            "fc.weight",
            "fc.bias",
        }
        assert network.module(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
        assert network.plan is not None
        for layer in network.plan.converted:
            assert not isinstance(network.module.get_submodule(layer.name), nn.Conv2d)

    def test_whose_classifier_was_converted_has_a_dense_one_for_other_classes(self, tmp_path: Path) -> None:
        module = redraw(get_model("squeezenet1_1", num_classes=20)).eval()
        images = torch.randn(1, 3, 64, 64)
        conversion = library.convert(module, images, rank=2, structures=["dw_pw", "low_rank"])
        assert layer_of(conversion.plan).is_converted
        spec = ModelSpec(ModelSource.TORCHVISION, "squeezenet1_1", 20, 3)
        folder = saved(tmp_path / "model", conversion.model, spec, conversion.plan)
        network, _ = load(ModelSection(source=ModelSource.DSFT, path=str(folder)), OTHERS)
        assert network.plan is not None
        assert layer_of(network.plan).reason is Reason.NEW_CLASSIFIER
        again = saved(tmp_path / "again", network.module, network.spec, network.plan)
        with torch.inference_mode():
            assert torch.equal(library.load(again)(images), network.module.eval()(images))


def test_the_image_size_defaults_to_that_of_the_weights(workshop: Workshop) -> None:
    section = ModelSection(source=ModelSource.DSFT, path=str(workshop.dense))
    assert load_network(section, CLASSES, None, 0, ignore).preprocessing.size == (32, 32)
    assert load_network(TINY, CLASSES, None, 0, ignore).preprocessing.size == (160, 160)


def test_the_advice_without_a_network_connection_is_for_recipes() -> None:
    section = ModelSection(source=ModelSource.TIMM, name="resnet18", pretrained=True)
    with pytest.raises(ModelError, match=r"Then set model\.checkpoint=FILE and model\.pretrained=false\.$"):
        load(section)
