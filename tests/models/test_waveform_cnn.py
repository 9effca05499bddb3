from __future__ import annotations

import pytest
import torch
from torch import nn

from dsft.choices import ModelSource
from dsft.models import load_model
from dsft.models.waveform_cnn import WaveformCNN


def test_the_first_width_of_the_paper_has_its_parameters() -> None:
    # Table 1 of Dai et al. 2017: kernels 80 and 3, widths 128, 128, 256 and 512, and 10 classes. The paper counts the
    # convolutions and the classifier as 0.5 M.
    network = WaveformCNN(1, 10, 128)
    weights = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Conv1d))
    assert weights == 80 * 128 + 3 * (128 * 128 + 128 * 256 + 256 * 512)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) in (0.5, 0.6)


@pytest.mark.parametrize("length", [1024, 4000, 8001])
def test_signals_of_any_length_are_classified(length: int) -> None:
    network = WaveformCNN(2, 5, 16).eval()
    assert network(torch.randn(3, 2, length)).shape == (3, 5)
    assert network.stem[0](torch.zeros(1, 2, 4000)).shape == (1, 16, 1000)


def test_the_library_builds_it_for_the_channels_of_the_data() -> None:
    loaded = load_model(ModelSource.BUILTIN, "m5_64", num_classes=7, in_chans=2)
    assert loaded.module(torch.zeros(1, 2, 8000)).shape == (1, 7)
    assert load_model(ModelSource.BUILTIN, "m5_64").preprocessing.shape == (1, 8000)
