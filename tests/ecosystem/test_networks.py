"""Networks of libraries: converted, fused, exported, saved, trained; the cells of tests/benchmarks/README.md."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.task import ClassificationTask
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import detection, segmentation

import dsft
import dsft.timm
from dsft.compat.torch_pytree import tree_leaves
from dsft.separable import FactoredConv
from tests.cifar import DATA, load_images
from tests.ecosystem.pictures import BLOOD, ROADS, blood_cells, roads
from tests.quick_conversion import convert_quickly, converted_layers
from tests.zoo import redraw

# Other packages warn of their own affairs.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
CLASSES = 11
PLAIN: dict[str, Any] = {"weights": None, "weights_backbone": None}


def smp(name: str) -> Any:
    library = pytest.importorskip("segmentation_models_pytorch")
    return getattr(library, name)("resnet18", encoder_weights=None, classes=CLASSES)


NETWORKS: dict[str, Callable[[], Any]] = {
    "timm ResNet-18": lambda: timm.create_model("resnet18", num_classes=10),
    "timm RegNetX-002": lambda: timm.create_model("regnetx_002", num_classes=10),
    "timm EfficientNet-B0": lambda: timm.create_model("efficientnet_b0", num_classes=10),
    "torchvision DeepLabV3": lambda: segmentation.deeplabv3_mobilenet_v3_large(**PLAIN, num_classes=CLASSES),
    "torchvision FCN": lambda: segmentation.fcn_resnet50(**PLAIN, num_classes=CLASSES),
    "torchvision RetinaNet": lambda: detection.retinanet_resnet50_fpn(**PLAIN, num_classes=4, min_size=64, max_size=96),
    "torchvision Faster R-CNN": lambda: detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        **PLAIN, num_classes=4, min_size=64, max_size=96
    ),
    "smp Unet": lambda: smp("Unet"),
    "smp DeepLabV3+": lambda: smp("DeepLabV3Plus"),
}
DETECTORS = ("torchvision RetinaNet", "torchvision Faster R-CNN")
SEGMENTATION = ("torchvision DeepLabV3", "torchvision FCN", "smp Unet", "smp DeepLabV3+")


def inputs_of(name: str) -> Any:
    return [IMAGES[0]] if name in DETECTORS else IMAGES


def converted(name: str) -> tuple[Any, Any, dsft.ConversionPlan]:
    """Return the original, the converted copy and its plan."""
    model = NETWORKS[name]()
    if name not in DETECTORS:
        redraw(model)  # boxes of random heads would be empty
    model.eval()
    network, plan = convert_quickly(model, inputs_of(name), ("dw_pw", "low_rank"))
    return model, network, plan


def run(model: Any, images: Any) -> list[Tensor]:
    with torch.no_grad():
        return [leaf for leaf in tree_leaves(model(images)) if isinstance(leaf, Tensor)]


def assert_equal(found: list[Tensor], expected: list[Tensor], tolerance: float = 0.0) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        largest = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * largest)


def fuse_pairs(model: nn.Module, images: Any) -> int:
    """Fuse every norm whose input is a converted layer's output with torch's function; it then passes values on."""
    made: dict[int, tuple[str, Tensor]] = {}
    pairs: dict[str, nn.BatchNorm2d] = {}

    def remember(name: str, output: Tensor) -> None:
        made[id(output)] = (name, output)

    def look(norm: nn.BatchNorm2d, given: tuple[Tensor, ...]) -> None:
        if id(given[0]) in made:
            pairs[made[id(given[0])][0]] = norm

    handles = []
    for name, part in model.named_modules():
        if isinstance(part, FactoredConv):
            handles.append(part.register_forward_hook(lambda _, __, output, name=name: remember(name, output)))
        elif isinstance(part, nn.BatchNorm2d):
            handles.append(part.register_forward_pre_hook(look))
    run(model, images)
    for handle in handles:
        handle.remove()
    for name, norm in pairs.items():
        model.set_submodule(name, fuse_conv_bn_eval(model.get_submodule(name), norm))  # type: ignore[type-var]
        norm.reset_parameters()
        norm.eps = 0.0
    return len(pairs)


@pytest.mark.parametrize("name", NETWORKS)
def test_fuses(name: str) -> None:
    _, network, _ = converted(name)
    images = inputs_of(name)
    expected, before = run(network, images), converted_layers(network)
    assert fuse_pairs(network, images) > 0
    assert converted_layers(network) == before
    assert_equal(run(network, images), expected, 1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_saves_and_loads(name: str, tmp_path: Path) -> None:
    _, network, plan = converted(name)
    dsft.save(network, tmp_path / "out", plan=plan)
    skeleton = None if name.startswith("timm") else NETWORKS[name]()
    loaded = dsft.load(tmp_path / "out", skeleton=skeleton)
    assert_equal(run(loaded, inputs_of(name)), run(network, inputs_of(name)))
    # As torch's own: the state dict of the network, and a network with the plan replayed.
    twin = dsft.replay_plan(NETWORKS[name](), plan).eval()
    twin.load_state_dict(network.state_dict())
    assert_equal(run(twin, inputs_of(name)), run(network, inputs_of(name)))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in DETECTORS])
def test_exports(name: str) -> None:
    _, network, _ = converted(name)
    program = torch.export.export(network, (IMAGES,))
    assert_equal(run(program.module(), IMAGES), run(network, IMAGES), 1e-4)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("timm")])
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_timm_loads_and_trains_its_own(name: str, tmp_path: Path) -> None:
    _, network, plan = converted(name)
    dsft.save(network, tmp_path / "out", plan=plan)
    model: Any = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert_equal(run(copy.deepcopy(model).eval(), IMAGES), run(network, IMAGES))
    images, labels = load_images("train", 5)
    task = ClassificationTask(model, criterion=nn.CrossEntropyLoss(), verbose=False)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for start in (*range(0, 50, 10), *range(0, 50, 10), *range(0, 50, 10)):
        batch = nn.functional.interpolate(images[start : start + 10], size=64)
        loss = task(batch, labels[start : start + 10])["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])
    dsft.check_converted(model, plan)
    dsft.save(model.eval(), tmp_path / "trained", plan=plan)
    again = timm.create_model(f"local-dir:{tmp_path / 'trained'}", pretrained=True).eval()
    assert_equal(run(again, IMAGES), run(model, IMAGES))


@pytest.mark.parametrize("name", SEGMENTATION)
@pytest.mark.skipif(not ROADS.is_dir(), reason="../shared/data is not there")
def test_segmentation_learns_from_its_teacher(name: str) -> None:
    teacher, student, plan = converted(name)
    images, masks = roads()
    optimizer, losses = torch.optim.AdamW(student.parameters(), lr=1e-3), []
    student.train()
    for start in (*range(0, 50, 10), *range(0, 50, 10)):
        output = student(images[start : start + 10])
        with torch.no_grad():
            expected = teacher(images[start : start + 10])
        scores = output["out"] if isinstance(output, dict) else output
        labels = nn.functional.cross_entropy(scores, masks[start : start + 10], ignore_index=255)
        loss = 0.5 * labels + 0.5 * dsft.distillation_loss(output, expected, task="segmentation")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[5:]) < sum(losses[:5])
    dsft.check_converted(student, plan)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.skipif(not BLOOD.is_dir(), reason="../shared/data is not there")
def test_detection_learns_by_its_own_losses(name: str) -> None:
    _, model, plan = converted(name)
    images, targets = [], []
    for path, (width, height), boxes in blood_cells():
        images.append(torchvision.io.read_image(str(path), torchvision.io.ImageReadMode.RGB).float() / 255)
        corners = torch.tensor([corners for _, corners in boxes]).clamp(max=max(width, height))
        targets.append({"boxes": corners, "labels": torch.tensor([kind + 1 for kind, _ in boxes])})
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), []
    model.train()
    for start in (*range(0, 50, 10), *range(0, 50, 10)):
        found = model(copy.deepcopy(images[start : start + 10]), copy.deepcopy(targets[start : start + 10]))
        loss = sum(found.values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[5:]) < sum(losses[:5])
    dsft.check_converted(model, plan)
