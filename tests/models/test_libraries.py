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
        (ModelSource.TIMM, "hf-hub:", "timm has no network"),
        (ModelSource.TORCHVISION, "resnet19", r"Did you mean .*resnet18"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_most_similar(source: ModelSource, name: str, hint: str) -> None:
    with pytest.raises(ModelError, match=rf"^model {source}/{name}: .*{hint}"):
        build_model(ModelSpec(source, name, 10, 3))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("maskrcnn_resnet50_fpn", "a network for masks or key points of objects"),
        ("mvit_v2_s", "a video transformer"),
        ("raft_small", "an optical flow network"),
        ("quantized_resnet18", "a quantized network"),
    ],
)
def test_a_network_for_another_task_is_named_as_such(name: str, kind: str) -> None:
    with pytest.raises(ModelError, match=rf"{name}: this is {kind}, .* dsft\.convert\(.*--builder") as caught:
        library_of(ModelSource.TORCHVISION, name)
    assert "Did you mean" not in str(caught.value)


def test_a_model_folder_is_no_library() -> None:
    with pytest.raises(ModelError, match="timm or torchvision or smp or transformers or builtin, found 'dsft'"):
        library_of(ModelSource.DSFT, "resnet18")
