from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dsft.choices import ModelSource
from dsft.models import ModelSpec, build_model
from dsft.tasks import DETECTION
from dsft.training.distillation.distiller import Distiller
from tests.training.pieces import distill_settings

LAYERS = ("network.backbone.1.0", "network.head.regression_head.conv.0")


@pytest.fixture
def teacher() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSpec(ModelSource.BUILTIN, "fcos_64", 3, 1)).eval()


def test_a_detector_learns_the_features_of_a_teacher_that_selects_no_boxes(
    teacher: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, inner, images = copy.deepcopy(teacher).train(), teacher.network, torch.randn(2, 1, 32, 32)
    layers: list[Any] = [student.get_submodule(name) for name in LAYERS]
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(1.5)

    def compute_maps(module: nn.Module) -> list[Any]:
        network: Any = module.network
        first = network.backbone[1][0](network.backbone[0](images))
        return [first, network.head.regression_head.conv[0](network.backbone(images))]

    # The relative squared errors of the two layers, the mean over the images.
    expected = torch.stack(
        [
            (own - other).square().flatten(1).sum(1) / other.square().flatten(1).sum(1)
            for own, other in zip(compute_maps(copy.deepcopy(student)), compute_maps(teacher), strict=True)
        ]
    ).mean()
    monkeypatch.setattr(inner, "postprocess_detections", lambda *_: pytest.fail("the teacher selects boxes"))
    distiller = Distiller(student, teacher, distill_settings(logits=0.0, features=0.5, layers=LAYERS), DETECTION)
    with distiller.capture() as features:
        losses = student(images)
    loss = distiller.combine(losses.sum(), losses, features, images)
    distiller.close()
    torch.testing.assert_close(loss, losses.sum() + 0.5 * expected)
