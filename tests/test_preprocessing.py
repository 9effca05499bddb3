import dataclasses
import json

import pytest

from dsft.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    image_size=(224, 192),
    channels=3,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bicubic",
    crop_pct=0.875,
    crop_mode="center",
)


def test_it_survives_json_to_the_bit() -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(PREPROCESSING.to_dict()))) == PREPROCESSING


def test_it_can_be_a_key() -> None:
    copy = Preprocessing.from_dict(PREPROCESSING.to_dict())
    assert {PREPROCESSING: 1}[copy] == 1


def test_it_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="channels"):
        PREPROCESSING.channels = 1  # type: ignore[misc]


def test_an_incomplete_or_foreign_description_is_refused() -> None:
    values = PREPROCESSING.to_dict()
    with pytest.raises(TypeError, match="unexpected keyword argument 'gamma'"):
        Preprocessing.from_dict({**values, "gamma": 1})
    del values["mean"]
    with pytest.raises(KeyError, match="mean"):
        Preprocessing.from_dict(values)
