"""The seismic phase picker and the seismograms of ../shared/data, which tests and benchmarks use if they are there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from tests.cifar import DATA

WIDTHS = (8, 16, 32, 64, 128)
PADS = ((1, 2), (2, 3), (1, 2), (2, 2))
EPSILON = 1e-3
TOLERANCE = 50
"""How many samples, of 0.01 s, a pick may be away from the arrival."""


def convolution(inputs: int, outputs: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A convolution without bias, its norm and a ReLU."""
    conv = nn.Conv1d(inputs, outputs, 7, stride, padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(outputs, EPSILON), nn.ReLU())


class PhaseNet(nn.Module):
    """A U-Net over seismograms of three components (Zhu and Beroza 2019), ``(n, 3, length)`` in and out.

    The outputs are logits of noise, P wave and S wave for each sample.
    """

    def __init__(self) -> None:
        super().__init__()
        first = WIDTHS[0]
        self.stem = nn.Sequential(nn.Conv1d(3, first, 7, padding=3), nn.BatchNorm1d(first, EPSILON), nn.ReLU())
        inputs = (first, *WIDTHS[:-1])
        self.down1 = nn.ModuleList(convolution(*each, padding=3) for each in zip(inputs, WIDTHS, strict=True))
        self.down3 = nn.ModuleList(convolution(width, width, stride=4) for width in WIDTHS[:-1])
        self.up0 = nn.ModuleList(
            nn.ConvTranspose1d(below, width, 7, stride=4, bias=False) for width, below in pairwise(WIDTHS)
        )
        self.up0bn = nn.ModuleList(nn.Sequential(nn.BatchNorm1d(width, EPSILON), nn.ReLU()) for width in WIDTHS[:-1])
        self.up1 = nn.ModuleList(convolution(2 * width, width, padding=3) for width in WIDTHS[:-1])
        self.head = nn.Conv1d(first, 3, 1)

    def forward(self, seismograms: Tensor) -> Tensor:
        features, skips = self.stem(seismograms), []
        for level, pads in enumerate(PADS):
            skips.append(self.down1[level](features))
            features = self.down3[level](functional.pad(skips[-1], pads))
        features = self.down1[-1](features)
        for level, skip in reversed(list(enumerate(skips))):
            length = 4 * features.shape[-1]
            features = self.up0bn[level](self.up0[level](features)[..., 1 : 1 + length])
            offset = (length - skip.shape[-1]) // 2
            features = self.up1[level](torch.cat([skip, features[..., offset : offset + skip.shape[-1]]], 1))
        return self.head(features)  # type: ignore[no-any-return]


def load_phasenet() -> PhaseNet:
    """Return the network with the weights of ../shared/data, in evaluation mode."""
    model = PhaseNet()
    model.load_state_dict(load_file(DATA / "weights" / "phasenet.safetensors"))
    return model.eval()


def load_seismograms() -> tuple[Tensor, Tensor]:
    """Return 90 seismograms ``(90, 3, 3000)``, and the samples of the P and the S wave of each ``(90, 2)``."""
    with np.load(DATA / "seismograms" / "waveforms.npz", allow_pickle=False) as arrays:
        arrivals = np.stack([arrays["p"], arrays["s"]], 1)
        return torch.from_numpy(arrays["x"]).float(), torch.from_numpy(arrivals).long()


def score_picks(seismograms: Tensor, arrivals: Tensor) -> Callable[[nn.Module], float]:
    """Return a function that computes the percentage of arrivals found: within 0.5 s, with a probability above 0.5."""

    def score(model: nn.Module) -> float:
        with torch.inference_mode():
            probabilities = model(seismograms).softmax(1)[:, 1:]
        best, picks = probabilities.max(-1)
        is_found = (best > 0.5) & ((picks - arrivals).abs() <= TOLERANCE)
        return 100 * float(is_found.double().mean())

    return score
