"""Recovery on small networks whose converted copy is close to the original, and on those that it cannot train."""

from __future__ import annotations

import copy
import importlib
import math
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dsft
from dsft.conversion import ConversionPlan
from dsft.conversion.reconstruction import recovery as module
from dsft.conversion.reconstruction.augmentation import RandomBatches
from dsft.conversion.reconstruction.block_outputs import block_names, output_distance, relative_distance
from dsft.conversion.reconstruction.recovery import judged_batches, recover_network, set_aside
from dsft.errors import ConversionError
from dsft.measure.example import batch_size_of
from dsft.progress import Event, Note, Warn
from tests.zoo import Residual, redraw

IMAGES = torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(0))
BATCHES = list(torch.split(IMAGES, 16))


class Classifier(nn.Module):
    """Two convolutions, a norm and rows of scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.body(functional.relu(self.norm(self.stem(images)))))
        scores: Tensor = self.head(maps.mean((2, 3)))
        return scores


def converted_copy(model: nn.Module) -> tuple[nn.Module, ConversionPlan]:
    done = dsft.convert(model, IMAGES[:1], rank=1, method="svd", structures=["dw_pw"])
    return done.model, done.plan


def mean_distance(student: nn.Module, model: nn.Module, batches: Sequence[Any]) -> float:
    with torch.no_grad():
        return sum(output_distance(student(batch), model(batch)) for batch in batches) / len(batches)


def layer_names(plan: ConversionPlan) -> list[str]:
    return [layer.name for layer in plan.converted]


def messages(kind: type[Note] | type[Warn], events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, kind)]


def test_brings_the_outputs_on_images_set_aside_closer_and_says_so() -> None:
    model = redraw(Classifier()).eval()
    student, plan = converted_copy(model)
    events: list[Event] = []
    held = [BATCHES[3]]
    judged = judged_batches(held)
    assert [batch_size_of(batch) for batch in judged] == [16] * (1 + module.VARIED)
    before = mean_distance(student, model, judged)
    done = recover_network(model, student, layer_names(plan), BATCHES[:3], held, steps=60, report=events.append)
    assert done is not None
    after = mean_distance(student, model, judged)
    assert done.steps == 60
    assert [done.before, done.after] == pytest.approx([before, after])
    assert after < 0.9 * before
    assert f"{before:.4f} -> {after:.4f}" in messages(Note, events)[0]
    assert not student.training
    assert all(parameter.grad is None for parameter in student.parameters())


def test_the_distance_is_relative_to_the_variance() -> None:
    maps, others = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    reference = (maps - others).square().mean() / others.var(correction=0)
    assert output_distance({"out": maps}, {"out": others}) == pytest.approx(float(reference), rel=1e-5)
    assert output_distance(maps, others[:1]) == math.inf
    assert float(relative_distance(torch.ones(4), torch.ones(4))) == 0


def test_statistics_heads_and_what_is_frozen_stay_as_they_were() -> None:
    model = redraw(Classifier()).eval()
    student, plan = converted_copy(model)
    student.get_submodule("norm").requires_grad_(requires_grad=False)
    before = copy.deepcopy(student.state_dict())
    assert recover_network(model, student, layer_names(plan), BATCHES[:3], [BATCHES[3]], steps=20) is not None
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert {"stem.depthwise.weight", "body.pointwise.weight", "body.pointwise.bias", "head.bias"} <= changed
    assert not changed & {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "head.weight"}


def test_a_state_that_is_worse_on_images_set_aside_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRONG", (0.1, 30.0))
    monkeypatch.setattr(module, "GENTLE", (0.01, 30.0))
    model = redraw(Classifier()).eval()
    student, plan = converted_copy(model)
    before = copy.deepcopy(student.state_dict())
    events: list[Event] = []
    done = recover_network(model, student, layer_names(plan), BATCHES[:3], [BATCHES[3]], steps=5, report=events.append)
    assert done is not None
    assert done.after == done.before
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert "brought nothing" in messages(Note, events)[-1]


def test_values_that_are_not_finite_lead_back_to_the_best_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JUDGED", 5)
    draw: Any = RandomBatches.draw
    calls = []

    def spoiled(self: Any, count: int) -> Any:
        calls.append(count)
        return draw(self, count) * (math.nan if len(calls) > 12 else 1.0)

    monkeypatch.setattr(RandomBatches, "draw", spoiled)
    model = redraw(Classifier()).eval()
    student, plan = converted_copy(model)
    events: list[Event] = []
    done = recover_network(model, student, layer_names(plan), BATCHES[:3], [BATCHES[3]], steps=40, report=events.append)
    assert done is not None
    assert done.after <= done.before
    assert all(bool(parameter.isfinite().all()) for parameter in student.parameters())
    assert any("not finite" in message for message in messages(Note, events))


def test_memory_that_runs_out_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    compare, sizes = module._Session._compare, []

    def limited(self: Any, batch: Any) -> Tensor:
        sizes.append(len(batch))
        if len(batch) > 8:
            raise torch.OutOfMemoryError("no memory")
        return compare(self, batch)

    monkeypatch.setattr(module._Session, "_compare", limited)
    model = redraw(Classifier()).eval()
    student, plan = converted_copy(model)
    assert recover_network(model, student, layer_names(plan), BATCHES[:3], [BATCHES[3]], steps=3) is not None
    assert sizes[:3] == [32, 16, 8]
    assert set(sizes[3:]) == {8}


def test_a_network_that_cannot_be_differentiated_stays_as_it_was_fitted() -> None:
    class Detached(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(images)

    model = redraw(Detached()).eval()
    student, plan = converted_copy(model)
    before, events = copy.deepcopy(student.state_dict()), list[Event]()
    assert (
        recover_network(model, student, layer_names(plan), BATCHES[:3], [BATCHES[3]], steps=3, report=events.append)
        is None
    )
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert "cannot be trained" in messages(Warn, events)[0]


@pytest.mark.parametrize("batches", [[IMAGES[:8], IMAGES[8:15]], [IMAGES]])
def test_few_images_or_a_single_batch_train_nothing(batches: list[Tensor]) -> None:
    model = redraw(Classifier()).eval()
    student, plan = converted_copy(model)
    fitted, held = set_aside(batches)
    events: list[Event] = []
    assert recover_network(model, student, layer_names(plan), fitted, held, report=events.append) is None
    assert "no recovery: it needs at least 16 inputs in several batches" in messages(Warn, events)[0]


def test_an_eighth_or_64_images_are_set_aside_from_the_end() -> None:
    batches = list(torch.split(torch.arange(1024).reshape(1024, 1), 16))
    fitted, held = set_aside(batches)
    assert (sum(map(len, fitted)), sum(map(len, held))) == (960, 64)
    assert all(one is other for one, other in zip([*fitted, *held], batches, strict=True))
    assert [sum(map(len, part)) for part in set_aside(batches[:4])] == [48, 16]


def test_blocks_are_the_modules_around_layers_and_layers_in_stages() -> None:
    model = redraw(Residual()).eval()
    plan = dsft.convert(model, torch.randn(1, 3, 16, 16), rank=1, method="svd", structures=["dw_pw"]).plan
    names = block_names(layer_names(plan))
    assert names
    assert all(model.get_submodule(name) is not model for name in names)
    chain = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(40)))
    plan = dsft.convert(chain, torch.randn(1, 4, 8, 8), rank=1, method="svd", structures=["dw_pw"]).plan
    assert len(block_names(layer_names(plan))) == 16
    assert block_names(layer_names(plan))[-1] == "39"


def test_from_python_the_same_seed_gives_the_same_weights_and_the_report_says_what_was_done() -> None:
    model = redraw(Classifier()).eval()
    settings: dict[str, Any] = {"calibration": IMAGES, "rank": 1, "structures": ["dw_pw"], "recover": 10}
    one, other = (dsft.convert(model, IMAGES[:1], **settings) for _ in range(2))
    assert one.report.recovery is not None
    assert one.report.recovery.steps == 10
    assert one.report.recovery.after <= one.report.recovery.before
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_from_python_too_few_images_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="no recovery: it needs at least 16 inputs in several batches, found 12"):
        dsft.convert(
            redraw(Classifier()).eval(), IMAGES[:1], calibration=[IMAGES[:6], IMAGES[6:12]], rank=1, recover=10
        )


def test_the_time_is_twice_that_of_the_whole_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    stage = importlib.import_module("dsft.conversion.reconstruct")  # the package has a function of that name
    monkeypatch.setattr(stage, "recover_network", lambda *_, seconds, **__: given.append(seconds))
    model = redraw(Classifier()).eval()
    waited: list[Event] = []

    def wait(event: Event) -> None:
        if not waited:
            time.sleep(2)  # while the layers are planned, which is before the fit
        waited.append(event)

    began = time.monotonic()
    dsft.convert(model, IMAGES[:1], calibration=BATCHES, rank=1, structures=["dw_pw"], recover=True, report=wait)
    assert 4 <= given[0] <= 2 * (time.monotonic() - began)


@pytest.mark.parametrize(("recover", "message"), [(0, "found 0"), ("yes", "found 'yes'"), (-3, "found -3")])
def test_a_number_of_steps_below_one_is_an_error(recover: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=rf"recover: a number of steps of at least 1, or auto.*{message}"):
        dsft.convert(Classifier(), IMAGES[:1], calibration=IMAGES, rank=1, recover=recover)


def test_recovery_without_calibration_is_an_error() -> None:
    with pytest.raises(ConversionError, match="recover: trains on calibration data"):
        dsft.convert(Classifier(), IMAGES[:1], rank=1, method="svd", recover=True)
