"""Networks for segmentation and detection, converted from a file of weights, loaded and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from dsft.assembly import Network, load_folder
from dsft.choices import ModelSource, SplitName, TaskName
from dsft.measure import count_macs
from dsft.models import Detector, ModelSpec, build_model
from dsft.tasks import DETECTION
from tests.commands.test_dense_tasks import write_pictures
from tests.commands.test_detection import write_scenes
from tests.workshop import Outcome, dsft

SEGMENTATION = (("builtin/unet_16", 64), ("torchvision/deeplabv3_resnet50", 64))
ONE_STAGE = (
    ("torchvision/fcos_resnet50_fpn", 96),
    ("torchvision/retinanet_resnet50_fpn", 96),
    ("torchvision/ssd300_vgg16", 300),
)
SHARE = 0.7
"""Share of the MACs that is left: of a ResNet-50 only the 3x3 convolutions are converted."""
TWO_STAGE = "torchvision/fasterrcnn_resnet50_fpn"
CLASSES = {TaskName.SEGMENTATION: 2, TaskName.DETECTION: 5}
_DATA = {
    TaskName.SEGMENTATION: "source: masks, class_names: [none, digit], ignore_index: 255",
    TaskName.DETECTION: "source: coco",
}
"""Sections of recipes; the images are few, since each is scored by the networks."""


def trained(name: str, task: TaskName, side: int) -> nn.Module:
    """Return a network with the statistics of random images, and heads whose scores differ."""
    source, _, architecture = name.partition("/")
    torch.manual_seed(0)
    module = build_model(ModelSpec(ModelSource(source), architecture, CLASSES[task], 3))
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.0)
    network: Any = module.network if isinstance(module, Detector) else module
    with torch.no_grad():
        (network.backbone if isinstance(module, Detector) else network).train()(torch.randn(4, 3, side, side))
    head: Any = getattr(getattr(network, "head", None), "classification_head", None)
    for path, layer in [] if head is None else head.named_modules():
        if isinstance(layer, nn.Conv2d) and ("logits" in path or "module_list" in path):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.constant_(layer.bias, -1.0)  # type: ignore[arg-type]
            spread(layer, module.eval(), torch.randn(4, 3, side, side))
    return module.eval()


def spread(layer: nn.Conv2d, module: nn.Module, images: Tensor) -> None:
    """Scale the weights of a head so that its scores of all levels differ by about one."""
    found: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, scores: found.append(scores.flatten()))
    with torch.no_grad():
        module(images)
        layer.weight /= torch.cat(found).std()
    handle.remove()


def convert(name: str, task: TaskName, side: int, folder: Path) -> Path:
    """Write weights, images and a recipe, convert the weights, and return the model folder."""
    module = trained(name, task, side)
    inner = module.network if isinstance(module, Detector) else module
    assert isinstance(inner, nn.Module)
    save_file(inner.state_dict(), folder / "weights.safetensors")
    if task is TaskName.SEGMENTATION:
        write_pictures(folder / "pictures", "segmentation")
    else:
        write_scenes(folder / "pictures")
    data = f"{{{_DATA[task]}, root: {folder / 'pictures'}, image_size: {side}, batch_size: 4, workers: 0}}"
    library, _, architecture = name.partition("/")
    model = f"{{source: {library}, name: {architecture}, checkpoint: {folder / 'weights.safetensors'}, classes: data}}"
    recipe = f"version: 1\nname: dense\ntask: {task}\nmodel: {model}\ndata: {data}\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    # Two images and the structure that is fitted fastest: what is tested is that the parts fit together.
    fast = ("--calibration-images", "2", "--structures", "dw_pw", "--budget", f"macs={SHARE}")
    source = (folder / "weights.safetensors", "--model", name, "--classes", "data", "--image-size", str(side))
    done = dsft("convert", *source, "--data", folder / "recipe.yaml", *fast, "--out", folder / "converted")
    assert done.exit_code == 0, done.stderr
    example = torch.zeros(1, 3, side, side)
    converted = load_folder(folder / "converted").module
    assert count_macs(converted, example) <= SHARE * count_macs(module, example) * 1.001
    return folder / "converted"


def export(model: Path, out: Path) -> Outcome:
    return dsft("export", model, "--out", out)


def run_onnx(file: Path, images: Tensor) -> Tensor:
    described = json.loads(Path(f"{file}.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run([described["output"]["name"]], {described["input"]["name"]: images.numpy()})
    return torch.from_numpy(found)


def loaded_twice(model: Path, images: Tensor) -> tuple[Network, Tensor]:
    """Return the network and its output, which a second loading does not change."""
    network = load_folder(model)
    with torch.inference_mode():
        output, _ = network.task.codec.split_outputs(network.module.eval()(images))
        again, _ = network.task.codec.split_outputs(load_folder(model).module.eval()(images))
    assert torch.equal(output, again)
    return network, output


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), SEGMENTATION)
def test_segmentation_networks_are_converted_saved_and_exported(name: str, side: int, tmp_path: Path) -> None:
    model = convert(name, TaskName.SEGMENTATION, side, tmp_path)
    images = torch.randn(2, 3, side, side)
    _, expected = loaded_twice(model, images)
    assert expected.shape == (2, 2, side, side)
    assert expected.std() > 0
    done = export(model, tmp_path / "net.onnx")
    assert done.exit_code == 0, done.stderr
    scale = float(expected.abs().max())
    np.testing.assert_allclose(run_onnx(tmp_path / "net.onnx", images), expected, atol=1e-4 * scale)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), ONE_STAGE)
def test_one_stage_detectors_are_converted_saved_and_exported_with_their_boxes(
    name: str, side: int, tmp_path: Path
) -> None:
    model = convert(name, TaskName.DETECTION, side, tmp_path)
    images = torch.randn(2, 3, side, side)
    _, expected = loaded_twice(model, images)
    assert (expected[:, :, 5] >= 0).sum() > 20
    done = export(model, tmp_path / "net.onnx")
    assert done.exit_code == 0, done.stderr
    found = run_onnx(tmp_path / "net.onnx", images)
    # Equal scores come in any order, so that some of the lowest may be left out.
    is_clear = DETECTION.scorer.margin(expected) > 1e-3
    assert is_clear.sum() > 10
    assert DETECTION.scorer.agrees(expected, found)[is_clear].double().mean() > 0.98


@pytest.mark.slow
def test_a_two_stage_detector_is_converted_and_names_the_operator_that_cannot_be_exported(tmp_path: Path) -> None:
    model = convert(TWO_STAGE, TaskName.DETECTION, 96, tmp_path)
    loaded_twice(model, torch.randn(1, 3, 96, 96))
    done = export(model, tmp_path / "net.onnx")
    assert done.exit_code == 1
    assert "torchvision::roi_align" in " ".join(done.stderr.split())
    assert not (tmp_path / "net.onnx").exists()
    assert export(model, tmp_path / "net.safetensors").exit_code == 0
    photo = tmp_path / "photo.png"
    Image.open(tmp_path / "pictures" / SplitName.TEST / "0.png").save(photo)
    assert dsft("predict", model, photo, "--out", tmp_path / "boxes.json").exit_code == 0
