from __future__ import annotations

import dataclasses

from dsft.artifact import Manifest
from dsft.artifact.card import model_card
from dsft.choices import ModelSource, WeightsKind
from dsft.models import ModelSpec

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
