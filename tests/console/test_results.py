from __future__ import annotations

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from dsft.choices import InputKind, Method, Structure
from dsft.console import (
    ModelRow,
    circumstances,
    costs_table,
    differences_table,
    footprint_circumstances,
    parameters_line,
    plan_table,
    size_table,
    speed_table,
)
from dsft.conversion import ConversionPlan, ConversionReport, Request, apply_plan, plan_conversion, report_costs
from dsft.conversion.report import ModelCost
from dsft.devices import Compute
from dsft.evaluation import Difference
from dsft.measure import count_parameters
from dsft.number_format import count
from dsft.runtimes import Footprint, MeasuredOn
from dsft.tasks import CLASSIFICATION
from tests.zoo import Residual, redraw

MEASURED_ON = MeasuredOn("Some Processor", 1, 1, "float32", "channels_last", "eager")


def lines(table: Table, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@pytest.fixture(scope="module")
def plan() -> ConversionPlan:
    return plan_conversion(redraw(Residual()), torch.randn(1, 3, 16, 16), Request(rank=1, exclude=["stem"]))


def test_a_plan_lists_every_convolution_with_its_reason(plan: ConversionPlan) -> None:
    shown = lines(plan_table(plan), width=200)
    title = " ".join(line.strip() for line in shown[: next(n for n, line in enumerate(shown) if "─" in line) - 1])
    assert title == (
        "2 of 4 convolutions converted to the given rank (method svd). Size: depthwise kernels per channel on average, "
        "or the rank. Error: relative."
    )
    rows = {cells(line)[0]: cells(line) for line in shown if line}
    # 8 channels of 16x16; conv2 has stride 2.
    assert rows["stem"] == ["stem", "dense", "-", "55.3 k", "55.3 k", "-", "not selected by include and exclude"]
    conv1 = plan.converted[0]
    assert conv1.relative_error is not None
    after = 256 * 8 * (9 + 8)
    expected = ["conv1", "dw_pw", "1.0", "147 k", f"{after / 1000:.3g} k", f"{conv1.relative_error:.3f}"]
    assert rows["conv1"] == expected
    assert rows["skip"][1:4] == ["dense", "-", "8.19 k"]
    assert rows["network"][-1] == f"x {plan.macs_ratio:.3f}"


def test_the_parameters_are_said(plan: ConversionPlan) -> None:
    before = count_parameters(Residual())
    after = count_parameters(apply_plan(Residual(), plan))
    assert parameters_line(plan) == f"Parameters: {count(before)} -> {count(after)} (x {after / before:.3f})."


def test_random_weights_have_no_error() -> None:
    plan = plan_conversion(redraw(Residual()), torch.randn(1, 3, 16, 16), Request(rank=1, method=Method.FRESH))
    row = next(cells(line) for line in lines(plan_table(plan), width=200) if line.startswith("conv1"))
    assert row[5] == "-"


def test_a_plan_fits_80_columns_with_every_digit(plan: ConversionPlan) -> None:
    shown = lines(plan_table(plan))
    assert max(map(cell_len, shown)) <= 80
    assert all(any(number in line for line in shown) for number in ("147 k", "8.19 k", f"{plan.macs_ratio:.3f}"))


def test_costs_stand_under_one_another_with_their_ratio(plan: ConversionPlan) -> None:
    model = redraw(Residual())
    converted = apply_plan(redraw(Residual()), plan)
    costs = report_costs(model, converted, plan, torch.randn(1, 3, 16, 16), Compute(torch.device("cpu")))
    shown = lines(costs_table(costs))
    assert cells(shown[0]) == ["network", "MACs", "parameters", "latency ms"]
    assert [cells(line)[0] for line in shown[2:] if line] == ["original", "converted", "ratio"]
    ratio = cells(shown[-1])
    assert ratio[1] == f"{plan.macs_ratio:.3f}"
    assert ratio[2] == f"{costs.converted.params / costs.original.params:.3f}"
    assert ratio[3] == f"{costs.converted.latency_ms / costs.original.latency_ms:.3f}"


def test_costs_read_in_units() -> None:
    before, after = ModelCost(4_111_514_624, 25_557_032, 31.4159), ModelCost(1_439_030_118, 9_000_500, 20.0)
    shown = lines(costs_table(ConversionReport(before, after, MEASURED_ON, ())))
    assert cells(shown[2]) == ["original", "4.11 G", "25.6 M", "31.42"]
    assert cells(shown[3]) == ["converted", "1.44 G", "9 M", "20.00"]
    assert cells(shown[-1]) == ["ratio", "0.350", "0.352", "0.637"]


def rows() -> list[ModelRow]:
    return [
        ModelRow("runs/digits_dense", Footprint(11_200_000, 34_000_000, 45_678_901, 4.0, 250.0, 8), 44_800_123),
        ModelRow("runs/quickstart", Footprint(3_100_000, 11_900_000, 13_000_000, 2.5, 1234.5, 8), 12_400_000),
    ]


def test_sizes_are_compared_with_the_first() -> None:
    shown = lines(size_table(rows()))
    assert cells(shown[0]) == ["model", "parameters", "MACs", "ratio", "file", "memory"]
    assert cells(shown[2]) == ["runs/digits_dense", "11.2 M", "34 M", "1.000", "44.8 MB", "45.7 MB"]
    assert cells(shown[3]) == ["runs/quickstart", "3.1 M", "11.9 M", "0.350", "12.4 MB", "13 MB"]


def test_times_are_compared_with_the_first() -> None:
    shown = lines(speed_table(rows()))
    assert cells(shown[0]) == ["model", "latency ms", "ratio", "images/s", "ratio"]
    assert cells(shown[2]) == ["runs/digits_dense", "4.00", "1.000", "250", "1.000"]
    assert cells(shown[3]) == ["runs/quickstart", "2.50", "0.625", "1234", "4.938"]


def test_differences_say_what_they_are_against_and_how_sure() -> None:
    difference = Difference(CLASSIFICATION.scorer.layout.main, -1.25, (-2.5, 0.0), 12, 3, 0.035156)
    shown = lines(differences_table("runs/digits_dense", [("runs/quickstart", difference)]))
    title = " ".join(line.strip() for line in shown[:2])
    assert title == "Top-1 minus that of runs/digits_dense; images that only one of the two gets right"
    assert cells(shown[2]) == ["model", "points", "95 % CI", "only this", "only first", "McNemar p"]
    assert cells(shown[4]) == ["runs/quickstart", "-1.25", "-2.50 to +0.00", "3", "12", "0.0352"]
    texts = differences_table("dense", [("small", difference)], InputKind.TEXT)
    assert str(texts.title) == "Top-1 minus that of dense; texts that only one of the two gets right"


@pytest.mark.parametrize("table", [size_table(rows()), speed_table(rows())])
def test_comparisons_fit_80_columns(table: Table) -> None:
    assert max(map(cell_len, lines(table))) <= 80


def test_what_times_were_measured_on_is_one_sentence() -> None:
    assert circumstances(MEASURED_ON) == (
        "Latency: Some Processor, 1 thread, batch 1, float32, channels_last, eager; median of interleaved runs."
    )


def test_a_footprint_says_what_it_was_measured_on() -> None:
    assert footprint_circumstances(MEASURED_ON, rows()[0].footprint) == (
        f"{circumstances(MEASURED_ON)} Images a second: the same with batch 8. Memory: peak bytes of live tensors in a "
        "forward pass of one image, weights included."
    )


def test_the_size_of_a_layer_is_per_channel_or_its_rank() -> None:
    request = Request(rank=2, structures=[Structure.DW_PW, Structure.LOW_RANK])
    plan = plan_conversion(redraw(Residual()), torch.randn(1, 3, 16, 16), request)
    rows = {cells(line)[0]: cells(line) for line in lines(plan_table(plan), width=200) if line}
    assert {layer.structure for layer in plan.converted} == {Structure.DW_PW, Structure.LOW_RANK}
    for layer in plan.converted:
        mean = sum(layer.kernels) / len(layer.kernels)
        size = f"rank {layer.kernels[0]}" if layer.structure is Structure.LOW_RANK else f"{mean:.1f}"
        assert rows[layer.name][1:3] == [layer.structure, size]
