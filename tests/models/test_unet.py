from __future__ import annotations

import pytest
import torch
from torch import nn

from dsft.models.unet import UNet


@pytest.mark.parametrize("size", [(9, 17), (16, 8, 11)])
def test_an_output_has_the_size_of_its_input(size: tuple[int, ...]) -> None:
    network = UNet(2, 3, 4, axes=len(size)).eval()
    assert network(torch.randn(2, 2, *size)).shape == (2, 3, *size)


def test_a_volume_of_equal_slices_is_segmented_as_an_image() -> None:
    """With kernels that look at one slice only, the network with three axes is the one with two."""
    flat, deep = UNet(1, 2, 4).eval(), UNet(1, 2, 4, axes=3).eval()
    planes = [layer for layer in flat.modules() if isinstance(layer, nn.Conv2d)]
    volumes = [layer for layer in deep.modules() if isinstance(layer, nn.Conv3d)]
    for plane, volume in zip(planes, volumes, strict=True):
        nn.init.zeros_(volume.weight)
        middle = volume.kernel_size[0] // 2
        with torch.no_grad():
            volume.weight[:, :, middle] = plane.weight
            if plane.bias is not None and volume.bias is not None:
                volume.bias.copy_(plane.bias)
    image = torch.randn(1, 1, 16, 24)
    found = deep(image[:, :, None].expand(-1, -1, 8, -1, -1))
    torch.testing.assert_close(found[:, :, 3], flat(image), atol=1e-5, rtol=1e-4)
