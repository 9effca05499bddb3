from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model  # type: ignore[attr-defined]

from dsft.choices import Cost, Structure
from dsft.conversion import (
    Budget,
    CalibrationSet,
    ConversionPlan,
    MaxDrop,
    Request,
    convert,
    plan_conversion,
    replay_plan,
)
from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.factorization import ChannelSpectrum, Weighting, channel_spectrum
from dsft.conversion.reconstruction.fisher import collect_fisher, emphasize_late_layers
from dsft.errors import ConversionError
from dsft.losses import sampled_binary_cross_entropy
from dsft.measure import count_macs, run_example
from dsft.progress import Event, Finished, Started
from dsft.runtimes import latency_table
from dsft.separable import DepthwiseSeparableConv2d
from tests.zoo import ManyKinds, Residual, Shared, TwoInputs, redraw

IMAGES = torch.randn(2, 3, 16, 16)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def build(name: str) -> nn.Module:
    library, _, architecture = name.partition("/")
    if library == "timm":
        model: nn.Module = timm.create_model(architecture, num_classes=5)
        return model
    return get_model(architecture, weights=None, num_classes=5, **OPTIONS.get(architecture, {}))


OPTIONS = {"googlenet": {"init_weights": False}}


@pytest.mark.parametrize(
    "name",
    [
        "timm/resnet18",
        "timm/resnext26ts",
        "timm/regnetx_002",
        pytest.param("timm/darknet17", marks=pytest.mark.slow),
        pytest.param("timm/densenet121", marks=pytest.mark.slow),
        "timm/convnext_atto",
        "timm/mobilenetv3_small_050",
        pytest.param("torchvision/resnet18", marks=pytest.mark.slow),
        "torchvision/squeezenet1_1",
        pytest.param("torchvision/googlenet", marks=pytest.mark.slow),
        "torchvision/shufflenet_v2_x0_5",
    ],
)
def test_full_rank_is_exact_on_real_networks_and_each_layer_counts(name: str) -> None:
    model = redraw(build(name)).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = run_example(model, images)
    conversion = convert(model, images, rank="full")
    assert relative(run_example(conversion.model, images), expected) < 1e-4
    # The comparison means something only if each converted layer moves the output.
    layers = conversion.plan.converted
    for layer in {layers[0], layers[len(layers) // 2], layers[-1]}:
        broken = copy.deepcopy(conversion.model)
        separable = broken.get_submodule(layer.name)
        assert isinstance(separable, DepthwiseSeparableConv2d)
        separable.pointwise.weight.data.zero_()
        assert relative(run_example(broken, images), expected) > 1e-3


def test_the_original_is_untouched_and_shares_nothing() -> None:
    model = redraw(Residual())
    before = copy.deepcopy(model.state_dict())
    converted = convert(model, IMAGES, rank=1).model
    for parameter in converted.parameters():
        parameter.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert type(model.conv1) is nn.Conv2d


def test_modes_frozen_parameters_and_format_are_kept() -> None:
    model: Any = redraw(Residual()).to(torch.float64).to(memory_format=torch.channels_last)
    model.conv1.weight.requires_grad_(False)
    model.eval()
    model.conv2.train()
    converted: Any = convert(model, IMAGES.double(), rank=1).model
    assert not converted.conv1.training
    assert converted.conv2.training
    assert not converted.conv1.depthwise.weight.requires_grad
    assert not converted.conv1.pointwise.weight.requires_grad
    assert converted.conv2.depthwise.weight.requires_grad
    assert converted.conv2.pointwise.weight.dtype is torch.float64
    assert converted.conv2.pointwise.weight.is_contiguous(memory_format=torch.channels_last)


def test_shared_modules_stay_shared_and_roots_are_replaced() -> None:
    model = Shared()
    converted: Any = convert(model, torch.randn(1, 4, 8, 8), rank="full").model
    assert isinstance(converted.first, DepthwiseSeparableConv2d)
    assert converted.first is converted.second
    root = nn.Conv2d(4, 6, 3)
    images = torch.randn(1, 4, 8, 8)
    layer = convert(root, images, rank="full").model
    assert isinstance(layer, DepthwiseSeparableConv2d)
    torch.testing.assert_close(layer(images), root(images))


def test_networks_with_two_inputs() -> None:
    inputs = (torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8))
    model = TwoInputs()
    converted = convert(model, inputs, rank="full").model
    torch.testing.assert_close(converted(*inputs), model(*inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("order", ["dw_pw", "pw_dw"])
def test_every_kind_of_convolution_is_exact_at_full_rank(order: str) -> None:
    model, images = redraw(ManyKinds()).eval(), torch.randn(2, 1, 2, 10, 12)
    conversion = convert(model, images, rank="full", structures=[order])
    assert [layer.name for layer in conversion.plan.converted] == ["line", "mix", "down", "up", "fit"]
    assert {layer.structure for layer in conversion.plan.converted} == {order}
    assert relative(run_example(conversion.model, images), run_example(model, images)) < 1e-5
    assert conversion.report.converted.macs == conversion.plan.macs_after


@pytest.mark.parametrize("order", ["dw_pw", "pw_dw"])
def test_a_norm_and_an_activation_stand_between_in_fresh_layers(order: str) -> None:
    conversion: Any = convert(Residual(), IMAGES, rank=2, method="fresh", structures=[order], norm_between=True)
    layer = conversion.model.conv1
    assert [type(module) for module in layer.between] == [nn.BatchNorm2d, nn.ReLU]
    assert conversion.plan.norm_between
    replayed = replay_plan(Residual(), ConversionPlan.from_dict(conversion.plan.to_dict()))
    replayed.load_state_dict(conversion.model.state_dict())
    assert torch.equal(run_example(replayed, IMAGES), run_example(conversion.model, IMAGES))
    loss = conversion.model.train()(IMAGES).square().sum()
    torch.autograd.backward(loss)
    assert all(parameter.grad is not None for parameter in conversion.model.parameters())


def test_fresh_weights_differ_by_seed_and_those_of_svd_are_nearer_to_the_dense_ones() -> None:
    model = redraw(Residual())
    svd, fresh, again, other = (
        convert(model, IMAGES, rank=2, method=method, seed=seed)
        for method, seed in (("svd", 0), ("fresh", 0), ("fresh", 0), ("fresh", 1))
    )
    for layer in svd.plan.converted:
        networks = (model, svd.model, fresh.model, again.model, other.model)
        modules: list[Any] = [network.get_submodule(layer.name) for network in networks]
        dense, *composed = (module.weight.detach() for module in modules)
        assert relative(composed[0], dense) < 0.9 < 1 < relative(composed[1], dense)
        assert torch.equal(composed[1], composed[2])
        assert not torch.equal(composed[1], composed[3])


def test_a_loss_that_is_allowed_gives_the_smallest_cost_that_keeps_it() -> None:
    model = redraw(Residual(16)).eval()
    expected = run_example(model, IMAGES)

    def score(network: nn.Module) -> float:
        return 100 - 100 * relative(run_example(network, IMAGES), expected)

    conversion = convert(
        model, IMAGES, budget={"max_drop": 8, "by": "params"}, structures=["dw_pw", "pw_dw"], score=score
    )
    report = conversion.report
    kept = [trial for trial in report.trials if trial.drop <= 8]
    assert 1 <= len(kept) < len(report.trials)
    best = min(kept, key=lambda trial: trial.share)
    assert 100 - score(conversion.model) == pytest.approx(best.drop, abs=1e-3)
    assert report.converted.params <= best.share * report.original.params
    assert report.to_dict()["trials"][0] == vars(report.trials[0])
    with pytest.raises(ConversionError, match=r"score: a function that scores .* needed there, found no score"):
        convert(model, IMAGES, budget={"max_drop": 40})
    with pytest.raises(ConversionError, match="found a score without max_drop"):
        convert(model, IMAGES, budget={"macs": 0.5}, score=score)
    with pytest.raises(ConversionError, match="budget max_drop: needs a score, found none"):
        plan_conversion(model, IMAGES, Request(budget=MaxDrop(1)))


def test_report_names_are_those_that_scripts_rely_on() -> None:
    events: list[Event] = []
    conversion = convert(redraw(Residual()), IMAGES, budget={"macs": 0.6}, report=events.append)
    values = conversion.report.to_dict()
    assert list(values) == ["original", "converted", "measured_on", "layers", "trials", "recovery", "data_dependent"]
    assert set(values["original"]) == {"macs", "params", "latency_ms"}
    assert values["converted"]["macs"] == conversion.plan.macs_after < values["original"]["macs"]
    assert set(values["measured_on"]) == {"device", "threads", "batch", "dtype", "layout", "runtime"}
    for layer, planned in zip(values["layers"], conversion.plan.layers, strict=True):
        assert list(layer) == [
            *("name", "decision", "reason", "structure", "order", "kernels", "width", "macs_before"),
            *("macs_after", "relative_error", "latency_ms_before", "latency_ms_after"),
        ]
        assert (layer["latency_ms_after"] is not None) == planned.is_converted
    started = [event.task for event in events if isinstance(event, Started)]
    assert started == [event.task for event in events if isinstance(event, Finished)]


@pytest.mark.parametrize(
    "target",
    [{"rank": 1}, {"rank": "full"}, {"budget": {"macs": 0.6}}, {"budget": {"macs": 0.6}, "structures": ["pw_dw"]}],
)
def test_dead_layers_stay_dead_without_nan(target: dict[str, Any]) -> None:
    model = redraw(Residual()).eval()
    model.get_parameter("conv1.weight").data.zero_()
    model.get_parameter("conv2.weight").data[:4].zero_()
    conversion = convert(model, IMAGES, **target)
    assert all(bool(parameter.isfinite().all()) for parameter in conversion.model.parameters())
    dead: Any = conversion.model.get_submodule("conv1")
    assert not bool(dead.weight.any())
    if isinstance(dead, DepthwiseSeparableConv2d):
        assert next(layer for layer in conversion.plan.layers if layer.name == "conv1").relative_error == 0.0


def test_what_is_converted_in_inference_mode_can_be_trained() -> None:
    model = redraw(Residual())
    with torch.inference_mode():
        converted = convert(model, IMAGES, rank=1).model
    torch.autograd.backward(converted(IMAGES).sum())
    assert all(parameter.grad is not None for parameter in converted.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "sdv"}, "method: one of auto, fresh, svd, refit is needed, found 'sdv'. Did you mean svd"),
        ({"structures": ["pw"]}, "structures: one of pw_dw_pw, dw_pw, pw_dw, low_rank is needed, found 'pw'"),
        ({"form": "gater"}, "form: one of .* found 'gater'. Did you mean gather"),
        ({"norm_between": True}, "norm_between: requires method fresh, found method 'auto'"),
        ({"budget": {"mac": 0.5}}, "unknown key 'mac', .* Did you mean macs"),
        ({"budget": 0.5}, "such as .'macs': 0.5. or a dsft.Budget is needed, found 0.5"),
        ({"budget": {"macs": "0.5"}}, "a share above 0 and up to 1 is needed, found '0.5'"),
        ({"budget": {"macs": 0.5}, "rank": 1}, "found both"),
    ],
)
def test_wrong_arguments_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(Residual(), IMAGES, **{"rank": 1, **arguments} if "budget" not in arguments else arguments)


def test_a_plan_is_replayed_on_a_fresh_network_and_on_no_other() -> None:
    model = redraw(Residual())
    conversion = convert(model, IMAGES, budget={"macs": 0.5})
    plan = ConversionPlan.from_dict(conversion.plan.to_dict())
    replayed = replay_plan(Residual(), plan)
    replayed.load_state_dict(conversion.model.state_dict())
    assert torch.equal(run_example(replayed, IMAGES), run_example(conversion.model, IMAGES))
    other = Shared()
    with pytest.raises(ConversionError, match="the plan needs a convolution there, found nothing"):
        replay_plan(other, plan)
    with pytest.raises(ConversionError, match=r"needs a weight of shape .* found"):
        replay_plan(Residual(16), plan)
    assert type(other.first) is nn.Conv2d


def test_a_plan_of_a_shared_module_fits_no_network_with_two() -> None:
    plan = convert(Shared(), torch.randn(1, 4, 8, 8), rank=1).plan
    apart: Any = Shared()
    apart.second = nn.Conv2d(4, 4, 3, padding=1)
    with pytest.raises(ConversionError, match="one module under the names first, second"):
        replay_plan(apart, plan)


def test_the_network_is_looked_at_once_for_all_the_budgets_that_are_tried() -> None:
    model, images = redraw(Residual(16)).eval(), torch.randn(32, 3, 16, 16)
    expected, events = run_example(model, images), list[Event]()

    def score(network: nn.Module) -> float:
        return 100 - 100 * relative(run_example(network, images), expected)

    budget = {"max_drop": 1}
    conversion = convert(
        model, images[:1], budget=budget, score=score, calibration=images, form="gather", report=events.append
    )
    tasks = [event.task for event in events if isinstance(event, Started)]
    assert tasks.count("collecting statistics") == 1 < tasks.count("refitting layers")
    assert tasks.count("refitting layers") == len(conversion.report.trials)
    # The budget alone that was kept gives the same network.
    share = min(trial.share for trial in conversion.report.trials if trial.drop <= 1)
    again = convert(model, images[:1], budget={"macs": share}, calibration=images, form="gather").model
    for name, value in again.state_dict().items():
        torch.testing.assert_close(conversion.model.state_dict()[name], value)


@pytest.mark.parametrize("with_data", [False, True])
def test_a_budget_that_needs_no_conversion_leaves_a_dense_copy(with_data: bool) -> None:
    model = redraw(Residual()).eval()
    calibration = torch.randn(8, 3, 16, 16) if with_data else None
    conversion = convert(model, IMAGES, budget={"macs": 1.0}, calibration=calibration)
    assert not conversion.plan.converted
    assert conversion.model is not model
    assert torch.equal(run_example(conversion.model, IMAGES), run_example(model, IMAGES))
    assert conversion.report.converted.macs == conversion.report.original.macs


def test_layers_that_are_none_of_them_faster_leave_a_dense_copy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DSFT_CACHE", str(tmp_path))
    monkeypatch.setattr(
        latency_table,
        "compare_latency",
        lambda layers, *_: tuple(3.0 if hasattr(layer, "kernels") else 2.0 for layer in layers),
    )
    calibration = torch.randn(8, 3, 16, 16)
    conversion = convert(redraw(Residual()), IMAGES, rank="full", only_faster=True, calibration=calibration)
    assert not conversion.plan.converted


def test_a_budget_may_be_an_object() -> None:
    model = redraw(Residual())
    plan = convert(model, IMAGES, budget=Budget(Cost.MACS, 0.5)).plan
    assert plan == convert(model, IMAGES, budget={"macs": 0.5}).plan
    assert plan.macs_ratio <= 0.5


def test_the_task_decides_what_errors_cost() -> None:
    """Classes that exclude one another have a Fisher information of rank one less than those that do not."""
    model, calibration = redraw(Residual()).eval(), torch.randn(32, 3, 16, 16)
    one, any_number = (
        convert(model, IMAGES, budget={"macs": 0.5}, calibration=calibration, task=task).model.state_dict()
        for task in ("classification", "multi_label")
    )
    assert any(not torch.equal(value, any_number[name]) for name, value in one.items() if name in any_number)
    found = CalibrationSet.read(model, calibration, "multi_label")
    sites = [site for site in find_sites(model, IMAGES) if site.obstacle is None]
    expected = emphasize_late_layers(
        collect_fisher(model, sites, found.batches, sampled_loss=sampled_binary_cross_entropy)
    )
    for name, weighting in found.weightings(sites).items():
        assert torch.equal(weighting.gradients, expected[name].gradients)
    with pytest.raises(ConversionError, match=r"task: one of .* is needed, found 'multilabel'"):
        convert(model, IMAGES, rank=1, calibration=calibration, task="multilabel")


class Proposals(nn.Module):
    """Runs its head on as many crops as there are positions with a high score, as detection networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3, padding=1)
        self.score = nn.Conv2d(8, 1, 3, padding=1)
        self.head = nn.Conv2d(8, 8, 3)
        self.classes = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        padded = nn.functional.pad(features, (1, 1, 1, 1))
        _, rows, columns = (self.score(features).flatten(1) > 0).reshape(len(images), *features.shape[2:]).nonzero().T
        crops = [padded[:1, :, r : r + 3, c : c + 3] for r, c in zip(rows.tolist(), columns.tolist(), strict=True)]
        return self.classes(self.head(torch.cat(crops)).flatten(1))  # type: ignore[no-any-return]


def test_macs_behind_proposals_are_counted_for_the_boxes_of_the_original() -> None:
    model, images, events = redraw(Proposals()).eval(), torch.randn(1, 3, 12, 12), list[Event]()
    conversion = convert(model, images, rank=1, report=events.append)
    report = conversion.report
    # The boxes are others, so that a count of what runs would compare two different tasks.
    assert count_macs(conversion.model, images) != conversion.plan.macs_after
    assert report.converted.macs == conversion.plan.macs_after
    assert report.data_dependent == ("head", "classes")
    assert any("2 modules, such as 'head', ran on other sizes" in str(event) for event in events)
    assert report.to_dict()["data_dependent"] == ("head", "classes")
    assert not convert(redraw(Residual()), IMAGES, rank=1).report.data_dependent


def test_a_kernel_is_decomposed_once_in_each_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = redraw(Residual()).eval(), list[str]()

    def counted(weight: Tensor, groups: int, order: Structure, weighting: Weighting | None) -> ChannelSpectrum:
        calls.append(f"{tuple(weight.shape)} {order}")
        return channel_spectrum(weight, groups, order, weighting)

    for module in ("structures.separable", "factorization.svd"):
        monkeypatch.setattr(sys.modules[f"dsft.conversion.{module}"], "channel_spectrum", counted)
    conversion = convert(model, IMAGES, budget={"macs": 0.5}, form="gather")
    assert conversion.plan.converted
    # Three convolutions with larger kernels, of different shapes, in two structures.
    assert len(calls) == len(set(calls)) == 6
