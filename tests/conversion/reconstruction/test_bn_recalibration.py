import copy
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dsft
from dsft.conversion.reconstruction.bn_recalibration import hold_out, recalibrate_batchnorm
from dsft.progress import Event, Note


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(4)
    model = nn.Sequential(*layers)
    model(torch.zeros(2, 3, 8, 8))
    return model


def batches(count: int, shift: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [torch.randn(8, 3, 8, 8, generator=generator) + shift for _ in range(count)]


def with_true_statistics(model: nn.Sequential) -> nn.Sequential:
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        outputs = model[0](torch.cat(batches(40)))
    norm.running_mean, norm.running_var = outputs.mean((0, 2, 3)), outputs.var((0, 2, 3))
    return model


def test_wrong_statistics_are_recalibrated() -> None:
    original = with_true_statistics(network())
    converted = copy.deepcopy(original).train()
    norm = converted[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.get_buffer("running_mean").add_(2.0)
    norm.num_batches_tracked = torch.tensor(7)
    seen, events = batches(5), list[Event]()
    assert recalibrate_batchnorm(original, converted, seen, batches(3), events.append)
    with torch.no_grad():
        outputs = [original[0](batch).numpy() for batch in seen]
    np.testing.assert_allclose(
        norm.get_buffer("running_mean"), np.mean([each.mean((0, 2, 3)) for each in outputs], 0), atol=1e-5
    )
    variances = [each.swapaxes(0, 1).reshape(6, -1).var(axis=1, ddof=1) for each in outputs]
    np.testing.assert_allclose(norm.get_buffer("running_var"), np.mean(variances, 0), rtol=1e-5)
    assert norm.momentum == 0.1
    assert norm.num_batches_tracked == 7
    assert all(module.training for module in converted.modules())
    assert any(isinstance(event, Note) and "BatchNorm statistics recalibrated" in event.message for event in events)


@pytest.mark.parametrize(
    ("seen", "judges"),
    [
        # What they were measured on is not what the network is used on.
        (batches(5, shift=3.0), batches(3)),
        (batches(5), []),
        # A batch that one value of a channel comes from has no variance.
        ([torch.randn(1, 3, 3, 3)], batches(3)),
    ],
    ids=["worse", "no judges", "one value"],
)
def test_statistics_stay_to_the_bit_where_new_ones_do_not_help(seen: list[Tensor], judges: list[Tensor]) -> None:
    original = with_true_statistics(network())
    if len(seen) == 1:
        original = nn.Sequential(*original[:2], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    converted = copy.deepcopy(original)
    before = {name: value.clone() for name, value in converted.state_dict().items()}
    assert not recalibrate_batchnorm(original, converted, seen, judges)
    for name, value in converted.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert isinstance(converted[1], nn.BatchNorm2d)
    assert converted[1].momentum == 0.1


def test_answers_of_other_shapes_cannot_be_compared() -> None:
    original = with_true_statistics(network())
    converted = nn.Sequential(*copy.deepcopy(original), nn.Unflatten(1, (2, 2)))
    assert not recalibrate_batchnorm(original, converted, batches(5), batches(3))


def test_a_sixteenth_of_the_batches_is_held_out() -> None:
    numbers = [torch.full((1,), float(number)) for number in range(33)]
    fitted, held_out = hold_out(numbers)
    assert len(fitted) == 31
    assert list(held_out) == numbers[31:]
    assert hold_out(numbers[:15]) == (numbers[:15], [])


def test_a_conversion_recalibrates_on_the_images_that_it_was_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(_: nn.Module, converted: nn.Module, *__: object) -> dict[str, float]:
        converted.get_buffer("1.running_mean").add_(3.0)
        return {}

    monkeypatch.setattr(sys.modules["dsft.conversion.reconstruct"], "reconstruct_layers", spoil)
    torch.manual_seed(0)
    blocks = [[nn.Conv2d(width, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=None), nn.ReLU()] for width in (3, 8, 8)]
    model = nn.Sequential(*(layer for block in blocks for layer in block), nn.Flatten())
    images, events = torch.randn(256, 3, 8, 8), list[Event]()
    model(images)
    made = dsft.convert(model, images[:1], calibration=images, rank="full", form="gather", report=events.append).model
    [note] = [event.message for event in events if isinstance(event, Note)]
    assert note.startswith("BatchNorm statistics recalibrated: error on held-out inputs")
    first, norm = (made.get_submodule(name) for name in ("0", "1"))
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        seen = [first(batch).var((0, 2, 3)) for batch in torch.split(images[:-16], 16)]
    torch.testing.assert_close(norm.running_var, torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)
