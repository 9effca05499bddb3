"""A network for raw waveforms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn


class WaveformCNN(nn.Module):
    """M5 of Dai et al. 2017, "Very deep convolutional neural networks for raw waveforms", with a free width.

    A convolution over 80 samples, 10 ms at the paper's rate of 8 kHz, every 4 samples; three of kernel 3; a batch norm,
    a ReLU and a maximum over 4 positions behind each; then the mean over time and a linear classifier. The widths are
    1, 1, 2 and 4 times the first one; that of the paper is 128.

    Args:
        in_chans: Channels of the signal.
        num_classes: Number of classes; 0 for the features.
        width: Channels of the first convolution.
    """

    def __init__(self, in_chans: int, num_classes: int, width: int) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 4 * width]
        self.stem = _block(in_chans, width, 80, stride=4, padding=38)
        self.blocks = _blocks(widths)
        self.num_features = widths[-1]
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, signals: Tensor) -> Tensor:
        """Return logits ``(batch, num_classes)`` for signals ``(batch, in_chans, length)``, 1,024 samples or longer."""
        features: Tensor = self.blocks(self.stem(signals))
        logits: Tensor = self.head(features.mean(-1))
        return logits


def _blocks(widths: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(_block(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)))


def _block(before: int, after: int, kernel: int, *, stride: int = 1, padding: int) -> nn.Sequential:
    convolution = nn.Conv1d(before, after, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(after), nn.ReLU(inplace=True), nn.MaxPool1d(4))
