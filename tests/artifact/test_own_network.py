from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import dsft
from dsft.artifact import read_manifest
from dsft.choices import Form
from dsft.errors import CheckpointError, ConversionError, OutputError
from dsft.preprocessing import Preprocessing
from tests.geometry import in_form
from tests.workshop import Workshop
from tests.zoo import Residual, redraw


class Sparse(nn.Module):
    """A network with a weight of a sparse layout."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3).to_sparse())


def test_an_own_converted_network_is_restored(tmp_path: Path) -> None:
    images = torch.randn(2, 3, 16, 16)
    conversion = dsft.convert(redraw(Residual()), images, rank=1)
    dsft.save(conversion.model, tmp_path / "out", plan=conversion.plan, classes=list("abcde"))
    model = dsft.load(str(tmp_path / "out"), skeleton=Residual())
    with torch.inference_mode():
        assert torch.equal(model(images), conversion.model.eval()(images))
    assert read_manifest(tmp_path / "out").classes == tuple("abcde")


def test_a_run_folder_stands_for_its_model(workshop: Workshop) -> None:
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = dsft.load(workshop.separable / "model")(images)
        assert torch.equal(dsft.load(workshop.separable)(images), expected)


def test_without_its_skeleton_it_is_refused(tmp_path: Path) -> None:
    dsft.save(Residual(), tmp_path / "out")
    with pytest.raises(CheckpointError, match="skeleton=YourNetwork"):
        dsft.load(tmp_path / "out")


def test_a_network_of_timm_is_restored_without_a_skeleton(tmp_path: Path) -> None:
    model = redraw(timm.create_model("resnet10t", num_classes=3, in_chans=1)).eval()
    images = torch.randn(2, 1, 32, 32)
    conversion = dsft.convert(model, images, rank=1)
    dsft.save(conversion.model, tmp_path / "out", plan=conversion.plan)
    loaded = dsft.load(tmp_path / "out")
    with torch.inference_mode():
        assert torch.equal(loaded(images), conversion.model(images))
    manifest = read_manifest(tmp_path / "out")
    assert str(manifest.source) == "timm/resnet10t"
    assert manifest.preprocessing is not None
    assert manifest.preprocessing.channels == 1


def test_a_network_of_timms_with_other_arguments_needs_its_skeleton(tmp_path: Path) -> None:
    # The same tensors with another stride: rebuilt by name alone it would load, and answer otherwise.
    model = timm.create_model("resnet10t", num_classes=3, output_stride=8)
    dsft.save(model, tmp_path / "out")
    assert read_manifest(tmp_path / "out").source is None
    with pytest.raises(CheckpointError, match="skeleton"):
        dsft.load(tmp_path / "out")


def test_changes_that_no_tensor_shows_need_the_skeleton_too(tmp_path: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=3)
    model.act1 = torch.nn.SiLU()
    dsft.save(model, tmp_path / "out")
    assert read_manifest(tmp_path / "out").source is None


def test_another_head_put_on_by_hand_needs_the_skeleton(tmp_path: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=3)
    model.fc = torch.nn.Linear(512, 7)
    dsft.save(model, tmp_path / "out")
    with torch.inference_mode():
        assert dsft.load(tmp_path / "out", skeleton=model)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_a_converted_network_without_its_plan_is_refused(tmp_path: Path) -> None:
    conversion = dsft.convert(redraw(Residual()), torch.randn(1, 3, 16, 16), rank=1)
    with pytest.raises(CheckpointError, match=r"plan=conversion\.plan"):
        dsft.save(conversion.model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_its_plan_does_not_fit_is_refused(tmp_path: Path) -> None:
    model, images = redraw(Residual()), torch.randn(1, 3, 16, 16)
    conversion = dsft.convert(model, images, rank=1)
    with pytest.raises(
        CheckpointError, match=r"layers that are dense in the model, such as 'conv1'.*conversion\.model"
    ):
        dsft.save(model, tmp_path / "out", plan=conversion.plan)
    other = dsft.convert(model, images, rank=2)
    with pytest.raises(CheckpointError, match=r"layer 'stem': structure, kernels or form differ between the plan"):
        dsft.save(other.model, tmp_path / "out", plan=conversion.plan)
    # The same tensors in another order: loaded by the plan they would answer otherwise.
    layer: Any = other.model.get_submodule("conv1")
    form = next(form for form in (Form.MULTIPLIER, Form.PASSES) if form is not layer.form)
    other.model.set_submodule("conv1", in_form(layer, form))
    with pytest.raises(CheckpointError, match=r"layer 'conv1': structure, kernels or form differ"):
        dsft.save(other.model, tmp_path / "out", plan=other.plan)
    assert not (tmp_path / "out").exists()


def test_only_a_model_folder_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(OutputError, match="contains no model folder"):
        dsft.save(Residual(), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").is_file()


@pytest.mark.parametrize("module", [nn.LazyConv2d(3, 3), nn.Linear(2, 2, device="meta"), Sparse()])
def test_what_has_no_plain_values_is_not_saved(module: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tensors without values or with a sparse layout, under weight"):
        dsft.save(module, tmp_path / "out")


def test_a_skeleton_must_be_a_network_with_values(tmp_path: Path) -> None:
    dsft.save(Residual(), tmp_path / "out")
    with pytest.raises(ConversionError, match=r"a torch.nn.Module is needed, found the class Residual"):
        dsft.load(tmp_path / "out", skeleton=Residual)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="skeleton: expected a network on the CPU, found one on the meta"):
        dsft.load(tmp_path / "out", skeleton=Residual().to("meta"))


def test_the_preprocessing_is_that_of_the_weights_and_not_of_the_name(tmp_path: Path) -> None:
    model = timm.create_model("mobilenetv3_large_100.miil_in21k_ft_in1k")
    dsft.save(model, tmp_path / "out")
    stated = read_manifest(tmp_path / "out").preprocessing
    assert isinstance(stated, Preprocessing)
    assert (stated.mean, stated.std, stated.interpolation) == ((0.0,) * 3, (1.0,) * 3, "bilinear")
