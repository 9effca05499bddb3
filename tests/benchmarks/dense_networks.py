"""The networks of ``dense_tasks.py`` and a narrow one for clips, as builders of recipes."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.video.resnet import BasicBlock as VideoBlock
from torchvision.models.video.resnet import Conv3DSimple
from torchvision.ops import FeaturePyramidNetwork

CAMVID_CLASSES, BCCD_CLASSES, DIRECTIONS = 11, 3, 8

_WIDTH = 32  # of the first stage; that of ResNet-18 is 64
_CLIP_WIDTH = 16


def segmentation() -> nn.Module:
    """Return a U-Net with a ResNet-18 of half the width as its encoder, for the classes of CamVid."""
    return ResNetUNet(CAMVID_CLASSES)


def detection() -> nn.Module:
    """Return an FCOS on the stages with strides 8 and 16 of a ResNet-18 of half the width, for the classes of BCCD."""
    stages = _resnet18()
    del stages.layer4
    maps = IntermediateLayerGetter(stages, {"layer2": "0", "layer3": "1"})
    backbone: Any = nn.Sequential(maps, FeaturePyramidNetwork([2 * _WIDTH, 4 * _WIDTH], 64))
    backbone.out_channels = 64
    anchors = AnchorGenerator(((8,), (16,)), ((1.0,), (1.0,)))  # type: ignore[no-untyped-call]
    labels = BCCD_CLASSES + 1  # with the background
    head = FCOSHead(64, 1, labels, num_convs=2)
    return FCOS(backbone, labels, anchor_generator=anchors, head=head, score_thresh=0.05)


def denoiser() -> nn.Module:
    """Return DnCNN with the names of the weights of ../shared/data."""
    return DnCNN()


def clips() -> nn.Module:
    """Return torchvision's ``r3d_18`` at a quarter of its width, for the directions of moving digits."""
    before = _CLIP_WIDTH
    blocks: list[nn.Module] = []
    for stage in range(4):
        after = _CLIP_WIDTH << stage
        for stride in (2 if stage else 1, 1):
            shortcut = None
            if stride > 1:
                shortcut = nn.Sequential(nn.Conv3d(before, after, 1, stride, bias=False), nn.BatchNorm3d(after))
            blocks.append(VideoBlock(before, after, Conv3DSimple, stride, shortcut))
            before = after
    stem = nn.Conv3d(3, _CLIP_WIDTH, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
    start = (stem, nn.BatchNorm3d(_CLIP_WIDTH), nn.ReLU(inplace=True))
    return nn.Sequential(*start, *blocks, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(before, DIRECTIONS))


class ResNetUNet(nn.Module):
    """A U-Net on ResNet-18: at each stride from 16 to 2 a convolution of the deeper features and the encoder's.

    Args:
        classes: Channels of the output.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = _resnet18()
        widths, skips = (8 * _WIDTH, 64, 32, 32, 32), (4 * _WIDTH, 2 * _WIDTH, _WIDTH, 64)
        pairs = zip(widths[:-1], skips, widths[1:], strict=True)
        self.decoder = nn.ModuleList(_convolution(deep + skip, after) for deep, skip, after in pairs)
        self.head = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(batch, classes, height, width)`` for ``(batch, 3, height, width)``."""
        own = self.encoder
        skips = [own.act1(own.bn1(own.conv1(images)))]
        skips.append(own.layer1(own.maxpool(skips[0])))
        for layer in (own.layer2, own.layer3, own.layer4):
            skips.append(layer(skips[-1]))
        found = skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            found = block(torch.cat([functional.interpolate(found, skip.shape[2:]), skip], 1))
        return functional.interpolate(self.head(found), images.shape[2:], mode="bilinear")


class DnCNN(nn.Module):
    """DnCNN (Zhang et al. 2017) with 17 layers of 64 channels for grey images."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.ReLU(inplace=True)]
        for _ in range(15):
            layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        self.dncnn = nn.Sequential(*layers, nn.Conv2d(64, 1, 3, padding=1, bias=False))
        self.pretrained_cfg = {"input_size": (1, 64, 64), "mean": (0.0,), "std": (1.0,)}

    def forward(self, images: Tensor) -> Tensor:
        """Return restored images in the shape of the noisy ones ``(batch, 1, height, width)``."""
        noise: Tensor = self.dncnn(images)
        return images - noise


def _resnet18() -> Any:
    widths = tuple(_WIDTH * factor for factor in (1, 2, 4, 8))
    block: Any = BasicBlock  # timm's hint says an instance
    return ResNet(block, (2, 2, 2, 2), channels=widths, num_classes=0)


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )
