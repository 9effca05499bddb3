from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dsft.choices import Cost, Form, Reason, Runtime, Structure
from dsft.conversion import Budget, Request, convert, plan_conversion
from dsft.conversion.discovery.sites import Site, find_sites
from dsft.conversion.plan import Replacement
from dsft.conversion.planning import layer_latency as latency_module
from dsft.conversion.planning.candidates import collect_candidates
from dsft.conversion.planning.layer_latency import LayerLatency
from dsft.conversion.request import SEPARABLE
from dsft.conversion.structures import Candidate
from dsft.devices import Compute
from dsft.errors import ConversionError
from dsft.measure import count_macs
from dsft.runtimes import compare_latency
from dsft.runtimes import latency as latency_measurement
from dsft.runtimes import latency_table as table_module
from dsft.runtimes.interleaved_timing import Run, Spread, Timing
from dsft.separable import allowed_forms
from dsft.storage import cache_folder
from tests.zoo import Residual, redraw

IMAGES = torch.randn(2, 3, 16, 16)
CPU = Compute(torch.device("cpu"))
EQUAL = allowed_forms([2] * 4, 1, Structure.DW_PW)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSFT_CACHE", str(tmp_path / "cache"))


def claim(monkeypatch: pytest.MonkeyPatch, times: Any) -> None:
    """Have every layer measure what ``times`` says of it."""
    monkeypatch.setattr(
        table_module, "compare_latency", lambda layers, *_: tuple(float(times(layer)) for layer in layers)
    )


def site_of(conv: nn.Module, images: torch.Tensor) -> Site:
    (site,) = find_sites(conv, images)
    return site


def candidates_of(site: Site, structures: Sequence[Structure] = SEPARABLE) -> tuple[Candidate, ...]:
    request = Request(budget=Budget(Cost.MACS, 0.5), structures=structures)
    (candidates,) = collect_candidates([site], request, is_trained=True, weightings={}, report=lambda _: None)
    return candidates


def two_kernels(form: Form | None = None) -> Replacement:
    return Replacement(Structure.DW_PW, (2,) * 4, form)


@pytest.mark.parametrize("fastest", EQUAL)
def test_the_fastest_form_is_chosen_and_like_layers_are_measured_once(
    fastest: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def compare(layers: Any, inputs: Any, *_: Any) -> tuple[float, ...]:
        shapes.append(tuple(inputs[0].shape))
        return tuple(1.0 if getattr(layer, "form", None) is fastest else 2.0 for layer in layers)

    monkeypatch.setattr(table_module, "compare_latency", compare)
    latency = LayerLatency(CPU)
    small, large = (site_of(nn.Conv2d(4, 4, 3), torch.zeros(1, 4, side, side)) for side in (8, 9))
    for site in (small, site_of(nn.Conv2d(4, 4, 3), torch.zeros(1, 4, 8, 8)), large):
        assert latency.choose_form(site, two_kernels(), EQUAL) is fastest
    assert shapes == [(1, 4, 8, 8), (1, 4, 9, 9)]


def test_a_small_advantage_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, lambda layer: 0.96 if getattr(layer, "form", None) in EQUAL[1:] else 1.0)
    site = site_of(nn.Conv2d(4, 4, 3), torch.zeros(1, 4, 8, 8))
    assert LayerLatency(CPU).choose_form(site, two_kernels(), EQUAL) is EQUAL[0]


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d])
@pytest.mark.parametrize("channels_last", [False, True])
def test_measuring_runs_for_every_kind_and_moves_no_random_numbers(kind: Any, channels_last: bool) -> None:
    images = torch.zeros(1, 4, *(6,) * (2 if kind is nn.ConvTranspose2d else int(kind.__name__[4])))
    site = site_of(kind(4, 4, 3), images)
    forms = allowed_forms([2] * 4, 1, Structure.DW_PW, transposed=kind is nn.ConvTranspose2d)
    before = torch.get_rng_state()
    weight = site.module.weight
    latency = LayerLatency(Compute(torch.device("cpu"), channels_last=channels_last))
    assert latency.choose_form(site, two_kernels(), forms) in forms
    for candidate in candidates_of(site):
        times = latency.time_candidate(candidate, candidate.steps)
        assert (times > 0).all()
    assert torch.equal(torch.get_rng_state(), before)
    assert site.module.weight is weight
    assert weight.is_contiguous()


def test_a_network_of_a_known_kind_is_converted_without_any_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    first = convert(redraw(Residual()), IMAGES, budget={"macs": 0.6}, structures=["dw_pw"]).plan

    def refuse(*_: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(table_module, "compare_latency", refuse)
    assert convert(redraw(Residual()), IMAGES, budget={"macs": 0.6}, structures=["dw_pw"]).plan == first


def test_a_form_that_is_asked_for_is_taken_wherever_it_can_be() -> None:
    model = redraw(Residual())
    plan = convert(model, IMAGES, rank=2, form="multiplier").plan
    assert {layer.form for layer in plan.converted} == {Form.MULTIPLIER}
    unequal = convert(model, IMAGES, budget={"macs": 0.6}, structures=["dw_pw"], form="multiplier").plan
    taken = {layer.form for layer in unequal.converted if len(set(layer.kernels)) > 1}
    assert taken == {Form.GATHER}


def test_without_measurements_a_rule_decides() -> None:
    model = redraw(Residual())
    plan = plan_conversion(model, IMAGES, Request(rank=2))
    assert {layer.form for layer in plan.converted} == {Form.CONCATENATE}


@pytest.mark.parametrize("form", EQUAL)
def test_all_forms_give_the_same_network_and_survive_json(form: Form) -> None:
    model = redraw(Residual()).eval()
    conversion = convert(model, IMAGES, rank="full", form=form)
    torch.testing.assert_close(conversion.model.eval()(IMAGES), model(IMAGES), atol=1e-4, rtol=1e-4)
    assert type(conversion.plan).from_dict(conversion.plan.to_dict()) == conversion.plan
    assert f"channel, {form} (" in str(conversion.plan)


def test_interpolated_times_are_near_those_that_are_measured() -> None:
    site = site_of(nn.Conv2d(32, 48, 3, padding=1), torch.zeros(1, 32, 28, 28))
    (candidate,) = candidates_of(site, [Structure.DW_PW])
    (whole,) = candidate.faster_variants()
    latency = LayerLatency(CPU)
    steps = np.array([1, 2, 3])
    estimated = latency.time_candidate(whole, steps)
    assert estimated[0] < estimated[1] < estimated[2]
    replacements = [Replacement(Structure.DW_PW, (int(rank),) * 32, form) for rank in steps for form in EQUAL[:1]]
    replacements[0] = Replacement(Structure.DW_PW, (1,) * 32, None)
    _, measured = latency.compare(site, replacements)
    # Measured once more, so that other work on the machine may be in one of the two.
    assert (estimated <= measured * 1.25).all()
    assert np.isinf(latency.time_candidate(whole, whole.steps)[-1])


def test_a_layer_that_runs_for_several_sizes_takes_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(images)[..., ::2, ::2])  # type: ignore[no-any-return]

    monkeypatch.setattr(
        table_module, "compare_latency", lambda layers, inputs, *_: (float(inputs[0].shape[-1]),) * len(layers)
    )
    dense, (other,) = LayerLatency(CPU).compare(
        site_of(Twice(), torch.zeros(1, 4, 8, 8)), [Replacement(Structure.DW_PW, (1,) * 4, None)]
    )
    assert (dense, other) == (12.0, 12.0)


def test_only_faster_keeps_dense_what_would_be_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    model = redraw(Residual())
    # The stem would be slower, and conv2 not clearly faster.
    claim(monkeypatch, lambda layer: {3: 3.0, 8: 1.0}[layer.in_channels] if hasattr(layer, "kernels") else 2.0)
    all_of_them = convert(model, IMAGES, rank=1).plan
    assert {layer.name for layer in all_of_them.converted} == {"stem", "conv1", "conv2"}
    conversion = convert(model, IMAGES, rank=1, only_faster=True)
    assert {layer.name for layer in conversion.plan.converted} == {"conv1", "conv2"}
    (stem,) = (layer for layer in conversion.plan.layers if layer.name == "stem")
    assert stem.reason is Reason.NOT_FASTER
    assert isinstance(conversion.model.get_submodule("stem"), nn.Conv2d)


@pytest.mark.parametrize("target", [{"rank": 1}, {"budget": {"macs": 1.0}}])
def test_only_faster_may_leave_everything_dense(monkeypatch: pytest.MonkeyPatch, target: Any) -> None:
    claim(monkeypatch, lambda layer: 1.99 if hasattr(layer, "kernels") else 2.0)
    assert not convert(redraw(Residual()), IMAGES, only_faster=True, **target).plan.converted


def test_a_budget_that_only_slower_layers_would_meet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, lambda layer: 3.0 if hasattr(layer, "kernels") else 2.0)
    with pytest.raises(
        ConversionError, match=r"budget macs=0.5: cannot be met: the smallest that this network allows is 1 "
    ):
        convert(redraw(Residual()), IMAGES, budget={"macs": 0.5}, only_faster=True)


def test_times_are_needed_where_they_are_asked_for() -> None:
    with pytest.raises(ValueError, match="latency: needed"):
        plan_conversion(redraw(Residual()), IMAGES, Request(rank=1, only_faster=True))
    with pytest.raises(ValueError, match="latency: needed"):
        plan_conversion(redraw(Residual()), IMAGES, Request(budget=Budget(Cost.LATENCY, 0.5)))


class Wide(nn.Sequential):
    """Convolutions that take long enough to be timed."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(48, 48, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(48, 96, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 96, 3, padding=1),
        )


WIDE_IMAGES = torch.randn(1, 48, 32, 32)


@pytest.mark.slow  # minutes on a busy machine: it measures until the whole network meets its share
# In torch three calls in place of one take up to 0.6 of the time of layers as small as these.
@pytest.mark.parametrize(("runtime", "share"), [(Runtime.EAGER, 0.7), (Runtime.ONNXRUNTIME, 0.5)])
def test_a_budget_of_latency_is_met_by_the_whole_network(
    runtime: Runtime, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime is Runtime.ONNXRUNTIME:
        pytest.importorskip("onnxruntime")
    monkeypatch.setattr(latency_module, "NETWORK_SECONDS", 0.3)
    model = redraw(Wide())
    conversion = convert(model, WIDE_IMAGES, budget={"latency": share, "runtime": str(runtime)})
    assert conversion.plan.converted
    assert conversion.report.measured_on.runtime == runtime
    before, after = compare_latency([model, conversion.model], [WIDE_IMAGES] * 2, CPU, 0.5, runtime)
    # Beside the twentieth that a budget may be missed by, a tenth for the noise of one short measurement.
    assert after / before <= 1.05 * share * 1.1
    for layer in conversion.report.layers:
        if layer.latency_ms_before is not None and layer.latency_ms_after is not None:
            assert layer.latency_ms_after < 1.1 * layer.latency_ms_before


def test_times_are_those_of_the_batch_and_the_threads_that_the_budget_states(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    # Measured for a moment: several threads on a busy machine take seconds.
    def time_once(runs: Sequence[Run], *_: object, threads: int, **__: object) -> list[Timing]:
        given.append(threads)
        spread = Spread(1.0, 1.0, 1.0)
        return [Timing(spread, spread, rounds=1) for _ in runs]

    monkeypatch.setattr(latency_measurement, "time_interleaved", time_once)
    budget = {"macs": 0.5, "batch_size": 3, "threads": 2}
    conversion = convert(redraw(Residual()), IMAGES, budget=budget, structures=["dw_pw"])
    where = conversion.report.measured_on
    assert (where.batch, where.threads) == (3, 2)
    assert "2 threads, batch 3" in where.sentence()
    assert set(given) == {2}
    # The multiply-accumulates are those of one image.
    assert conversion.report.original.macs == count_macs(redraw(Residual()), IMAGES)
    (table,) = (cache_folder() / "latency").glob("eager-*.json")
    content = json.loads(table.read_text(encoding="utf-8"))
    assert content["measured_on"]["threads"] == 2
    assert all(subject.endswith("16x16") and " 3x" in subject for subject in content["times"])


@pytest.mark.parametrize("name", ["batch_size", "threads"])
def test_counts_of_a_measurement_are_whole_numbers(name: str) -> None:
    for count in (0, 1.5, True):
        with pytest.raises(ConversionError, match=f"budget {name}: a whole number of at least 1 is needed, found"):
            convert(redraw(Wide()), WIDE_IMAGES, budget={"latency": 0.9, name: count})


def test_an_impossible_budget_of_latency_names_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "NETWORK_SECONDS", 0.1)
    with pytest.raises(
        ConversionError, match=r"budget latency=0.01: cannot be met: the smallest share that was measured"
    ):
        convert(redraw(Wide()), WIDE_IMAGES, budget={"latency": 0.01})


def test_low_rank_is_timed_and_bought_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "NETWORK_SECONDS", 0.5)
    net = nn.Sequential(nn.Conv2d(64, 256, 1), nn.ReLU(), nn.Conv2d(256, 64, 1))
    images = torch.randn(1, 64, 28, 28)
    # Every share under 1 has to be bought by low rank; a small one may miss its mark on a machine under load.
    plan = convert(redraw(net), images, budget={"latency": 0.9}, structures=["low_rank"]).plan
    assert {layer.structure for layer in plan.converted} == {Structure.LOW_RANK}
