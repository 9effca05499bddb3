"""Several clips of a video and windows of a signal: their probabilities are averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dsft.choices import SplitName
from dsft.data import LoaderSettings, Split, make_loader
from dsft.data.clip_transforms import ClipAugmentation, ClipTransform
from dsft.data.signal_transforms import SignalTransform
from dsft.data.sources.arrays import SignalArray
from dsft.data.sources.frames import ClipArray
from dsft.devices import Compute
from dsft.evaluation import evaluate
from dsft.preprocessing import ClipPreprocessing, SignalPreprocessing
from dsft.tasks import CLASSIFICATION, MULTI_LABEL

CPU = Compute(torch.device("cpu"))
CLIP = ClipPreprocessing(3, 2, (8, 8), 1, (0.2,), (0.5,))
SIGNAL = SignalPreprocessing((10,), 2, (0.0, 0.1), (1.0, 0.5))
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 8, 8), dtype=np.uint8)
SAMPLES = np.random.default_rng(1).normal(0, 1, (5, 2, 24)).astype(np.float32)
TARGETS = (0, 1, 2, 0, 1)


def network(inputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 3))


def outputs(source: Any, transform: Any, module: nn.Module) -> torch.Tensor:
    split = Split(SplitName.TEST, source, tuple(range(5)), source.classes)
    loader = make_loader(split, transform, LoaderSettings(2, workers=0), shuffle=False)
    assert loader.views == transform.views
    return evaluate(module, loader, split, compute=CPU).outputs


def test_the_probabilities_are_the_mean_of_those_of_evenly_spaced_clips() -> None:
    module, source = network(3 * 64), ClipArray("own", ("a", "b", "c"), PIXELS, TARGETS)
    found = outputs(source, ClipTransform(CLIP.replace(clips=4)), module).softmax(1)
    # A clip has 5 frames; of 12 frames, it may start at 0 to 7.
    parts = torch.stack([_clips(start) for start in (0, 2, 4, 7)])
    with torch.no_grad():
        expected = torch.stack([module(part).softmax(1) for part in parts]).mean(0)
        middle = module(_clips(3)).softmax(1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs(source, ClipTransform(CLIP), module).softmax(1), middle, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, middle, atol=1e-2)


def _clips(start: int) -> torch.Tensor:
    return (torch.from_numpy(PIXELS[:, None, start : start + 5 : 2]).float() / 255 - 0.2) / 0.5


def test_the_probabilities_are_the_mean_of_those_of_evenly_spaced_windows() -> None:
    module, source = network(20), SignalArray("own", ("a", "b", "c"), SAMPLES, TARGETS)
    found = outputs(source, SignalTransform(SIGNAL.replace(windows=3)), module).softmax(1)
    scale, mean = torch.tensor([1.0, 0.5]).reshape(2, 1), torch.tensor([0.0, 0.1]).reshape(2, 1)
    parts = [(torch.from_numpy(SAMPLES[..., start : start + 10]) - mean) / scale for start in (0, 7, 14)]
    with torch.no_grad():
        expected = torch.stack([module(part).softmax(1) for part in parts]).mean(0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_short_examples_have_the_same_view_several_times() -> None:
    short = SignalArray("own", ("a", "b", "c"), SAMPLES[..., :7], TARGETS)
    several, one = (SignalTransform(SIGNAL.replace(windows=number))(short.read(0)) for number in (3, 1))
    torch.testing.assert_close(several, one.expand(3, -1, -1))
    clip = ClipArray("own", ("a", "b", "c"), PIXELS[:, :4], TARGETS).read(0)
    clips, middle = (ClipTransform(CLIP.replace(clips=number))(clip) for number in (2, 1))
    torch.testing.assert_close(clips, middle.expand(2, -1, -1, -1, -1))


def test_training_takes_one_clip() -> None:
    clip = ClipArray("own", ("a", "b", "c"), PIXELS, TARGETS).read(0)
    assert ClipTransform(CLIP.replace(clips=4), ClipAugmentation())(clip).shape == CLIP.shape
    assert CLIP.replace(clips=4).single == CLIP


@pytest.mark.parametrize("task", [CLASSIFICATION, MULTI_LABEL])
def test_averaged_logits_are_finite_where_probabilities_are_zero_or_one(task: Any) -> None:
    logits = torch.tensor([[[200.0, -200.0, 0.0]], [[150.0, -300.0, 1.0]]])
    found = task.labels.scorer.average(logits)
    assert found.isfinite().all()
    probabilities = torch.sigmoid if task is MULTI_LABEL else lambda values: values.softmax(-1)
    torch.testing.assert_close(probabilities(found), probabilities(logits).mean(0))
