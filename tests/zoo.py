"""Odd networks, and what tests need to make a network tell the truth."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DRAWN = 1_000_003
"""Numbers that are drawn for a whole network, of which each tensor takes a piece. A prime, so that no row of a larger
tensor repeats another."""


def redraw(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all parameters and buffers anew, so that no zero scale hides a layer from the output."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(DRAWN, generator=generator).repeat(2)
    uniform = 0.5 + torch.rand(DRAWN, generator=generator).repeat(2)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            # Vectors are scales, shifts and variances: all are sound between 0.5 and 1.5.
            is_scale = tensor.dim() < 2 or name.endswith("var")
            fan = 1 if is_scale else max(tensor[0].numel(), 1)
            start = int(torch.randint(DRAWN, (), generator=generator))
            drawn = (uniform if is_scale else normal)[start : start + min(tensor.numel(), DRAWN)] / fan**0.5
            repeated = drawn.repeat(-(-tensor.numel() // DRAWN) or 1)
            tensor.data.copy_(repeated[: tensor.numel()].reshape(tensor.shape))
    return model


class Residual(nn.Module):
    """Two convolutions with norms beside a shortcut."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(channels, 2 * channels, 1, stride=2)
        self.head = nn.Linear(2 * channels, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.relu(self.norm(self.stem(images)))
        features = self.skip(features) + self.conv2(functional.relu(self.conv1(features)))
        return self.head(features.mean((2, 3)))  # type: ignore[no-any-return]


class Shared(nn.Module):
    """One convolution under two names, run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = self.first

    def forward(self, images: Tensor) -> Tensor:
        return self.second(functional.relu(self.first(images)))  # type: ignore[no-any-return]


class TiedWeights(nn.Module):
    """Two convolutions that share one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.second.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images))  # type: ignore[no-any-return]


class ReadFromOutside(nn.Module):
    """A convolution whose weight is used without running the module."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(4, 4, 3, padding=1)
        self.run = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return functional.conv2d(self.run(images), self.read.weight, padding=1)


class TwoInputs(nn.Module):
    """A forward pass with two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.conv(left) + self.conv(right)  # type: ignore[no-any-return]


class OwnConv(nn.Conv2d):
    """A subclass that changes what the convolution does."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class's name)
        return super().forward(2 * input)


class ManyKinds(nn.Module):
    """Convolutions of one, two and three dimensions, and two that enlarge the map again."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv1d(6, 8, 5, padding=2)
        self.volume = nn.Conv3d(1, 4, (1, 3, 3), padding=(0, 1, 1), padding_mode="replicate")
        self.mix = nn.Conv3d(4, 6, 3, padding=1, bias=False)
        self.down = nn.Conv2d(12, 16, 3, stride=2, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.fit = nn.ConvTranspose2d(8, 6, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """Take ``(batch, 1, 2, height, width)``."""
        features = functional.relu(self.mix(functional.relu(self.volume(images)))).flatten(1, 2)
        features = functional.relu(self.up(functional.relu(self.down(features))))
        height, width = (2 * side + 2 for side in features.shape[-2:])
        features = self.fit(features, output_size=[height, width])
        return self.line(features.flatten(2))  # type: ignore[no-any-return]


class RewrittenSkips(nn.Module):
    """Skip connections that a ReLU in place rewrites after they were taken, as in the text detector CRAFT."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.slice2 = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.slice3 = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1))
        self.conv4 = nn.Conv2d(8, 8, 3, padding=1)
        self.end = nn.Conv2d(16, 5, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        first = self.norm1(self.conv1(images))
        second = self.slice2(first)
        third = self.slice3(second)
        fourth = self.conv4(third + second)
        rectified = functional.relu(fourth, inplace=True)
        return self.end(torch.cat([rectified + fourth, first], 1))  # type: ignore[no-any-return]
