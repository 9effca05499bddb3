from __future__ import annotations

import pytest
import torch
from torch import nn

from dsft.choices import ModelSource
from dsft.errors import ModelError
from dsft.models import ModelSpec, build_model, head_parameters, load_model, replace_head
from dsft.models.spec import LoadedModel

TIMM = ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "ghostnet_050", "repvit_m1"]
TORCHVISION = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5", "densenet121"]
NETWORKS = [(ModelSource.TIMM, name) for name in TIMM] + [(ModelSource.TORCHVISION, name) for name in TORCHVISION]


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def outputs(loaded: LoadedModel) -> torch.Tensor:
    size = loaded.preprocessing.size
    with torch.inference_mode():
        logits: torch.Tensor = loaded.module.eval()(torch.randn(1, loaded.spec.in_chans, *size))
    return logits


@pytest.mark.parametrize(("source", "name"), NETWORKS)
def test_a_new_head_and_nothing_else(source: ModelSource, name: str) -> None:
    loaded = load_model(source, name)
    replaced = replace_head(loaded, 7, tuple("abcdefg"))

    assert outputs(replaced).shape == (1, 7)
    assert (replaced.spec.num_classes, replaced.classes) == (7, tuple("abcdefg"))
    assert shapes(replaced.module) == shapes(build_model(replaced.spec))
    before, after = loaded.module.state_dict(), replaced.module.state_dict()
    head = {
        key for key in after if key.rpartition(".")[0] in {p.rpartition(".")[0] for p in head_parameters(loaded.module)}
    }
    assert all(torch.equal(before[key], after[key]) for key in after.keys() - head)
    assert outputs(loaded).shape == (1, 1000)


@pytest.mark.parametrize(("name", "count"), [("googlenet", 6), ("inception_v3", 4)])
def test_auxiliary_heads_follow(name: str, count: int) -> None:
    loaded = load_model(ModelSource.TORCHVISION, name)
    replaced = replace_head(loaded, 5, None)
    parameters = dict(replaced.module.named_parameters())
    heads = head_parameters(replaced.module)
    assert len(heads) == count  # a weight and a bias each
    assert {parameters[key].shape[0] for key in heads} == {5}
    assert shapes(replaced.module) == shapes(build_model(replaced.spec))


def test_names_the_parameters_of_the_head() -> None:
    resnet = build_model(ModelSpec(ModelSource.TORCHVISION, "resnet18", 4, 3))
    assert head_parameters(resnet) == ("fc.weight", "fc.bias")
    squeezenet = build_model(ModelSpec(ModelSource.TORCHVISION, "squeezenet1_1", 4, 3))
    assert head_parameters(squeezenet) == ("classifier.1.weight", "classifier.1.bias")
    convnext = build_model(ModelSpec(ModelSource.TIMM, "test_convnext", 4, 3))
    assert head_parameters(convnext) == ("head.fc.weight", "head.fc.bias")


def test_a_network_without_a_classifier_is_refused() -> None:
    with torch.device("meta"):  # it is large
        encoder = load_model(ModelSource.TIMM, "gemma4_vit_167m_enc")
        with pytest.raises(ModelError, match="has no classifier that can be replaced by one of 5 classes"):
            replace_head(encoder, 5, None)
