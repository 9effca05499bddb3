from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dsft
from dsft.artifact import read_manifest
from dsft.errors import CheckpointError
from tests.zoo import Residual, redraw


def test_a_converted_network_of_the_users_own_comes_back(tmp_path: Path) -> None:
    images = torch.randn(2, 3, 16, 16)
    conversion = dsft.convert(redraw(Residual()), images, rank=1)
    dsft.save(conversion.model, tmp_path / "out", plan=conversion.plan, classes=list("abcde"))
    model = dsft.load(str(tmp_path / "out"), skeleton=Residual())
    with torch.inference_mode():
        assert torch.equal(model(images), conversion.model.eval()(images))
    assert read_manifest(tmp_path / "out").classes == tuple("abcde")


def test_without_its_skeleton_it_is_refused(tmp_path: Path) -> None:
    dsft.save(Residual(), tmp_path / "out")
    with pytest.raises(CheckpointError, match="skeleton=YourNetwork"):
        dsft.load(tmp_path / "out")
