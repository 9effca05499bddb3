"""The real checkpoint and images of ../shared/data, which tests and benchmarks use where they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

DATA = Path(__file__).parents[2] / "shared" / "data"
EXAMPLE = torch.zeros(1, 3, 32, 32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions beside a shortcut without parameters (He et al. 2015, option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, (outputs - inputs) // 2

    def forward(self, images: Tensor) -> Tensor:
        features = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(images)))))
        shortcut = images[:, :, :: self.stride, :: self.stride]
        return functional.relu(features + functional.pad(shortcut, (0, 0, 0, 0, self.added, self.added)))


class ResNet32(nn.Module):
    """He et al. 2015, section 4.2, with five blocks in a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    def _stage(self, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        rest = [Block(outputs, outputs, 1) for _ in range(4)]
        return nn.Sequential(Block(inputs, outputs, stride), *rest)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.linear(features.mean((2, 3)))  # type: ignore[no-any-return]


def load_resnet32() -> ResNet32:
    """Return the network with the weights of ../shared/data, in evaluation mode."""
    model = ResNet32()
    model.load_state_dict(load_file(DATA / "weights" / "cifar_resnet32.safetensors"))
    return model.eval()


def load_images(split: str, per_class: int | None = None) -> tuple[Tensor, Tensor]:
    """Return preprocessed images ``(count, 3, 32, 32)`` and their classes, ``per_class`` of each or all."""
    folders = sorted((DATA / "cifar10-jpeg" / split).iterdir())
    files = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.iterdir())[:per_class]]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    shape = (3, 1, 1)
    return (images - torch.tensor(MEAN).reshape(shape)) / torch.tensor(STD).reshape(shape), torch.tensor(
        [label for _, label in files]
    )
