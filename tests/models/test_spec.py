from __future__ import annotations

import json

import pytest

from dsft.choices import ModelSource
from dsft.models import ModelSpec


def test_json_round_trip() -> None:
    spec = ModelSpec(ModelSource.TORCHVISION, "googlenet", num_classes=7, in_chans=1, aux_heads=True)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_reads_as_library_and_name() -> None:
    assert str(ModelSpec(ModelSource.TIMM, "resnet18", 10, 3)) == "timm/resnet18"


def test_refuses_an_unknown_source() -> None:
    values = ModelSpec(ModelSource.TIMM, "resnet18", 10, 3).to_dict()
    with pytest.raises(ValueError, match="keras"):
        ModelSpec.from_dict({**values, "source": "keras"})
