"""Converted networks of many architectures, exported: each runtime beside torch on the same images."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision.models._api import get_model

import dsft
from dsft.choices import ModelSource
from dsft.commands.export_file import MainOutput
from dsft.models import ModelSpec, build_model
from dsft.runtimes import (
    FILE_FORMATS,
    RUNTIMES,
    OnnxSession,
    compare_outputs,
    trace_folded,
    why_unusable,
    write_onnx,
)
from dsft.tasks import CLASSIFICATION, SEGMENTATION
from tests.onnx_files import operator_types
from tests.zoo import redraw

OF_SEPARABLE_LAYERS = {"Conv", "Concat", "Split", "Slice", "Gather", "Add"}
# Where most of the cost is in what cannot be converted.
BUDGETS = {"timm/regnety_002": 0.9, "timm/res2net50_26w_4s": 0.85, "timm/resnext50_32x4d": 0.95}
# Padding as TensorFlow's is written by the layer itself.
OF_SAME_PADDING = {"Pad"}

QUICK = ["timm/test_resnet", "timm/test_nfnet"]
STRUCTURES = ["pw_dw_pw", "dw_pw", "pw_dw"]
ARCHITECTURES = [
    "timm/test_efficientnet",
    "timm/cspresnet50",
    "timm/darknet53",
    "timm/densenet121",
    "timm/dla34",
    "timm/hrnet_w18_small",
    "timm/nf_resnet26",
    "timm/regnety_002",
    "timm/repvgg_a0",
    "timm/res2net50_26w_4s",
    "timm/resnet18",
    "timm/resnet50",
    "timm/resnext50_32x4d",
    "timm/resnetv2_50",
    "timm/selecsls42",
    "timm/tf_efficientnetv2_b0",
    "timm/vgg11_bn",
    "timm/vovnet39a",
    "torchvision/resnet34",
    "torchvision/squeezenet1_1",
    "torchvision/googlenet",
]


def build(name: str) -> nn.Module:
    library, _, name = name.partition("/")
    if library == "timm":
        return redraw(timm.create_model(name, num_classes=10)).eval()
    options = {"init_weights": False} if name == "googlenet" else {}
    return redraw(get_model(name, weights=None, num_classes=10, **options)).eval()


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in ARCHITECTURES)])
def test_a_converted_network_has_the_same_outputs_in_each_runtime(name: str, tmp_path: Path) -> None:
    images = torch.randn(16, 3, 64, 64)
    original = build(name)
    # Structures and numbers of kernels differ from layer to layer.
    budget = {"macs": BUDGETS.get(name, 0.7)}
    converted = dsft.convert(original, example_input=images[:1], budget=budget, structures=STRUCTURES).model
    with torch.no_grad():
        expected = converted(images)
        # Ten times the tolerance: weights that hide the converted layers would prove nothing.
        assert (expected - original(images)).abs().max() > 1e-3 * expected.abs().max()
    for runtime, files in FILE_FORMATS.values():
        if RUNTIMES[runtime].uses_compute or why_unusable(runtime) is not None:
            continue
        example = images if files.has_dynamic_batch else images[:1]
        path = tmp_path / f"converted{files.suffix}"
        files.write(trace_folded(converted, example, dynamic_batch=files.has_dynamic_batch)[0], path, "logits")
        found = files.load(path, 1)(images)
        agrees = CLASSIFICATION.scorer.agrees(expected, found)
        parity = compare_outputs(expected, found, agrees=agrees, margins=CLASSIFICATION.scorer.margin(expected))
        assert parity.relative_difference <= 1e-4, runtime
        assert parity.clear_disagreements == 0, runtime
    write_onnx(trace_folded(original, images)[0], tmp_path / "original.onnx", "logits")
    operators = {part: operator_types(tmp_path / f"{part}.onnx") for part in ("original", "converted")}
    more = OF_SEPARABLE_LAYERS | (OF_SAME_PADDING if "tf_" in name else set())
    assert operators["converted"] - operators["original"] <= more


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "name"),
    [
        (ModelSource.TORCHVISION, "deeplabv3_mobilenet_v3_large"),
        (ModelSource.TORCHVISION, "fcn_resnet50"),
        (ModelSource.BUILTIN, "unet_16"),
    ],
)
def test_a_converted_segmentation_network_is_saved_loaded_and_exported(
    source: ModelSource, name: str, tmp_path: Path
) -> None:
    spec = ModelSpec(source, name, 5, 3, aux_heads=source is ModelSource.TORCHVISION)
    original = redraw(build_model(spec)).eval()
    images = torch.randn(4, 3, 64, 64)
    # The calibration images are photographs that come with scikit-learn.
    conversion = dsft.convert(original, example_input=images[:1], budget={"macs": 0.6})
    network = MainOutput(conversion.model, SEGMENTATION).eval()
    with torch.no_grad():
        expected = network(images)
        assert (expected - MainOutput(original, SEGMENTATION)(images)).abs().max() > 1e-3 * expected.abs().max()
    dsft.save(conversion.model, tmp_path / "model", plan=conversion.plan, task="segmentation", classes=list("abcde"))
    loaded = dsft.load(tmp_path / "model", skeleton=build_model(spec))
    with torch.no_grad():
        assert torch.equal(MainOutput(loaded, SEGMENTATION).eval()(images), expected)
    program, _ = trace_folded(network, images)
    write_onnx(program, tmp_path / "network.onnx", "pixel_logits")
    found = OnnxSession(tmp_path / "network.onnx", threads=1)(images)
    agrees, margins = SEGMENTATION.scorer.agrees(expected, found), SEGMENTATION.scorer.margin(expected)
    parity = compare_outputs(expected, found, agrees=agrees, margins=margins)
    assert parity.holds
    assert len(conversion.plan.converted) > 0
