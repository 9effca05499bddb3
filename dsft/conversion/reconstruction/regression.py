"""Fit the factors of one converted layer to its target, given samples of its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import dense_kernel
from dsft.conversion.factorization import RegressionTarget, Weighting, ridge_regression
from dsft.conversion.factorization.alternating_least_squares import fit_both_factors
from dsft.conversion.factorization.coordinate_descent import fit_depthwise_kernels, patch_moments
from dsft.errors import ConversionError
from dsft.separable import DepthwiseSeparableConv, LowRankConv, kernel_ranks, swap_channels
from dsft.separable.im2col import patch_layer

RELU_ITERATIONS = 4
"""Majorisation steps for a layer before a ReLU, see :meth:`RegressionTarget.nearest`."""

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


def make_regression(
    layer: DepthwiseSeparableConv | LowRankConv, dense: Convolution, weighting: Weighting
) -> LayerRegression:
    """Return the regression of a layer: of both factors if it is separable, of the second if it is of low rank.

    Args:
        layer: The converted layer, with its initial weights.
        dense: The convolution that it replaces.
        weighting: Second moments of the layer's input and gradient.
    """
    if isinstance(layer, LowRankConv):
        return _LowRank(layer)
    return (
        _DepthwiseFirst(layer, dense, weighting)
        if layer.structure is Structure.DW_PW
        else _PointwiseFirst(layer, dense)
    )


class _DepthwiseFirst:
    """Structure ``dw_pw``: the depthwise kernels channel by channel, then all pointwise weights at once."""

    def __init__(self, layer: DepthwiseSeparableConv, dense: Convolution, weighting: Weighting) -> None:
        self._layer, self._gradients = layer, weighting.gradients
        self._patches = patch_layer(layer, layer.dense_class, layer.in_channels)
        self._kernel = dense_kernel(dense).detach().cpu().double().flatten(1)
        composed = layer.weight.detach().as_subclass(Tensor).cpu().double()
        self._initial = (swap_channels(composed, layer.groups) if layer.transposed else composed).flatten(1)

    def features(self, images: Tensor) -> Tensor:
        """Return the patches of each input channel."""
        maps: Tensor = self._patches(images)
        return maps

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
            layer.depthwise.weight[columns] = _like(kernels, layer.depthwise.weight)
            maps = _filter(patches, [own for own, _ in factors], local)
            blocks.append(_Block(rows, maps, points))
        weights, bias, predicted = _solve(blocks, target)
        for block, fitted in zip(blocks, weights, strict=True):
            layer.pointwise.weight[block.outputs] = _like(fitted, layer.pointwise.weight)
        _set_bias(layer, bias)
        return predicted


class _PointwiseFirst:
    """Structure ``pw_dw``: both factors of each output channel in alternation, then the kernels before a ReLU."""

    def __init__(self, layer: DepthwiseSeparableConv, dense: Convolution) -> None:
        self._layer = layer
        self._patches = patch_layer(layer, layer.dense_class, layer.in_channels)
        self._kernel = dense_kernel(dense).detach().cpu().double().flatten(1)

    def features(self, images: Tensor) -> Tensor:
        """Return the patches of each input channel."""
        maps: Tensor = self._patches(images)
        return maps

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
                layer.pointwise.weight[places[row]] = _like(mixed, layer.pointwise.weight)
            maps = _mix(patches, [mixed for mixed, _ in factors])
            blocks += [
                _Block(slice(row, row + 1), inputs, own.reshape(1, -1))
                for row, inputs, (_, own) in zip(rows, maps, factors, strict=True)
            ]
        weights, bias, predicted = _solve(blocks, target)
        for own_places, fitted in zip(places, weights, strict=True):
            kernel = fitted.reshape(len(own_places), -1)
            layer.depthwise.weight[own_places] = _like(kernel, layer.depthwise.weight)
        _set_bias(layer, bias)
        return predicted


class _LowRank:
    """A low-rank layer: the weights of its second convolution."""

    def __init__(self, layer: LowRankConv) -> None:
        self._layer = layer

    def features(self, images: Tensor) -> Tensor:
        """Return the maps between the two convolutions."""
        maps: Tensor = self._layer.first(images)
        return maps

    @torch.no_grad()
    def fit(self, features: Tensor, target: RegressionTarget) -> Tensor:
        """Fit the weights of every group."""
        layer, weight = self._layer, self._layer.second.weight
        height = layer.out_channels // layer.groups
        rows = [slice(group * height, (group + 1) * height) for group in range(layer.groups)]
        blocks = [
            _Block(own, maps, weight[own].flatten(1))
            for own, maps in zip(rows, features.chunk(layer.groups, dim=1), strict=True)
        ]
        weights, bias, predicted = _solve(blocks, target)
        for own, fitted in zip(rows, weights, strict=True):
            weight[own] = _like(fitted, weight)
        _set_bias(layer, bias)
        return predicted


@dataclass(frozen=True)
class _Block:
    """Output channels that are linear in the same maps, with the weights that ridge regression shrinks to."""

    outputs: slice
    maps: Tensor
    prior: Tensor


def _solve(blocks: Sequence[_Block], target: RegressionTarget) -> tuple[list[Tensor], Tensor, Tensor]:
    """Fit the weights of all blocks.

    Returns:
        The weights of each block, the bias ``(out_channels,)``, and the prediction ``(samples, out_channels)``.
    """
    solvers = [ridge_regression(block.maps, block.prior) for block in blocks]
    aim = target.outputs()
    for _ in range(1 + (RELU_ITERATIONS if target.is_rectified else 0)):
        fits = [solve(aim[:, block.outputs]) for block, solve in zip(blocks, solvers, strict=True)]
        predicted = torch.cat([fit.predict(block.maps) for block, fit in zip(blocks, fits, strict=True)], dim=1)
        aim = target.nearest(predicted)
    return [fit.weights for fit in fits], torch.cat([fit.bias for fit in fits]), predicted


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


def _like(rows: Tensor, weight: Tensor) -> Tensor:
    """Return ``(rows, numbers)`` in the shape, dtype and device of a convolution's weight."""
    return rows.reshape(len(rows), *weight.shape[1:]).to(weight)


def _set_bias(layer: DepthwiseSeparableConv | LowRankConv, bias: Tensor) -> None:
    if layer.last.bias is None:
        raise ConversionError("has no bias to fit: it was planned without one. Plan the conversion again.")
    layer.last.bias.copy_(bias)
