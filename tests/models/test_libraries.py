from __future__ import annotations

import pytest

from dsft.choices import ModelSource
from dsft.errors import ModelError
from dsft.models import ModelSpec, build_model
from dsft.models.libraries import library_of


@pytest.mark.parametrize(
    ("source", "name", "hint"),
    [
        (ModelSource.TIMM, "resnet_18", r"Did you mean .*resnet18"),
        (ModelSource.TIMM, "resnet18.a1_in1", r"Did you mean resnet18\.a1_in1k"),
        (ModelSource.TIMM, "hf-hub:someone/resnet18", "timm has no classification network"),
        (ModelSource.TORCHVISION, "resnet19", r"Did you mean .*resnet18"),
        (ModelSource.TORCHVISION, "fasterrcnn_resnet50_fpn", "torchvision has no classification network"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(source: ModelSource, name: str, hint: str) -> None:
    with pytest.raises(ModelError, match=rf"^model {source}/{name}: .*{hint}"):
        build_model(ModelSpec(source, name, 10, 3))


def test_a_model_folder_is_no_library() -> None:
    with pytest.raises(ModelError, match="timm or torchvision, found 'dsft'"):
        library_of(ModelSource.DSFT, "resnet18")
