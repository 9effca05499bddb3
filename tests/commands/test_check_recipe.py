from __future__ import annotations

import importlib.util
import re

import pytest

from dsft.commands import check_recipe
from dsft.errors import RecipeError
from dsft.progress import Event, Warn
from dsft.recipe import load_recipe, shipped_recipes


@pytest.mark.parametrize("name", [recipe.name for recipe in shipped_recipes()])
def test_every_shipped_recipe_is_valid(name: str) -> None:
    assert check_recipe.run(name) == load_recipe(name)


def test_a_recipe_is_checked_with_its_overrides() -> None:
    assert check_recipe.run("quickstart", ["optim.lr=1e-4"]).optim.lr == 1e-4
    with pytest.raises(RecipeError, match=r"Did you mean optim\.lr\?"):
        check_recipe.run("quickstart", ["optim.lrr=1"])


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("model.name=resnet81.a1_in1k", "model.name: model timm/resnet81.a1_in1k: timm has no network called"),
        ("model.name=resnet10t", ""),
        (
            "model={source: timm, name: test_nfnet2, pretrained: true}",
            "model.name: model timm/test_nfnet2: timm has no",
        ),
        (
            "model={source: torchvision, name: deeplabv3_resnet50}",
            "model.name: model torchvision/deeplabv3_resnet50: this is a network for segmentation",
        ),
        ("model={source: torchvision, name: vit_b_16}", "data.image_size: torchvision/vit_b_16 requires images of 224"),
        ("data.name=CIFRA10", "data.name: unknown torchvision data set 'CIFRA10'. Did you mean CIFAR10"),
        ("augment.auto_augment=rnad-m9", "augment.auto_augment: timm cannot parse the policy 'rnad-m9'"),
        ("augment.cutmix_minmax=[0.2,0.201]", "augment.cutmix_minmax: there is no whole number of pixels between"),
        ("model.in_chans=4", "model.in_chans: images are grayscale"),
        (
            "convert={budget: {latency: 0.5, runtime: compiled}}",
            "convert: budget runtime: a plan needs the times of single layers",
        ),
        ("optim.opt=adamww", "optim.opt: unknown optimizer, found 'adamww'. Did you mean adamw"),
        ("train.device=gpu", "train.device: expected auto, cpu, cuda, cuda:N or mps, found 'gpu'."),
    ],
)
def test_what_the_libraries_know_is_checked_without_data_and_weights(override: str, problem: str) -> None:
    if not problem:
        check_recipe.run("timm_cifar10_dense", [override])
        return
    with pytest.raises(RecipeError) as caught:
        check_recipe.run("timm_cifar10_dense", [override])
    assert re.match(rf"(\(command\)|\S+\.yaml:\d+)  {re.escape(problem)}", str(caught.value))


def test_all_problems_are_reported_together_with_their_places() -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe.run("timm_cifar10_dense", ["optim.opt=adamww", "train.device=gpu", "data.name=x"])
    first, *lines = str(caught.value).splitlines()
    assert first == "3 problems:"
    assert [line.split(": ")[0] for line in lines] == [
        f"(command)  {key}" for key in ("optim.opt", "train.device", "data.name")
    ]


def test_what_this_machine_lacks_is_a_warning() -> None:
    events: list[Event] = []
    check_recipe.run("quickstart", ["train.device=cuda:7"], events.append)
    (event,) = events
    assert isinstance(event, Warn)
    assert event.message == "train.device: this machine has 0 devices of type 'cuda', found 'cuda:7'. Use auto or cpu."


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed here")
def test_a_missing_package_is_a_warning_that_names_its_extra() -> None:
    events: list[Event] = []
    check_recipe.run("quickstart", ["log.to=[jsonl, mlflow]"], events.append)
    (event,) = events
    assert isinstance(event, Warn)
    assert re.match(r"log\.to: mlflow needs a package .* pip install 'dsft\[mlflow\]'", event.message)
