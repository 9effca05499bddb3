"""A small network for clips and volumes."""

from __future__ import annotations

from torch import Tensor, nn


class CNN3d(nn.Module):
    """Four 3x3x3 convolutions with batch norms and ReLUs, the mean over all positions, and a linear classifier.

    The first convolution halves height and width, and the second and the last one halve all three axes. The widths are
    1, 2, 4 and 4 times the first one.

    Args:
        in_chans: Channels of the input.
        num_classes: Number of classes; 0 for the features.
        width: Channels of the first convolution.
    """

    def __init__(self, in_chans: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.stem = _block(in_chans, width, (1, 2, 2))
        self.blocks = nn.Sequential(
            _block(width, 2 * width, (2, 2, 2)),
            _block(2 * width, 4 * width, (1, 1, 1)),
            _block(4 * width, 4 * width, (2, 2, 2)),
        )
        self.num_features = 4 * width
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits ``(batch, num_classes)`` for inputs ``(batch, in_chans, frames or depth, height, width)``."""
        features: Tensor = self.blocks(self.stem(inputs))
        logits: Tensor = self.head(features.mean((-3, -2, -1)))
        return logits


def _block(before: int, after: int, stride: tuple[int, int, int]) -> nn.Sequential:
    convolution = nn.Conv3d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(after), nn.ReLU(inplace=True))
