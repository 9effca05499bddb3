"""The source ``transformers/FOLDER``: a network that transformers saved, through dsft's own functions and commands."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import dsft
from dsft.artifact import ModelDescription, save_model
from dsft.assembly.inputs import as_images
from dsft.choices import ModelSource
from dsft.cli import app
from dsft.data.transforms import evaluation_transform
from dsft.errors import CheckpointError, ModelError, PretrainedWeightsError
from dsft.models import head_layers, load_model, replace_head
from tests.quick_conversion import convert_quickly
from tests.zoo import redraw

# Other packages warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("default")

IS_INSTALLED = importlib.util.find_spec("transformers") is not None
needs_transformers = pytest.mark.skipif(not IS_INSTALLED, reason="transformers is not installed")
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NAMES = ("cat", "dog", "ship")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that transformers wrote: a small ResNet with random weights, and its processor."""
    transformers: Any = importlib.import_module("transformers")
    config = transformers.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[32, 32, 48, 64],
        depths=[1, 1, 1, 1],
        id2label=dict(enumerate(NAMES)),
        label2id={name: place for place, name in enumerate(NAMES)},
    )
    folder = tmp_path_factory.mktemp("transformers") / "resnet"
    network: Any = redraw(transformers.ResNetForImageClassification(config))
    network.save_pretrained(folder)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 56}, crop_pct=0.875).save_pretrained(folder)
    return folder


def logits_of(folder: Path) -> torch.Tensor:
    transformers: Any = importlib.import_module("transformers")
    with torch.no_grad():
        found: torch.Tensor = transformers.AutoModelForImageClassification.from_pretrained(folder)(IMAGES).logits
    return found


@pytest.mark.skipif(IS_INSTALLED, reason="transformers is installed")
def test_without_the_package_the_error_names_the_command() -> None:
    with pytest.raises(ModelError, match=r"needs the package transformers.*pip install 'dsft\[transformers\]'"):
        load_model(ModelSource.TRANSFORMERS, "microsoft/resnet-50", pretrained=True)


@needs_transformers
def test_weights_classes_and_preprocessing_are_those_of_the_files(folder: Path) -> None:
    loaded = load_model(ModelSource.TRANSFORMERS, str(folder), pretrained=True)
    assert loaded.classes == NAMES
    with torch.no_grad():
        assert torch.equal(loaded.module(IMAGES), logits_of(folder))
    transformers: Any = importlib.import_module("transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((120, 100), Image.Resampling.BICUBIC)
    expected = processor(picture, return_tensors="pt")["pixel_values"][0]
    found = evaluation_transform(as_images(loaded.preprocessing))(picture)
    assert found.shape == expected.shape
    # The two resize with different roundings.
    assert (found - expected).abs().mean() < 0.01


@needs_transformers
def test_a_converted_network_loads_from_a_model_folder_without_the_original(folder: Path, tmp_path: Path) -> None:
    loaded = load_model(ModelSource.TRANSFORMERS, str(folder), pretrained=True)
    network, plan = convert_quickly(loaded.module, IMAGES, ("dw_pw", "low_rank"))
    spec = load_model(ModelSource.TRANSFORMERS, str(folder), pretrained=True).spec
    description = ModelDescription(spec=spec, plan=plan, classes=loaded.classes, preprocessing=loaded.preprocessing)
    save_model(tmp_path / "out", network, description)
    moved = folder.rename(folder.parent / "elsewhere")
    try:
        with torch.no_grad():
            assert torch.equal(dsft.load(tmp_path / "out")(IMAGES), network(IMAGES))
    finally:
        moved.rename(folder)


@needs_transformers
def test_heads_and_weights_files(folder: Path) -> None:
    loaded = load_model(ModelSource.TRANSFORMERS, str(folder), pretrained=True)
    assert list(head_layers(loaded.module)) == ["network.classifier.1"]
    replaced = replace_head(loaded, 5, None)
    assert replaced.module.eval()(IMAGES).shape == (2, 5)
    assert loaded.spec.num_classes == 3
    given = load_model(ModelSource.TRANSFORMERS, str(folder), checkpoint=folder / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(given.module.eval()(IMAGES), logits_of(folder))


@needs_transformers
@pytest.mark.slow
def test_the_command_converts_and_predicts(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    arguments = ["convert", f"transformers/{folder}", "--budget", "macs=0.7", "--method", "svd", "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--structures", "dw_pw,pw_dw,low_rank"])
    assert done.exit_code == 0, done.output
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["source"]["source"], manifest["classes"]) == ("transformers", list(NAMES))
    picture = tmp_path / "picture.png"
    Image.new("RGB", (80, 80), (10, 200, 30)).save(picture)
    done = CliRunner().invoke(app, ["predict", str(out), str(picture)])
    assert done.exit_code == 0, done.output
    assert any(name in done.output for name in NAMES)


@needs_transformers
def test_files_that_are_missing_or_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainedWeightsError, match=r"download config.json, .*model.safetensors of .*missing"):
        load_model(ModelSource.TRANSFORMERS, str(tmp_path / "missing"), pretrained=True)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PretrainedWeightsError, match=r"model\.safetensors"):
        load_model(ModelSource.TRANSFORMERS, str(tmp_path), pretrained=True)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "oldnet"}))
    with pytest.raises(ModelError, match="does not know its class"):
        load_model(ModelSource.TRANSFORMERS, str(tmp_path), pretrained=True)
    (tmp_path / "config.json").write_text(json.dumps({**config, "depths": [2, 1, 1, 1]}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"the weights lack \d+ tensors of its configuration"):
        load_model(ModelSource.TRANSFORMERS, str(tmp_path), pretrained=True)
    assert isinstance(load_model(ModelSource.TRANSFORMERS, str(folder)).module, nn.Module)
