from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from dsft.artifact import Manifest, ModelDescription, Provenance, load_model_folder, save_model
from dsft.choices import ModelSource, Reason, WeightsKind
from dsft.conversion import Conversion, convert
from dsft.errors import CheckpointError, ConversionError, OutputError
from dsft.models import ModelSpec, build_model, load_model, replace_head
from dsft.preprocessing import Preprocessing
from dsft.storage import sha256_of
from tests.zoo import Residual, Shared, TiedWeights, redraw

TIMM = ModelSpec(ModelSource.TIMM, "test_resnet", num_classes=4, in_chans=3)
TORCHVISION = ModelSpec(ModelSource.TORCHVISION, "squeezenet1_1", num_classes=4, in_chans=1)
PREPROCESSING = Preprocessing((64, 64), 3, (0.5,) * 3, (0.25,) * 3, "bicubic", 0.875, "center")


def save(
    folder: Path, module: nn.Module, provenance: Provenance | None = None, *, overwrite: bool = False, **known: Any
) -> Manifest:
    return save_model(
        folder, module, ModelDescription(provenance=provenance or Provenance(), **known), overwrite=overwrite
    )


def converted(network: nn.Module, images: Tensor) -> Conversion:
    return convert(network, images, rank=2)


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = network.eval()(images)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a model folder of a small dense network."""
    save(tmp_path / "model", redraw(build_model(TIMM)), spec=TIMM)
    return tmp_path / "model"


@pytest.mark.parametrize("spec", [TIMM, TORCHVISION], ids=str)
@pytest.mark.parametrize("is_converted", [False, True])
def test_logits_survive_to_the_bit(spec: ModelSpec, is_converted: bool, tmp_path: Path) -> None:
    network, plan = redraw(build_model(spec)), None
    images = torch.randn(2, spec.in_chans, 64, 64)
    if is_converted:
        conversion = converted(network, images)
        assert conversion.plan.converted
        network, plan = conversion.model, conversion.plan
    save(tmp_path / "model", network, spec=spec, plan=plan)
    loaded = load_model_folder(tmp_path / "model")

    assert not loaded.module.training
    assert torch.equal(logits(loaded.module, images), logits(network, images))
    assert (loaded.manifest.source, loaded.manifest.plan) == (spec, plan)


def test_keeps_what_is_known_about_the_weights(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "spec": TIMM,
        "preprocessing": PREPROCESSING,
        "classes": ("ant", "bee", "cat", "Grünfink"),
        "weights": WeightsKind.EMA,
    }
    provenance = Provenance(
        {"train": "ab", "val": "cd"}, {"source": "folder", "root": "pictures", "val": {"fraction": 0.1}}
    )
    saved = save(tmp_path / "model", build_model(TIMM), provenance, **given)
    manifest = load_model_folder(tmp_path / "model").manifest
    assert manifest == saved
    assert (manifest.preprocessing, manifest.classes) == (PREPROCESSING, given["classes"])
    assert (manifest.weights, manifest.fingerprints, manifest.data) == (
        WeightsKind.EMA,
        provenance.fingerprints,
        provenance.data,
    )
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
    ]
    assert "Grünfink" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_a_replaced_head_loads(tmp_path: Path) -> None:
    loaded = replace_head(load_model(ModelSource.TIMM, "test_efficientnet"), 3, ("a", "b", "c"))
    save(tmp_path / "model", loaded.module, spec=loaded.spec, classes=loaded.classes)
    images = torch.randn(1, 3, 64, 64)
    found = load_model_folder(tmp_path / "model").module
    assert torch.equal(logits(found, images), logits(loaded.module, images))


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    network, images = redraw(TiedWeights()), torch.randn(2, 4, 8, 8)
    save(tmp_path / "model", network)
    loaded = load_model_folder(tmp_path / "model", TiedWeights()).module
    assert torch.equal(logits(loaded, images), logits(network, images))
    assert loaded.first.weight is loaded.second.weight  # type: ignore[union-attr]


def test_a_shared_layer_and_a_skeleton(tmp_path: Path) -> None:
    images = torch.randn(2, 4, 8, 8)
    conversion = converted(redraw(Shared()), images)
    save(tmp_path / "model", conversion.model, plan=conversion.plan)
    skeleton = Shared()
    before = {key: tensor.clone() for key, tensor in skeleton.state_dict().items()}
    loaded = load_model_folder(tmp_path / "model", skeleton)
    assert torch.equal(logits(loaded.module, images), logits(conversion.model, images))
    assert skeleton.state_dict().keys() == before.keys()
    assert all(torch.equal(skeleton.state_dict()[key], before[key]) for key in before)


def test_a_skeleton_keeps_names_that_look_like_a_wrapper(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.model(images)  # type: ignore[no-any-return]

    wrapper, images = Wrapper(), torch.randn(3, 2)
    save(tmp_path / "model", wrapper)
    assert torch.equal(logits(load_model_folder(tmp_path / "model", Wrapper()).module, images), logits(wrapper, images))


def test_channels_last_weights_are_saved(tmp_path: Path) -> None:
    network = redraw(build_model(TIMM))
    images = torch.randn(2, 3, 64, 64)
    expected = logits(network, images)
    network.to(memory_format=torch.channels_last)
    save(tmp_path / "model", network, spec=TIMM)
    assert torch.equal(logits(load_model_folder(tmp_path / "model").module, images), expected)


def test_number_formats_are_kept(tmp_path: Path) -> None:
    network = redraw(build_model(TIMM)).to(torch.bfloat16)
    save(tmp_path / "model", network, spec=TIMM)
    found = load_model_folder(tmp_path / "model").module.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
    assert found["fc.weight"].dtype is torch.bfloat16


def test_draws_no_random_numbers(folder: Path) -> None:
    before = torch.get_rng_state()
    module = load_model_folder(folder).module
    save(folder.with_name("again"), module, spec=TIMM)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_that_the_spec_does_not_build_is_not_saved(tmp_path: Path) -> None:
    network = build_model(TIMM)
    network.fc = nn.Identity()
    with pytest.raises(CheckpointError, match=r"not what timm/test_resnet and its plan build\. 2 missing: fc\."):
        save(tmp_path / "model", network, spec=TIMM)
    with pytest.raises(CheckpointError, match="has 4 outputs, found 2 class names"):
        save(tmp_path / "model", build_model(TIMM), spec=TIMM, classes=("a", "b"))
    assert not list(tmp_path.iterdir())


def test_state_that_is_no_tensor_is_not_saved(tmp_path: Path) -> None:
    class Counted(nn.Linear):
        def get_extra_state(self) -> object:
            return {"seen": 3}

    with pytest.raises(CheckpointError, match="state holds more than tensors, under _extra_state"):
        save(tmp_path / "model", Counted(2, 2))


def test_nothing_is_overwritten_without_overwrite(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match="is not empty"):
        save(folder, build_model(TIMM), spec=TIMM)
    assert (folder / "manifest.json").read_bytes() == before
    save(folder, build_model(TIMM), spec=TIMM, overwrite=True)
    assert (folder / "manifest.json").read_bytes() != before


def test_a_changed_weights_file_is_refused(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state["fc.bias"] += 1
    safetensors.torch.save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors': is damaged or was changed: its SHA-256"):
        load_model_folder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_model_folder(folder)


def test_a_file_without_weights_is_refused(folder: Path) -> None:
    weights, manifest = folder / "model.safetensors", folder / "manifest.json"
    digest = sha256_of(weights)
    weights.write_bytes(weights.read_bytes()[:-100])
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(digest, sha256_of(weights)), encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors': is not a safetensors file \(.*\)\. Save the model again"
    ):
        load_model_folder(folder)


def test_an_own_network_requires_its_skeleton(tmp_path: Path) -> None:
    network = redraw(Residual())
    conversion = converted(network, torch.randn(1, 3, 16, 16))
    save(tmp_path / "model", conversion.model, plan=conversion.plan)
    with pytest.raises(CheckpointError, match=r"built by your own code, .*skeleton=YourNetwork\(\)"):
        load_model_folder(tmp_path / "model")
    with pytest.raises(ConversionError, match="another network"):
        load_model_folder(tmp_path / "model", Shared())


def test_loads_after_the_folder_moved(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    assert load_model_folder(tmp_path / "elsewhere").manifest.source == TIMM


def test_no_plan_and_the_wrong_skeleton(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the weights do not fit the model\. \d+ missing"):
        load_model_folder(folder, nn.Linear(2, 2))


def test_an_interrupted_save_leaves_the_old_folder(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save(folder, build_model(TIMM), Provenance(data={"fraction": float("nan")}), spec=TIMM, overwrite=True)
    assert (folder / "manifest.json").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert json.loads(before)["data"] is None


def test_folders_written_before_layers_had_forms_and_orders_load() -> None:
    """The folder was written when only 2d convolutions were converted, to one order and with no word of a form."""
    stored = Path(__file__).with_name("folder_of_format_1")
    skeleton = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=2),
        nn.ConvTranspose2d(6, 3, 2, stride=2),
    )
    artifact = load_model_folder(stored, skeleton)
    expected = safetensors.torch.load_file(stored / "expected.safetensors")
    torch.testing.assert_close(logits(artifact.module, expected["images"]), expected["outputs"])
    plan = artifact.manifest.plan
    assert plan is not None
    assert not plan.norm_between
    assert [layer.form for layer in plan.layers] == [None] * 4
    assert [layer.kernels for layer in plan.converted] == [(2, 2), (3, 1, 2, 2), (2,) * 6]
    assert plan.layers[-1].reason is Reason.UNSUPPORTED_CONVOLUTION
