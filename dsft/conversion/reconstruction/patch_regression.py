"""What the regressions have in common that see the whole patches of a layer's input."""

from __future__ import annotations

from torch import Tensor

from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import dense_kernel
from dsft.separable import FactoredConv
from dsft.separable.im2col import patch_layer


class PatchRegression:
    """The patches of a layer, as features, and the dense kernel that would be exact on them.

    Args:
        layer: The converted layer, with its initial weights.
        dense: The convolution that it replaces.
    """

    def __init__(self, layer: FactoredConv, dense: Convolution) -> None:
        self._patches = patch_layer(layer, layer.dense_class, layer.in_channels)
        self._kernel = dense_kernel(dense).detach().cpu().double().flatten(1)

    def features(self, images: Tensor) -> Tensor:
        """Return the patches of each input channel, ``(batch, channels * positions, *size of the output)``."""
        maps: Tensor = self._patches(images)
        return maps
