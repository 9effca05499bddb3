from __future__ import annotations

import dataclasses

import pytest

from dsft.artifact import Manifest
from dsft.artifact.card import hub_header, model_card
from dsft.choices import ModelSource, TaskName, WeightsKind
from dsft.models import ModelSpec
from dsft.preprocessing import InputPreprocessing, SignalPreprocessing, TextPreprocessing

DENSE = Manifest(
    source=ModelSpec(ModelSource.TIMM, "resnet18", 30, 3),
    plan=None,
    classes=tuple(f"class {index}" for index in range(30)),
    preprocessing=None,
    weights=WeightsKind.EMA,
    sha256="f" * 64,
    fingerprints={},
    data=None,
    versions={"dsft": "1.2"},
)


def test_says_what_it_is_and_how_it_loads() -> None:
    card = model_card(DENSE)
    assert card.startswith("# timm/resnet18, dense\n")
    assert "Written by dsft 1.2; averaged (EMA) weights." in card
    assert 'dsft.load("PATH/OF/THIS/FOLDER")' in card
    assert "30: `class 0`, `class 1`" in card
    assert "`class 19` and 10 more" in card
    assert "f" * 64 in card


def test_an_own_network_requires_a_skeleton() -> None:
    card = model_card(dataclasses.replace(DENSE, source=None, classes=None))
    assert 'dsft.load("PATH/OF/THIS/FOLDER", skeleton=YourNetwork())' in card
    assert "## Classes\n\nUnknown." in card


@pytest.mark.parametrize(
    ("task", "preprocessing", "tag"),
    [
        (TaskName.CLASSIFICATION, None, "image-classification"),
        (TaskName.MULTI_LABEL, SignalPreprocessing((100,), 1, (0.0,), (1.0,)), "audio-classification"),
        (TaskName.CLASSIFICATION, TextPreprocessing(5, ("word",)), "text-classification"),
        (TaskName.SEGMENTATION, None, "image-segmentation"),
        (TaskName.DETECTION, None, "object-detection"),
        (TaskName.RESTORATION, None, "image-to-image"),
    ],
)
def test_the_hub_is_told_the_task(task: TaskName, preprocessing: InputPreprocessing | None, tag: str) -> None:
    header = hub_header(dataclasses.replace(DENSE, task=task, preprocessing=preprocessing))
    assert f"\npipeline_tag: {tag}\n" in header


def test_costs_and_labels_are_of_what_the_network_takes() -> None:
    text = dataclasses.replace(DENSE, task=TaskName.MULTI_LABEL, preprocessing=TextPreprocessing(5, ("word",)))
    assert "any number of them per text (sigmoid)" in model_card(text)
    assert "any number of them per image (sigmoid)" in model_card(dataclasses.replace(text, preprocessing=None))
