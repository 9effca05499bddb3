from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from dsft.artifact import Provenance, save_model
from dsft.assembly import Network, load_folder, load_network
from dsft.assembly.inputs import as_images
from dsft.assembly.model_folder import needs_builder
from dsft.assembly.own_network import InputFormat, build_own, describe_module, state_preprocessing, with_outputs
from dsft.choices import ModelSource, WeightsKind
from dsft.errors import CheckpointError, ModelError
from dsft.models import Builder, LoadedModel, head_parameters
from dsft.progress import Event, Note, ignore
from dsft.recipe.sections import ModelSection
from tests.workshop import CLASSES, Workshop
from tests.zoo import Residual

IMAGENET = (0.485, 0.456, 0.406)
POOL = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    (tmp_path / "net.py").write_text("from tests.zoo import Residual\ndef make(): return Residual()\n", "utf-8")
    return Builder(tmp_path / "net.py", "make")


def section(builder: Builder, **values: object) -> ModelSection:
    return ModelSection.model_validate(
        {"source": ModelSource.PYTHON, "builder": f"{builder.file}:{builder.function}", **values}
    )


def plain(*layers: nn.Module, **attributes: object) -> nn.Module:
    network = nn.Sequential(*layers)
    for name, value in attributes.items():
        setattr(network, name, value)
    return network


class TestPreprocessing:
    def test_is_by_default_imagenets(self) -> None:
        found = state_preprocessing(Residual(), InputFormat())
        assert (found.size, found.channels, found.mean, as_images(found).crop_pct) == ((224, 224), 3, IMAGENET, 0.875)

    def test_is_what_the_network_states_as_timms_do(self) -> None:
        config = {"input_size": (3, 48, 40), "mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bilinear"}
        found = state_preprocessing(plain(nn.Conv2d(3, 4, 3), pretrained_cfg=config), InputFormat())
        assert (found.size, found.mean, found.std) == ((48, 40), (0.5,) * 3, (0.25,) * 3)
        assert as_images(found).interpolation == "bilinear"

    def test_of_a_network_of_timms_is_its_own(self) -> None:
        module = timm.create_model("test_vit", num_classes=3)
        found = state_preprocessing(module, InputFormat())
        config: Any = module.pretrained_cfg
        assert found.size == tuple(config["input_size"][1:])
        assert found.mean == tuple(config["mean"])

    def test_is_stated_by_the_user_first(self) -> None:
        network = plain(nn.Conv2d(3, 4, 3), pretrained_cfg={"mean": (0.1,) * 3, "input_size": (3, 48, 48)})
        found = state_preprocessing(network, InputFormat(32, None, (0.2, 0.3, 0.4), (0.5,) * 3))
        assert (found.size, found.mean, found.std) == ((32, 32), (0.2, 0.3, 0.4), (0.5,) * 3)

    def test_has_the_channels_of_the_first_convolution(self) -> None:
        found = state_preprocessing(plain(nn.Conv2d(1, 4, 3)), InputFormat())
        assert (found.channels, len(found.mean)) == (1, 1)
        assert found.mean[0] == pytest.approx(sum(IMAGENET) / 3)
        assert state_preprocessing(plain(nn.Conv2d(12, 4, 3)), InputFormat()).channels == 3

    def test_needs_a_number_for_each_channel(self) -> None:
        with pytest.raises(
            ModelError, match=r"model\.std: expected one number for each of the 3 image channels.* found \[0\.5\]"
        ):
            state_preprocessing(Residual(), InputFormat(std=(0.5,)))

    def test_that_is_no_mapping_of_timms_is_refused(self) -> None:
        with pytest.raises(ModelError, match="pretrained_cfg of the network: must be a mapping as timm's"):
            state_preprocessing(plain(pretrained_cfg={"input_size": 3}), InputFormat())


class TestOutputs:
    def test_are_counted(self, builder: Builder) -> None:
        loaded = build_own(builder, InputFormat(16))
        assert (loaded.spec.source, loaded.spec.name) == (ModelSource.PYTHON, "net.py:make")
        assert (loaded.spec.num_classes, loaded.spec.in_chans) == (5, 3)

    @pytest.mark.parametrize(
        ("network", "heads"),
        [
            (Residual(), ("head.weight", "head.bias")),
            (plain(nn.Conv2d(3, 4, 3), *POOL, nn.Linear(4, 5)), ("3.weight", "3.bias")),
            (plain(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1, bias=False), *POOL), ("1.weight",)),
        ],
    )
    def test_can_be_others_where_the_last_layer_is_plain(self, network: nn.Module, heads: tuple[str, ...]) -> None:
        loaded = describe(network)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        changed = with_outputs(loaded, 3)
        assert changed.module.eval()(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
        assert changed.spec.num_classes == 3
        assert head_parameters(changed.module) == heads
        kept = {name: tensor for name, tensor in changed.module.state_dict().items() if name not in heads}
        assert all(torch.equal(before[name], tensor) for name, tensor in kept.items())
        assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
        assert with_outputs(loaded, 5) is loaded

    def test_cannot_where_it_is_not(self) -> None:
        network = plain(nn.Conv2d(3, 6, 3), *POOL, nn.GLU())
        with pytest.raises(
            ModelError,
            match=r"no classifier .* of 4 classes\. Its 3 outputs .* Let net return a network with 4",
        ):
            with_outputs(describe(network), 4)

    def test_that_the_last_layer_does_not_decide_are_refused(self) -> None:
        network = Unused()
        with pytest.raises(ModelError, match="has 5 outputs, 3 are needed, and replacing its last layer gives 5"):
            with_outputs(describe(network), 3)


class Unused(nn.Module):
    """A network whose last linear layer of five outputs is not the one that its outputs come from."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.classifier = nn.Linear(5, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.stem(images).mean((2, 3))  # type: ignore[no-any-return]


def describe(network: nn.Module) -> LoadedModel:
    return describe_module(network, "net", state_preprocessing(network, InputFormat(16)))


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("return images", r"output of the model: a classifier must return logits"),
            ("return self.nothing(images)", r"running its network on an image of 3 x 16 x 16 .* AttributeError"),
        ],
    )
    def test_of_the_forward_pass_are_told(self, tmp_path: Path, body: str, message: str) -> None:
        code = f"from torch import nn\nclass Net(nn.Module):\n    def forward(self, images):\n        {body}\n"
        (tmp_path / "net.py").write_text(code, encoding="utf-8")
        with pytest.raises(ModelError, match=f"(?s){message}"):
            build_own(Builder(tmp_path / "net.py", "Net"), InputFormat(16))

    @pytest.mark.parametrize(
        ("kind", "size"), [("Conv1d", r"\(2, 3000\)"), ("Conv3d", r"\(2, 32, 32, 32\)"), ("Conv2d", None)]
    )
    def test_of_networks_of_other_inputs_say_how_to_state_them(
        self, tmp_path: Path, kind: str, size: str | None
    ) -> None:
        code = f"from torch import nn\ndef make():\n    return nn.Sequential(nn.{kind}(2, 4, 3), nn.Linear(4, 2))\n"
        (tmp_path / "net.py").write_text(code, encoding="utf-8")
        advice = f"its first convolution is a {kind}: .*'input_size': {size}}}, or give data of its kind"
        with pytest.raises(ModelError, match=advice if size else "or --image-size sets another size"):
            build_own(Builder(tmp_path / "net.py", "make"), InputFormat(16))


class TestRecipe:
    def load(self, section: ModelSection, classes: tuple[str, ...] = CLASSES) -> tuple[Network, list[str]]:
        events: list[Event] = []
        network = load_network(section, classes, 16, 0, events.append)
        return network, [event.message for event in events if isinstance(event, Note)]

    def test_its_random_weights_are_drawn_by_the_seed(self, builder: Builder) -> None:
        state = torch.get_rng_state()
        first, again = (self.load(section(builder))[0].module.state_dict() for _ in range(2))
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_another_number_of_classes_gets_a_new_head(self, builder: Builder) -> None:
        network, notes = self.load(section(builder))
        assert network.spec.num_classes == 3
        assert any("its head of 5 classes is replaced by an untrained one for the 3 classes" in note for note in notes)
        assert network.classes is None

    def test_weights_come_from_a_checkpoint_and_classes_from_the_recipe(self, builder: Builder, tmp_path: Path) -> None:
        state = Residual().state_dict()
        torch.save({"state_dict": state}, tmp_path / "own.pth")
        classes = ("a", "b", "c", "d", "e")
        own = section(builder, checkpoint=str(tmp_path / "own.pth"), classes=list(classes))
        network, notes = self.load(own, classes)
        assert all(torch.equal(state[name], tensor) for name, tensor in network.module.state_dict().items())
        assert network.classes == classes
        assert any("entry 'state_dict'" in note for note in notes)
        with pytest.raises(CheckpointError, match=r"model\.classes must name its 5 outputs, found 2 names"):
            self.load(section(builder, classes=["a", "b"]), classes)

    def test_a_checkpoint_of_another_network_is_refused(self, builder: Builder, tmp_path: Path) -> None:
        torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "own.pth")
        with pytest.raises(CheckpointError, match=r"own\.pth' for net\.py:make: the weights do not fit"):
            self.load(section(builder, checkpoint=str(tmp_path / "own.pth")))


class TestModelFolder:
    @pytest.fixture
    def folder(self, builder: Builder, tmp_path: Path) -> Path:
        network = load_network(section(builder), CLASSES, 16, 0, ignore)
        save_model(tmp_path / "model", network.module, network.describe(CLASSES, WeightsKind.RAW, Provenance()))
        return tmp_path / "model"

    def test_runs_no_code_by_itself(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Builder, "build", lambda _: pytest.fail("user code was run"))
        assert needs_builder(folder)
        with pytest.raises(CheckpointError, match=r"built by your own code \(net\.py:make\).*--builder FILE:FUNCTION"):
            load_folder(folder)

    def test_loads_with_its_builder_whose_head_had_other_classes(self, folder: Path, builder: Builder) -> None:
        network = load_folder(folder, builder)
        assert network.classes == CLASSES
        assert network.module(torch.zeros(1, 3, 16, 16)).shape == (1, 3)
        saved: Mapping[str, torch.Tensor] = load_file(folder / "model.safetensors")
        assert all(torch.equal(saved[name], tensor) for name, tensor in network.module.state_dict().items())

    def test_is_no_place_for_another_network(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "other.py").write_text("from tests.zoo import Residual\ndef make(): return Residual(4)\n", "utf-8")
        with pytest.raises(CheckpointError, match="the weights do not fit"):
            load_folder(folder, Builder(tmp_path / "other.py", "make"))

    def test_in_a_recipe_needs_the_builder_too(self, folder: Path, builder: Builder) -> None:
        own = ModelSection(source=ModelSource.DSFT, path=str(folder), builder=f"{builder.file}:make")
        assert load_network(own, CLASSES, 16, 0, ignore).classes == CLASSES

    def test_no_builder_with_a_network_of_a_library(self, workshop: Workshop, builder: Builder) -> None:
        own = ModelSection(source=ModelSource.DSFT, path=str(workshop.dense), builder=f"{builder.file}:make")
        with pytest.raises(ModelError, match=r"model\.builder .* records how its network is built"):
            load_network(own, CLASSES, 32, 0, ignore)
