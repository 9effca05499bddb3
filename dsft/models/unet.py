"""Small networks for pictures as outputs: a U-Net, and a residual denoiser."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) with batch norms, padding, and nearest-neighbour enlargement.

    Each of four levels has two convolutions with a kernel of 3; from level to level the size is halved and the width
    doubled. Sides that 8 does not divide are padded with zeros, and the output is cropped to the input. With three axes
    this is the 3-D U-Net of Çiçek et al. 2016, without its wider second convolutions.

    Args:
        in_chans: Channels of the image or volume.
        num_classes: Channels of the output.
        width: Channels of the first level.
        axes: 2 for images, 3 for volumes.
    """

    def __init__(self, in_chans: int, num_classes: int, width: int, axes: int = 2) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.stem = _double_conv(in_chans, widths[0], axes)
        self.down = nn.ModuleList(_double_conv(one, two, axes) for one, two in itertools.pairwise(widths))
        self.up = nn.ModuleList(
            _double_conv(wide + narrow, narrow, axes) for wide, narrow in itertools.pairwise(reversed(widths))
        )
        self.pool = _LAYERS[axes].pool(2)
        self.enlarge = nn.Upsample(scale_factor=2)
        self.classifier = _LAYERS[axes].convolution(width, num_classes, 1)
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(batch, num_classes, *size)`` for images or volumes ``(batch, in_chans, *size)``."""
        size = images.shape[2:]
        # torch counts the axes from the last one, and pads at both ends.
        padding = [amount for side in reversed(size) for amount in (0, -side % 8)]
        features = [self.stem(nn.functional.pad(images, padding))]
        for block in self.down:
            features.append(block(self.pool(features[-1])))
        found = features.pop()
        for block in self.up:
            found = block(torch.cat([self.enlarge(found), features.pop()], 1))
        output: Tensor = self.classifier(found)
        for axis, side in enumerate(size, 2):
            output = output.narrow(axis, 0, side)
        return output


class ResidualDenoiser(nn.Module):
    """A chain of 3x3 convolutions with batch norms that predicts the noise, and subtracts it from the image.

    This is DnCNN (Zhang et al. 2017, "Beyond a Gaussian denoiser") with a free width and depth.

    Args:
        in_chans: Channels of the image.
        width: Channels of the layers.
        depth: Number of convolutions, at least 2.
    """

    def __init__(self, in_chans: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_chans, width, 3, padding=1), nn.ReLU(inplace=True))
        for _ in range(depth - 2):
            self.layers.extend(_conv(width, width))
        self.head = nn.Conv2d(width, in_chans, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return restored images in the shape of the images ``(batch, in_chans, height, width)``."""
        noise: Tensor = self.head(self.layers(images))
        return images - noise


@dataclass(frozen=True)
class _Layers:
    """The layers for a number of axes."""

    convolution: type[nn.Conv2d | nn.Conv3d]
    norm: type[nn.BatchNorm2d | nn.BatchNorm3d]
    pool: type[nn.MaxPool2d | nn.MaxPool3d]


_LAYERS = {
    2: _Layers(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d),
    3: _Layers(nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d),
}


def _double_conv(before: int, after: int, axes: int) -> nn.Sequential:
    return nn.Sequential(*_conv(before, after, axes), *_conv(after, after, axes))


def _conv(before: int, after: int, axes: int = 2) -> tuple[nn.Module, ...]:
    own = _LAYERS[axes]
    return own.convolution(before, after, 3, padding=1, bias=False), own.norm(after), nn.ReLU(inplace=True)
