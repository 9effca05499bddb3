from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dsft
from dsft.choices import Method, Structure
from dsft.conversion.convert import Conversion
from dsft.conversion.reconstruction import layerwise as room
from dsft.conversion.reconstruction import regression
from dsft.conversion.reconstruction.residual_targets import EpilogueTracer
from dsft.errors import ConversionError
from dsft.progress import Advanced
from tests.zoo import ManyKinds, Residual, RewrittenSkips, Shared, TwoInputs, redraw

IMAGES = torch.randn(48, 3, 12, 12, generator=torch.Generator().manual_seed(0))
FRESH = torch.randn(32, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / (expected - expected.mean(0)).norm())


def converted(model: nn.Module, images: Tensor = IMAGES, **request: object) -> Conversion:
    settings = {"calibration": images, "form": "gather", "budget": {"macs": 0.6}} | request
    return dsft.convert(model, images[:1], **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("structures", [["dw_pw", "pw_dw"], ["dw_pw"], ["pw_dw"]])
def test_a_refit_is_far_nearer_to_the_original_on_images_that_it_has_not_seen(structures: list[str]) -> None:
    model = redraw(Residual()).eval()
    plain = converted(model, structures=structures, calibration=None).model
    fitted = converted(model, structures=structures).model
    with torch.no_grad():
        before, after = distance(plain(FRESH), model(FRESH)), distance(fitted(FRESH), model(FRESH))
    assert after < 0.5 * before


@pytest.mark.parametrize("order", ["dw_pw", "pw_dw"])
@pytest.mark.parametrize("make", [Residual, ManyKinds])
def test_at_full_rank_it_stays_exact(order: str, make: Callable[[], nn.Module]) -> None:
    model = redraw(make()).eval()
    images = IMAGES if make is Residual else torch.randn(8, 1, 2, 16, 16)
    conversion = converted(model, images, structures=[order], rank="full", budget=None)
    with torch.no_grad():
        assert distance(conversion.model(images), model(images)) < 1e-4
    errors = [layer.relative_error for layer in conversion.plan.converted]
    assert max(error for error in errors if error is not None) < 1e-3
    assert conversion.plan.method is Method.REFIT


@pytest.mark.parametrize("structure", ["dw_pw", "pw_dw_pw"])
def test_the_layer_that_is_fitted_is_the_least_squares_fit_to_the_original_on_the_converted_input(
    structure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second layer, whose input has the first one's error in it, against torch's own least squares."""
    # Moments of whole patches would be too large.
    monkeypatch.setattr(regression, "MOST_PATCH_VALUES", 3 * 9 - 1)
    monkeypatch.setattr(regression, "PwDwPwRegression", None)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 5, 3, padding=1)).eval()
    conversion = converted(model, structures=[structure], rank=1, budget=None)
    with torch.no_grad():
        inputs = conversion.model[:2](IMAGES)  # type: ignore[index]
        layer: Any = conversion.model.get_submodule("2")
        maps = layer.depthwise(layer.expand(inputs) if structure == "pw_dw_pw" else inputs)
        columns = torch.cat([maps.movedim(1, -1).flatten(0, -2), torch.ones(maps[:, 0].numel(), 1)], 1).double()
        wanted = model(IMAGES).movedim(1, -1).flatten(0, -2).double()
        best = columns @ torch.linalg.lstsq(columns, wanted).solution
        found = conversion.model(IMAGES).movedim(1, -1).flatten(0, -2).double()
    assert float((found - wanted).norm() / (best - wanted).norm()) == pytest.approx(1.0, abs=1e-3)
    reported = conversion.plan.layers[1].relative_error
    assert reported == pytest.approx(float((best - wanted).norm() / (wanted - wanted.mean(0)).norm()), rel=1e-2)


class Shortcut(nn.Module):
    """A shortcut with an error that the layer beside it can make up for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        shortcut = self.first(images)
        return self.norm(self.second(functional.relu(shortcut))) + shortcut  # type: ignore[no-any-return]


def test_at_a_sum_the_layer_makes_up_for_the_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    model = redraw(Shortcut()).eval()

    def error() -> float:
        fitted = converted(model, structures=["dw_pw"], rank=1, budget=None).model
        with torch.no_grad():
            return distance(fitted(FRESH), model(FRESH))

    with_sum = error()
    monkeypatch.setattr(room._Record, "has_sum", False)
    assert with_sum < 0.95 * error()


def test_the_original_is_left_alone_and_a_second_time_gives_the_same() -> None:
    model = redraw(Residual()).train()
    before = copy.deepcopy(model.state_dict())
    first = converted(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert first.model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in first.model.modules())
    again = converted(model)
    for one, other in zip(first.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_bias_is_added_where_there_was_none_and_loads_again(tmp_path: object) -> None:
    model = redraw(Residual()).eval()
    conversion = converted(model, structures=["dw_pw"], rank=1, budget=None)
    assert [layer.adds_bias for layer in conversion.plan.layers if layer.is_converted] == [True, True, False]
    assert sum(p.numel() for p in conversion.model.parameters()) == conversion.plan.params_after
    dsft.save(conversion.model, f"{tmp_path}/model", plan=conversion.plan)
    loaded = dsft.load(f"{tmp_path}/model", skeleton=Residual()).eval()
    with torch.no_grad():
        assert torch.equal(loaded(FRESH), conversion.model(FRESH))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_number_formats_stay(dtype: torch.dtype) -> None:
    model = redraw(Residual()).eval().to(dtype)
    fitted = converted(model, IMAGES.to(dtype), structures=["dw_pw"]).model
    assert {parameter.dtype for parameter in fitted.parameters()} == {dtype}
    with torch.no_grad():
        assert distance(fitted(FRESH.to(dtype)).float(), model(FRESH.to(dtype)).float()) < 0.6


def test_a_network_that_runs_a_layer_twice_or_takes_two_inputs() -> None:
    images = torch.randn(8, 4, 8, 8)
    shared = redraw(Shared()).eval()
    assert converted(shared, images, rank=2, budget=None).plan.converted
    pairs = [(images[:4], images[4:])]
    two = redraw(TwoInputs()).eval()
    conversion = dsft.convert(two, (images[:1], images[:1]), calibration=pairs, rank=9)
    with torch.no_grad():
        assert distance(conversion.model(images, images), two(images, images)) < 1e-4


class ForBrightImages(nn.Module):
    """A layer that does not run in every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.first(images)
        return self.second(features) if images.mean() > 0 else features


def test_a_layer_that_some_batches_skip_is_fitted_to_the_others() -> None:
    model, bright = redraw(ForBrightImages()).eval(), IMAGES.abs()
    batches = [-bright[:16], bright[16:32], -bright[32:40], bright[40:]]
    settings: dict[str, Any] = {"structures": ["dw_pw"], "rank": "full", "budget": None}
    conversion = converted(model, bright, calibration=batches, **settings)
    assert [layer.name for layer in conversion.plan.converted] == ["first", "second"]
    with torch.no_grad():
        assert distance(conversion.model(bright), model(bright)) < 1e-4
    assert all(layer.relative_error < 1e-3 for layer in conversion.plan.converted)  # type: ignore[operator]


def test_one_image_dead_channels_and_constant_images_stay_finite() -> None:
    model = Residual().eval()
    redraw(model)
    model.stem.weight.data[3] = 0
    model.norm.bias.data[3] = -1
    for images in (IMAGES[:1], torch.ones(4, 3, 12, 12), torch.zeros(2, 3, 12, 12)):
        fitted = converted(model, images).model
        assert all(bool(parameter.isfinite().all()) for parameter in fitted.parameters())
        with torch.no_grad():
            assert bool(fitted(FRESH).isfinite().all())


def test_progress_is_told_layer_by_layer_with_the_error() -> None:
    events: list[object] = []
    conversion = converted(redraw(Residual()).eval(), report=events.append)
    told = [event for event in events if isinstance(event, Advanced) and event.task == "refitting layers"]
    assert [event.done for event in told] == list(range(1, len(conversion.plan.converted) + 1))
    assert all(0 <= event.values["error"] < 2 for event in told)


def test_the_method_and_the_data_go_together() -> None:
    model = redraw(Residual()).eval()
    with pytest.raises(ConversionError, match="method refit: fits the weights to calibration data, found none"):
        converted(model, calibration=None, method="refit")
    with pytest.raises(ConversionError, match="calibration: goes with the method refit, found method 'svd'"):
        converted(model, method="svd")


def test_frozen_weights_stay_frozen() -> None:
    model = redraw(Residual()).eval()
    model.conv1.requires_grad_(False)
    layer = converted(model, structures=[Structure.DW_PW], rank=2, budget=None).model.get_submodule("conv1")
    assert [parameter.requires_grad for parameter in layer.parameters()] == [False, False, False]


@pytest.mark.parametrize("order", ["dw_pw", "pw_dw"])
def test_skips_that_are_rewritten_in_place_are_fitted_as_they_are_used(order: str) -> None:
    model = redraw(RewrittenSkips()).eval()
    with torch.no_grad():
        expected = model(FRESH)
    exact = converted(model, structures=[order], rank="full", budget=None)
    plain = converted(model, structures=[order], calibration=None, rank=2, budget=None).model
    fitted = converted(model, structures=[order], rank=2, budget=None).model
    with torch.no_grad():
        assert distance(exact.model(FRESH), expected) < 1e-4
        assert distance(fitted(FRESH), expected) < 0.6 * distance(plain(FRESH), expected)
        assert torch.equal(model(FRESH), expected)


def test_the_samples_are_those_of_the_original_before_anything_rewrites_them() -> None:
    """The outputs of the convolutions and what they are added to, against those that plain code computes."""
    model: Any = redraw(RewrittenSkips()).eval()
    plan = converted(model, calibration=None, rank=1, budget=None).plan
    found: list[Tensor] = []
    model.register_forward_hook(lambda *given: found.append(given[-1].clone()))
    records = room._record(model, plan, [IMAGES])
    with torch.no_grad():
        first = model.norm1(model.conv1(IMAGES))
        second = functional.conv2d(first.relu(), model.slice2[1].weight, padding=1)
        rectified = model.slice2[2](second).relu()
        third = model.slice3[1](rectified)
        fourth = model.conv4(third + rectified)
        output = model.end(torch.cat([2 * fourth.relu(), first.relu()], 1))

    def rows(maps: Tensor) -> Tensor:
        return maps.movedim(1, -1).flatten(0, -2)

    for name, maps in {"slice2.1": second, "slice3.1": third, "conv4": fourth, "end": output}.items():
        torch.testing.assert_close(records[name].outputs[0], rows(maps))
    summand = records["slice3.1"].summands[0]
    assert summand is not None
    torch.testing.assert_close(summand, rows(rectified))
    torch.testing.assert_close(found[-1], output)
    assert [name for name, record in records.items() if record.epilogue.is_rectified] == ["conv1", "slice2.1", "conv4"]


class TwoReaders(nn.Module):
    """The output of the first convolution goes into a ReLU, and unchanged into a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.first(images)
        return self.second(functional.relu(seen)) - 2 * seen  # type: ignore[no-any-return]


def over_least_squares(model: Any, fitted: Any) -> float:
    """Return the error of the first layer relative to that of torch's least squares on the same depthwise maps."""
    with torch.no_grad():
        maps = fitted.first.depthwise(fitted.first._spread(IMAGES)).movedim(1, -1).flatten(0, -2)
        columns = torch.cat([maps, torch.ones(len(maps), 1)], 1).double()
        wanted = model.first(IMAGES).movedim(1, -1).flatten(0, -2).double()
        best = columns @ torch.linalg.lstsq(columns, wanted).solution
        found = fitted.first(IMAGES).movedim(1, -1).flatten(0, -2).double()
    return float((found - wanted).norm() / (best - wanted).norm())


def test_an_output_that_is_not_only_rectified_is_fitted_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = redraw(TwoReaders()).eval()
    with torch.no_grad():
        model.first.bias.fill_(-1.5)
    fitted = converted(model, structures=["dw_pw"], rank=2, budget=None).model
    assert over_least_squares(model, fitted) == pytest.approx(1.0, abs=1e-3)
    monkeypatch.setattr(EpilogueTracer, "_consumed_from", lambda *_: [])
    rectified = converted(model, structures=["dw_pw"], rank=2, budget=None).model
    assert over_least_squares(model, rectified) > 1.02


def test_a_plan_that_converts_nothing_has_nothing_to_fit() -> None:
    model = redraw(Residual()).eval()
    plan = converted(model, calibration=None, rank=1, budget=None).plan
    plan = replace(plan, layers=tuple(layer for layer in plan.layers if not layer.is_converted))
    assert room.reconstruct_layers(model, copy.deepcopy(model), plan, [IMAGES], {}) == {}
