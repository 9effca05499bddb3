"""Fit the factors of one converted layer to its target, given samples of its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import dense_kernel
from dsft.conversion.factorization import RegressionTarget, Weighting
from dsft.conversion.factorization.alternating_least_squares import fit_both_factors
from dsft.conversion.factorization.coordinate_descent import fit_depthwise_kernels, patch_moments
from dsft.conversion.reconstruction.linear_blocks import LinearBlock, like, set_bias, solve_blocks
from dsft.conversion.reconstruction.patch_regression import PatchRegression
from dsft.conversion.reconstruction.pw_dw_pw_regression import PwDwPwRegression
from dsft.separable import (
    DepthwiseSeparableConv,
    FactoredConv,
    LowRankConv,
    PointwiseDepthwisePointwiseConv,
    kernel_ranks,
    swap_channels,
)

MOST_PATCH_VALUES = 1 << 14
"""Values of a patch of a group up to which all factors are fitted. Their moments take 2 GiB there, several times. The
7x7 convolution of 512 channels that timm's VGG has in place of a fully connected layer is above it."""

CHUNK_OUTPUTS = 64
"""Output channels whose pointwise weights are applied at a time."""


class LayerRegression(Protocol):
    """A layer as a regression problem."""

    def features(self, images: Tensor) -> Tensor:
        """Return the features of images as maps, ``(batch, features, *size of the output)``."""
        ...

    def fit(self, features: Tensor, target: RegressionTarget) -> Tensor:
        """Fit the layer in place to samples of its features ``(samples, features)``.

        Returns:
            What the layer predicts for them, ``(samples, out_channels)``.
        """
        ...


def make_regression(layer: FactoredConv, dense: Convolution, weighting: Weighting) -> LayerRegression:
    """Return the regression of a layer: of all its factors, or of the last if it is of low rank or very large.

    Args:
        layer: The converted layer, with its initial weights.
        dense: The convolution that it replaces.
        weighting: Second moments of the layer's input and gradient.
    """
    if isinstance(layer, LowRankConv):
        return _LastWeights(layer, layer.first)
    if isinstance(layer, PointwiseDepthwisePointwiseConv):
        if dense_kernel(dense)[0].numel() > MOST_PATCH_VALUES:
            return _LastWeights(layer, nn.Sequential(layer.expand, layer.depthwise))
        return PwDwPwRegression(layer, dense, weighting)
    if not isinstance(layer, DepthwiseSeparableConv):
        raise TypeError(f"layer: expected a converted layer, found {type(layer).__name__}")
    is_first = layer.structure is Structure.DW_PW
    return _DepthwiseFirst(layer, dense, weighting) if is_first else _PointwiseFirst(layer, dense)


class _DepthwiseFirst(PatchRegression):
    """Structure ``dw_pw``: the depthwise kernels channel by channel, then all pointwise weights at once."""

    def __init__(self, layer: DepthwiseSeparableConv, dense: Convolution, weighting: Weighting) -> None:
        super().__init__(layer, dense)
        self._layer, self._gradients = layer, weighting.gradients
        composed = layer.weight.detach().as_subclass(Tensor).cpu().double()
        self._initial = (swap_channels(composed, layer.groups) if layer.transposed else composed).flatten(1)

    @torch.no_grad()
    def fit(self, features: Tensor, target: RegressionTarget) -> Tensor:
        """Fit both factors of every group."""
        layer, outputs = self._layer, target.outputs()
        stored = layer.channels.tolist()
        places = list(zip(stored, kernel_ranks(stored), strict=True))
        width, height = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        blocks = []
        for group, patches in enumerate(features.chunk(layer.groups, dim=1)):
            rows = slice(group * height, (group + 1) * height)
            ranks = layer.kernels[group * width : (group + 1) * width]
            moments = patch_moments(patches, outputs[:, rows])
            factors = fit_depthwise_kernels(
                moments, self._kernel[rows], self._initial[rows], ranks, self._gradients[group]
            )
            columns = [at for at, (channel, _) in enumerate(places) if channel // width == group]
            local = [(places[at][0] - group * width, places[at][1]) for at in columns]
            kernels = torch.stack([factors[channel][0][rank] for channel, rank in local])
            points = torch.stack([factors[channel][1][:, rank] for channel, rank in local], dim=1)
            layer.depthwise.weight[columns] = like(kernels, layer.depthwise.weight)
            maps = _filter(patches, [own for own, _ in factors], local)
            blocks.append(LinearBlock(rows, maps, points))
        weights, bias, predicted = solve_blocks(blocks, target)
        for block, fitted in zip(blocks, weights, strict=True):
            layer.pointwise.weight[block.outputs] = like(fitted, layer.pointwise.weight)
        set_bias(layer, bias)
        return predicted


class _PointwiseFirst(PatchRegression):
    """Structure ``pw_dw``: both factors of each output channel in alternation, then the kernels before a ReLU."""

    def __init__(self, layer: DepthwiseSeparableConv, dense: Convolution) -> None:
        super().__init__(layer, dense)
        self._layer = layer

    @torch.no_grad()
    def fit(self, features: Tensor, target: RegressionTarget) -> Tensor:
        """Fit both factors of every output channel."""
        layer, outputs = self._layer, target.outputs()
        places = [(layer.channels == output).nonzero().flatten() for output in range(layer.out_channels)]
        points, kernels = layer.pointwise.weight.flatten(1), layer.depthwise.weight.flatten(1)
        height = layer.out_channels // layer.groups
        blocks = []
        for group, patches in enumerate(features.chunk(layer.groups, dim=1)):
            rows = range(group * height, (group + 1) * height)
            moments = patch_moments(patches, outputs[:, rows.start : rows.stop])
            initial = [(points[places[row]].cpu(), kernels[places[row]].cpu()) for row in rows]
            factors = fit_both_factors(moments, self._kernel[rows.start : rows.stop], initial)
            for row, (mixed, _) in zip(rows, factors, strict=True):
                layer.pointwise.weight[places[row]] = like(mixed, layer.pointwise.weight)
            maps = _mix(patches, [mixed for mixed, _ in factors])
            blocks += [
                LinearBlock(slice(row, row + 1), inputs, own.reshape(1, -1))
                for row, inputs, (_, own) in zip(rows, maps, factors, strict=True)
            ]
        weights, bias, predicted = solve_blocks(blocks, target)
        for own_places, fitted in zip(places, weights, strict=True):
            kernel = fitted.reshape(len(own_places), -1)
            layer.depthwise.weight[own_places] = like(kernel, layer.depthwise.weight)
        set_bias(layer, bias)
        return predicted


class _LastWeights:
    """The weights of the last convolution of a layer, which is pointwise.

    Args:
        layer: The converted layer, with its initial weights.
        before: Its convolutions before the last.
    """

    def __init__(self, layer: LowRankConv | PointwiseDepthwisePointwiseConv, before: nn.Module) -> None:
        self._layer, self._before = layer, before

    def features(self, images: Tensor) -> Tensor:
        """Return the maps before the last convolution."""
        maps: Tensor = self._before(images)
        return maps

    @torch.no_grad()
    def fit(self, features: Tensor, target: RegressionTarget) -> Tensor:
        """Fit the weights of every group."""
        layer, weight = self._layer, self._layer.last.weight
        height = layer.out_channels // layer.groups
        rows = [slice(group * height, (group + 1) * height) for group in range(layer.groups)]
        blocks = [
            LinearBlock(own, maps, weight[own].flatten(1))
            for own, maps in zip(rows, features.chunk(layer.groups, dim=1), strict=True)
        ]
        weights, bias, predicted = solve_blocks(blocks, target)
        for own, fitted in zip(rows, weights, strict=True):
            weight[own] = like(fitted, weight)
        set_bias(layer, bias)
        return predicted


def _filter(patches: Tensor, kernels: Sequence[Tensor], places: Sequence[tuple[int, int]]) -> Tensor:
    """Apply the depthwise kernels of a group to patches.

    Args:
        patches: ``(samples, channels * positions)``.
        kernels: The kernels of each channel, ``(rank, positions)``.
        places: Channel and rank of each output map.

    Returns:
        ``(samples, kernels)``, in the order of ``places``.
    """
    positions = patches.shape[1] // len(kernels)
    maps = patches.new_empty(len(patches), len(places))
    for channel, own in enumerate(kernels):
        at = [place for place, (owner, _) in enumerate(places) if owner == channel]
        ranks = [places[place][1] for place in at]
        maps[:, at] = patches[:, channel * positions : (channel + 1) * positions] @ own[ranks].to(patches).T
    return maps


def _mix(patches: Tensor, points: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield for each output channel the input of its depthwise kernels, ``(samples, rank * positions)``."""
    by_channel = patches.reshape(len(patches), points[0].shape[1], -1)
    # Several outputs at a time, since each product reads all patches.
    for first in range(0, len(points), CHUNK_OUTPUTS):
        some = points[first : first + CHUNK_OUTPUTS]
        mixed = torch.cat(list(some)).to(patches) @ by_channel
        yield from (maps.flatten(1) for maps in torch.split(mixed, [len(each) for each in some], dim=1))
