from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dsft.devices import Compute
from dsft.errors import DataError, ModelError, TrainingError
from dsft.evaluation import Evaluation, evaluate
from dsft.progress import Advanced, Event, Finished, Started

CLASSES = ["ant", "bee", "cow"]
KEYS = [f"images/{number}.png" for number in range(10)]
CPU = Compute(torch.device("cpu"))


@dataclass(frozen=True)
class _Split:
    name: str
    keys: Sequence[str]
    classes: Sequence[str]


SPLIT = _Split("val", KEYS, CLASSES)


@dataclass(frozen=True)
class _Batch:
    images: Tensor
    targets: Tensor
    positions: Tensor


class _Batches:
    """Ten random images in batches of four, without those that are skipped."""

    def __init__(self, skipped: tuple[int, ...] = ()) -> None:
        self.images = torch.randn(10, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        self.positions = torch.tensor([number for number in range(10) if number not in skipped], dtype=torch.long)
        self.skipped = {KEYS[number] for number in skipped}
        self.windows = None

    def epoch(self, number: int) -> Iterator[_Batch]:
        assert number == 0
        for start in range(0, len(self.positions), 4):
            positions = self.positions[start : start + 4]
            yield _Batch(self.images[positions], positions % 3, positions)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(128, 3),
    ]
    return nn.Sequential(*layers)


def _evaluate(module: nn.Module, batches: _Batches, compute: Compute = CPU) -> Evaluation:
    return evaluate(module, batches, SPLIT, compute=compute)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_logits_are_those_of_one_pass_in_evaluation_mode(channels_last: bool) -> None:
    module, batches = _network(), _Batches()
    with torch.no_grad():
        expected = module.eval()(batches.images)
    found = _evaluate(module.train(), batches, Compute(CPU.device, None, channels_last))
    torch.testing.assert_close(found.outputs, expected)
    assert found.targets.tolist() == [number % 3 for number in range(10)]
    assert found.positions.tolist() == list(range(10))
    assert found.main_score == pytest.approx(100 * np.mean(expected.argmax(1).numpy() == np.arange(10) % 3))
    assert not found.outputs.is_inference()


def test_the_network_is_unchanged() -> None:
    module = _network().train()
    module[1].eval()  # a frozen norm
    before = {name: value.clone() for name, value in module.state_dict().items()}
    _evaluate(module, _Batches())
    assert [part.training for part in module] == [True, False, True, True, True, True]
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_mixed_precision_is_used_and_scored_in_float32() -> None:
    found = _evaluate(_network(), _Batches(), Compute(CPU.device, torch.bfloat16))
    exact = _evaluate(_network(), _Batches())
    assert found.outputs.dtype == torch.float32
    assert not torch.equal(found.outputs, exact.outputs)
    torch.testing.assert_close(found.outputs, exact.outputs, rtol=0.05, atol=0.05)


def test_skipped_images_are_counted_and_have_no_row() -> None:
    found = _evaluate(_network(), _Batches(skipped=(1, 8)))
    assert (found.metrics.count, found.metrics.skipped) == (8, 2)
    assert found.positions.tolist() == [0, 2, 3, 4, 5, 6, 7, 9]


def test_progress_is_reported_in_images() -> None:
    events: list[Event] = []
    evaluate(_network(), _Batches(), SPLIT, compute=CPU, report=events.append)
    advanced = [Advanced("evaluating on val", done) for done in (4, 8, 10)]
    assert events == [Started("evaluating on val", 10, "images"), *advanced, Finished("evaluating on val")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_an_error_that_names_the_image(value: float) -> None:
    batches, module, events = _Batches(), _network().train(), list[Event]()
    batches.images[6] = value
    with pytest.raises(TrainingError, match=r"split val: logits must be finite, found \[nan.*'images/6\.png'"):
        evaluate(module, batches, SPLIT, compute=CPU, report=events.append)
    assert events[-1] == Finished("evaluating on val")
    assert module.training


def test_another_number_of_logits_than_classes_is_an_error() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 1000))
    with pytest.raises(ModelError, match=r"for 3 classes the logits must have shape \(4, 3\), found \(4, 1000\)"):
        _evaluate(module, _Batches())


def test_a_split_without_readable_images_is_an_error() -> None:
    with pytest.raises(DataError, match=r"split val: .*found none \(10 of 10 images cannot be read\)"):
        _evaluate(_network(), _Batches(skipped=tuple(range(10))))
