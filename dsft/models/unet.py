"""Small networks for pictures as outputs: a U-Net, and a residual denoiser."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) with batch norms, padding, and nearest-neighbour enlargement.

    Each of four levels has two 3x3 convolutions; from level to level the size is halved and the width doubled. Sides of
    images that 8 does not divide are padded with zeros, and the output is cropped to the image.

    Args:
        in_chans: Channels of the image.
        num_classes: Channels of the output.
        width: Channels of the first level.
    """

    def __init__(self, in_chans: int, num_classes: int, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.stem = _double_conv(in_chans, widths[0])
        self.down = nn.ModuleList(_double_conv(one, two) for one, two in itertools.pairwise(widths))
        self.up = nn.ModuleList(
            _double_conv(wide + narrow, narrow) for wide, narrow in itertools.pairwise(reversed(widths))
        )
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.Upsample(scale_factor=2)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(batch, num_classes, height, width)`` for images ``(batch, in_chans, height, width)``."""
        height, width = images.shape[-2:]
        features = [self.stem(nn.functional.pad(images, (0, -width % 8, 0, -height % 8)))]
        for block in self.down:
            features.append(block(self.pool(features[-1])))
        found = features.pop()
        for block in self.up:
            found = block(torch.cat([self.enlarge(found), features.pop()], 1))
        output: Tensor = self.classifier(found)
        return output[..., :height, :width]


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


def _double_conv(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(*_conv(before, after), *_conv(after, after))


def _conv(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
