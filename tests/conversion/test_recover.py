from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import dsft
from dsft.conversion.reconstruction.block_outputs import output_distance
from dsft.errors import ConversionError
from dsft.progress import Event, Note
from tests.zoo import Residual, redraw

IMAGES = torch.randn(96, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def networks() -> tuple[nn.Module, nn.Module]:
    """Return a converted network and its teacher."""
    teacher = redraw(Residual()).eval()
    return dsft.convert(teacher, IMAGES[:1], rank=1).model, teacher


def distance(student: nn.Module, teacher: nn.Module, images: Tensor) -> float:
    with torch.no_grad():
        return output_distance(student(images), teacher(images))


def test_brings_a_network_closer_to_its_teacher_on_images_that_it_has_not_seen() -> None:
    student, teacher = networks()
    frozen, reference = copy.deepcopy(student.state_dict()), copy.deepcopy(teacher.state_dict())
    unseen = torch.randn(32, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    before, events = distance(student, teacher, unseen), list[Event]()
    done = dsft.recover(student, teacher, IMAGES, steps=80, report=events.append)
    assert done.steps == 80
    assert done.after < done.before
    assert distance(student, teacher, unseen) < 0.9 * before
    assert [event for event in events if isinstance(event, Note)]
    assert all(torch.equal(value, reference[name]) for name, value in teacher.state_dict().items())
    # The statistics of norms and dense weights of several dimensions are not trained.
    untouched = ["norm.running_mean", "norm.running_var", "head.weight", "skip.weight"]
    assert all(torch.equal(student.state_dict()[name], frozen[name]) for name in untouched)


def test_takes_batches_and_trains_the_network_inside_a_wrapper() -> None:
    student, teacher = networks()
    before = distance(student, teacher, IMAGES)
    done = dsft.recover(nn.DataParallel(student), teacher, iter(torch.split(IMAGES, 16)), steps=30)
    assert done.after < done.before
    assert distance(student, teacher, IMAGES) < before


def test_no_more_steps_than_the_time_allows() -> None:
    student, teacher = networks()
    assert dsft.recover(student, teacher, IMAGES, seconds=0.0).steps == 0


def test_misuse_is_refused_with_what_to_do() -> None:
    student, teacher = networks()
    with pytest.raises(ConversionError, match=r"student: has no converted layers\. Pass the converted network"):
        dsft.recover(teacher, student, IMAGES)
    with pytest.raises(ConversionError, match=r"teacher: must be the network before the conversion.*'stem'"):
        dsft.recover(student, nn.Linear(3, 5), IMAGES)
    with pytest.raises(ConversionError, match="it needs at least 16 inputs in several batches, found 8 inputs"):
        dsft.recover(student, teacher, IMAGES[:8])
    with pytest.raises(ConversionError, match="steps: a number of steps of at least 1, or auto, is needed, found 0"):
        dsft.recover(student, teacher, IMAGES, steps=0)
    with pytest.raises(ConversionError, match="expected at least one batch of inputs, found none"):
        dsft.recover(student, teacher, [])
    with pytest.raises(ConversionError, match="all converted layers are frozen"):
        dsft.recover(student.requires_grad_(False), teacher, IMAGES)
