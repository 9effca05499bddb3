from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dsft.choices import Runtime
from dsft.devices import Compute
from dsft.progress import Event, Note
from dsft.runtimes import LatencyTable
from dsft.runtimes import latency_table as module

CPU = Compute(torch.device("cpu"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of layers in each comparison."""
    comparisons: list[int] = []
    compare = module.compare_latency  # type: ignore[attr-defined]

    def count(layers: Any, *arguments: Any) -> tuple[float, ...]:
        comparisons.append(len(layers))
        return compare(layers, *arguments)

    monkeypatch.setattr(module, "compare_latency", count)
    return comparisons


def conv(channels: int = 4) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(4, channels, 3)


def look_up(table: LatencyTable, *others: int) -> tuple[float, dict[str, float]]:
    names = {str(channels): conv(channels) for channels in others}
    return table.times("a convolution", conv(), names, lambda: torch.zeros(1, 4, 32, 32))


def test_more_work_takes_longer() -> None:
    dense, times = look_up(LatencyTable(CPU), 1, 512)
    assert 0 < times["1"] < times["512"]
    assert dense < times["512"]


def test_what_is_known_is_not_measured_again_in_this_process_nor_in_the_next(measured: list[int]) -> None:
    table = LatencyTable(CPU)
    first = look_up(table, 1, 8)
    assert look_up(table, 8, 1) == first
    assert look_up(LatencyTable(CPU), 1, 8) == first
    assert measured == [3]
    more = look_up(LatencyTable(CPU), 1, 16)
    assert more[0] == first[0]
    assert more[1]["1"] == first[1]["1"]
    assert measured == [3, 2]


def test_times_of_another_device_layout_or_version_are_not_used(
    measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = LatencyTable(CPU)
    look_up(table, 1)
    look_up(LatencyTable(Compute(torch.device("cpu"), channels_last=True)), 1)
    look_up(LatencyTable(Compute(torch.device("cpu"), torch.bfloat16)), 1)
    assert len(measured) == 3
    # A file that was copied to where this machine's is looked for.
    content = json.loads(table.path.read_text(encoding="utf-8"))
    content["measured_on"]["device"] = "another processor"
    table.path.write_text(json.dumps(content), encoding="utf-8")
    look_up(LatencyTable(CPU), 1)
    assert len(measured) == 4
    monkeypatch.setattr(module.importlib.metadata, "version", lambda _: "0.0")  # type: ignore[attr-defined]
    look_up(LatencyTable(CPU), 1)
    assert len(measured) == 5


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"times": {"a convolution": {"ms": -1}}}', '{"times": {"a": 3}}', "\x00"]
)
def test_a_damaged_table_is_measured_again_with_a_note(content: str, measured: list[int]) -> None:
    heard: list[Event] = []
    path = LatencyTable(CPU).path
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    look_up(LatencyTable(CPU, report=heard.append), 1)
    assert any(isinstance(each, Note) and "measured again" in each.message for each in heard)
    look_up(LatencyTable(CPU), 1)
    assert measured == [2]


def test_a_folder_that_cannot_be_written_is_reported_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[int]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DSFT_CACHE", str(tmp_path / "file"))
    heard: list[Event] = []
    table = LatencyTable(CPU, report=heard.append)
    look_up(table, 1)
    look_up(table, 1)
    assert measured == [2]
    assert any(isinstance(each, Note) and "cannot be written" in each.message for each in heard)


def test_random_numbers_and_the_layers_that_are_copied_stay_as_they_are() -> None:
    before = torch.get_rng_state()
    look_up(LatencyTable(Compute(torch.device("cpu"), channels_last=True)), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_writers_keep_what_each_measured(measured: list[int]) -> None:
    one, other = LatencyTable(CPU), LatencyTable(CPU)
    look_up(one, 1)
    other.times("another", conv(), {}, lambda: torch.zeros(1, 4, 8, 8))
    one.times("a third", conv(), {}, lambda: torch.zeros(1, 4, 8, 8))
    look_up(LatencyTable(CPU), 1)
    assert measured == [2, 1, 1]


def test_the_runtime_is_named_in_the_file() -> None:
    pytest.importorskip("onnxruntime")
    table = LatencyTable(CPU, Runtime.ONNXRUNTIME)
    dense, times = look_up(table, 64)
    assert 0 < dense < times["64"]
    content = json.loads(table.path.read_text(encoding="utf-8"))
    assert content["measured_on"]["runtime"] == "onnxruntime"
    assert content["measured_on"]["versions"].keys() >= {"torch", "onnxruntime"}
