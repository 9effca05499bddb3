"""The regression of a pointwise-depthwise-pointwise layer."""

from __future__ import annotations

import torch
from torch import Tensor

from dsft.compat.torch_convolution import Convolution
from dsft.conversion.factorization import RegressionTarget, Weighting
from dsft.conversion.factorization.coordinate_descent import patch_moments
from dsft.conversion.factorization.cp_decomposition import CPFactors
from dsft.conversion.factorization.cp_fit import fit_factors
from dsft.conversion.reconstruction.linear_blocks import LinearBlock, like, set_bias, solve_blocks
from dsft.conversion.reconstruction.patch_regression import PatchRegression
from dsft.separable import PointwiseDepthwisePointwiseConv


class PwDwPwRegression(PatchRegression):
    """All three factors of every group, then the last pointwise weights before a ReLU.

    Args:
        layer: The converted layer, with its initial weights.
        dense: The convolution that it replaces.
        weighting: Second moments of the layer's input and gradient.
    """

    def __init__(self, layer: PointwiseDepthwisePointwiseConv, dense: Convolution, weighting: Weighting) -> None:
        super().__init__(layer, dense)
        self._layer, self._gradients = layer, weighting.gradients

    @torch.no_grad()
    def fit(self, features: Tensor, target: RegressionTarget) -> Tensor:
        """Fit all factors of every group."""
        layer, outputs = self._layer, target.outputs()
        expand, depthwise, project = (weight.flatten(1) for weight in layer.factors())
        width, height = layer.kernels[0], layer.out_channels // layer.groups
        blocks = []
        for group, patches in enumerate(features.chunk(layer.groups, dim=1)):
            maps, rows = (slice(group * size, (group + 1) * size) for size in (width, height))
            start = CPFactors(expand[maps].cpu(), depthwise[maps].cpu(), project[rows].cpu())
            moments = patch_moments(patches, outputs[:, rows])
            fitted = fit_factors(moments, self._kernel[rows], start, self._gradients[group])
            layer.expand.weight[maps] = like(fitted.expand, layer.expand.weight)
            layer.depthwise.weight[maps] = like(fitted.depthwise, layer.depthwise.weight)
            terms = (fitted.expand.unsqueeze(2) * fitted.depthwise.unsqueeze(1)).flatten(1)
            blocks.append(LinearBlock(rows, patches @ terms.to(patches).T, fitted.project))
        weights, bias, predicted = solve_blocks(blocks, target)
        for block, projected in zip(blocks, weights, strict=True):
            layer.project.weight[block.outputs] = like(projected, layer.project.weight)
        set_bias(layer, bias)
        return predicted
