from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dsft.conversion.factorization import LayerSamples, RegressionTarget


def draw(*, is_rectified: bool) -> RegressionTarget:
    generator = torch.Generator().manual_seed(0)
    outputs, before, now = torch.randn(3, 200, 4, generator=generator)
    scale = torch.tensor([0.5, -2.0, 1.0, 1e-9])
    return RegressionTarget(
        LayerSamples(outputs, before, now), scale, torch.tensor([0.1, -0.3, 0.0, 0.2]), is_rectified=is_rectified
    )


def goes_on(target: RegressionTarget, outputs: Tensor, shortcut: Tensor | None) -> Tensor:
    assert target.scale is not None
    assert target.shift is not None
    assert shortcut is not None
    total = outputs * target.scale + target.shift + shortcut
    return total.relu() if target.is_rectified else total


def test_the_outputs_make_the_sum_right_wherever_the_norm_lets_them() -> None:
    target = draw(is_rectified=False)
    wanted = goes_on(target, target.samples.outputs, target.samples.original_shortcut)
    found = goes_on(target, target.outputs(), target.samples.converted_shortcut)
    torch.testing.assert_close(found[:, :3], wanted[:, :3])
    assert torch.equal(target.outputs()[:, 3], target.samples.outputs[:, 3])
    assert torch.equal(target.nearest(torch.randn(200, 4)), target.outputs())


def test_the_nearest_output_does_as_well_behind_the_relu() -> None:
    target, predicted = draw(is_rectified=True), torch.randn(200, 4)
    nearest = target.nearest(predicted)
    wanted = goes_on(target, target.samples.outputs, target.samples.original_shortcut)
    torch.testing.assert_close(
        goes_on(target, nearest, target.samples.converted_shortcut)[:, :3], wanted[:, :3], atol=1e-5, rtol=1e-5
    )
    assert float((nearest - predicted).norm()) < float((target.outputs() - predicted).norm())
    right = target.nearest(nearest)
    torch.testing.assert_close(right, nearest, atol=1e-5, rtol=1e-5)
    assert target.relative_error(nearest) == pytest.approx(0, abs=1e-5)


def test_fitting_to_the_nearest_in_turn_lowers_what_bounds_the_error_behind_the_relu() -> None:
    generator = torch.Generator().manual_seed(1)
    seen, outputs = torch.randn(500, 3, generator=generator), torch.randn(500, 4, generator=generator)
    target = RegressionTarget(LayerSamples(outputs + seen[:, :1]), is_rectified=True)
    aim, errors = target.outputs(), []
    for _ in range(6):
        predicted = seen @ torch.linalg.lstsq(seen, aim).solution
        wanted = target.samples.outputs
        bound = torch.where(wanted > 0, wanted - predicted, predicted.relu()).square().sum()
        spread = (wanted - wanted.mean(0)).norm()
        assert target.relative_error(predicted) == pytest.approx(float(bound.sqrt() / spread), rel=1e-4)
        assert float((predicted.relu() - wanted.relu()).square().sum()) <= float(bound)
        errors.append(float(bound))
        aim = target.nearest(predicted)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.995 * errors[0]


def test_samples_are_joined_and_what_cannot_be_compared_corrects_nothing() -> None:
    outputs, before, now = torch.randn(3, 6, 2)
    parts = [LayerSamples(outputs[:2], before[:2], now[:2]), LayerSamples(outputs[2:], before[2:], None)]
    target = RegressionTarget.of(parts, None, None, is_rectified=False)
    torch.testing.assert_close(target.outputs()[:2], (outputs + before - now)[:2])
    assert torch.equal(target.outputs()[2:], outputs[2:])
    assert torch.equal(RegressionTarget(LayerSamples(outputs)).outputs(), outputs)


def test_outputs_that_do_not_vary_have_no_relative_error() -> None:
    assert RegressionTarget(LayerSamples(torch.ones(5, 2))).relative_error(torch.zeros(5, 2)) == 0.0
