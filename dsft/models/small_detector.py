"""A small one-stage detector for small images: FCOS of torchvision on a plain backbone."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

from dsft.models.detector import Detector

_STRIDE = 4


class _Backbone(nn.Sequential):
    """Two convolutions at each of the strides 2 and 4; ``out_channels`` as torchvision's detectors read it."""

    def __init__(self, in_chans: int, width: int) -> None:
        self.out_channels = width
        widths, strides = (in_chans, width // 2, width // 2, width, width), (2, 1, 2, 1)
        pairs = zip(widths[:-1], widths[1:], strides, strict=True)
        super().__init__(*(_convolution(before, after, stride) for before, after, stride in pairs))

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map ``(batch, width, height / 4, width / 4)``."""
        features: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return features


def small_fcos(in_chans: int, num_classes: int, width: int) -> Detector:
    """Return an FCOS (Tian et al. 2019) with one feature map, a fourth of the image's size, and heads of two layers.

    Args:
        in_chans: Image channels.
        num_classes: Classes, without the background.
        width: Channels of the feature map, a multiple of 32 since the heads normalize 32 groups of them.
    """
    anchors = AnchorGenerator(sizes=((2 * _STRIDE,),), aspect_ratios=((1.0,),))  # type: ignore[no-untyped-call]
    network = FCOS(
        _Backbone(in_chans, width),
        num_classes + 1,
        anchor_generator=anchors,
        head=FCOSHead(width, 1, num_classes + 1, num_convs=2),
        score_thresh=0.05,
        topk_candidates=400,
    )
    return Detector(network, num_classes)


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )
