"""How the weights of a separable layer are fitted to what it should put out, given what it sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.discovery.dense_kernel import dense_kernel
from dsft.conversion.factorization import Target, Weighting, regress
from dsft.conversion.factorization.alternating_least_squares import fit_outputs
from dsft.conversion.factorization.coordinate_descent import fit_kernels, measure_moments
from dsft.separable import DepthwiseSeparableConv, LowRankConv, kernel_ranks, swap_channels
from dsft.separable.im2col import make_taps

ROUNDS = 4
"""How often a layer before a ReLU is fitted anew to what does as well as its target."""

MIXED = 64
"""Outputs whose pointwise weights are applied at a time."""


class Regression(Protocol):
    """A layer as something to be fitted."""

    def look(self, images: Tensor) -> Tensor:
        """Return the maps that the fit looks at, ``(batch, features, *size of the output)``."""
        ...

    def fit(self, features: Tensor, target: Target) -> Tensor:
        """Fit the layer in place, and return what it puts out for the features, ``(samples, out_channels)``."""
        ...


def regression_of(layer: DepthwiseSeparableConv | LowRankConv, dense: Convolution, weighting: Weighting) -> Regression:
    """Return how a layer is fitted: both factors of a separable one, the second of one of low rank.

    Args:
        layer: The new layer; its weights are where the fit begins.
        dense: The convolution that it stands for.
        weighting: What a change of the kernel costs.
    """
    if isinstance(layer, LowRankConv):
        return _LowRank(layer)
    return (
        _DepthwiseFirst(layer, dense, weighting)
        if layer.structure is Structure.DW_PW
        else _PointwiseFirst(layer, dense)
    )


class _DepthwiseFirst:
    """Order ``dw_pw``: depthwise kernels channel by channel, then all the weights of the sums at once."""

    def __init__(self, layer: DepthwiseSeparableConv, dense: Convolution, weighting: Weighting) -> None:
        self._layer, self._costs = layer, weighting.outputs
        self._taps = make_taps(layer, layer.dense_class, layer.in_channels)
        self._kernel = dense_kernel(dense).detach().cpu().double().flatten(1)
        composed = layer.weight.detach().as_subclass(Tensor).cpu().double()
        self._start = (swap_channels(composed, layer.groups) if layer.transposed else composed).flatten(1)

    def look(self, images: Tensor) -> Tensor:
        """Return what the kernel positions of each input channel see."""
        maps: Tensor = self._taps(images)
        return maps

    @torch.no_grad()
    def fit(self, features: Tensor, target: Target) -> Tensor:
        """Fit both factors of every group."""
        layer, outputs = self._layer, target.outputs()
        stored = layer.channels.tolist()
        places = list(zip(stored, kernel_ranks(stored), strict=True))
        width, height = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        blocks = []
        for group, taps in enumerate(features.chunk(layer.groups, dim=1)):
            rows = slice(group * height, (group + 1) * height)
            ranks = layer.kernels[group * width : (group + 1) * width]
            moments = measure_moments(taps, outputs[:, rows])
            factors = fit_kernels(moments, self._kernel[rows], self._start[rows], ranks, self._costs[group])
            columns = [at for at, (channel, _) in enumerate(places) if channel // width == group]
            local = [(places[at][0] - group * width, places[at][1]) for at in columns]
            kernels = torch.stack([factors[channel][0][rank] for channel, rank in local])
            points = torch.stack([factors[channel][1][:, rank] for channel, rank in local], dim=1)
            layer.depthwise.weight[columns] = _like(kernels, layer.depthwise.weight)
            maps = _filter(taps, [own for own, _ in factors], local)
            blocks.append(_Block(rows, maps, points))
        weights, bias, predicted = _solve(blocks, target)
        for block, fitted in zip(blocks, weights, strict=True):
            layer.pointwise.weight[block.outputs] = _like(fitted, layer.pointwise.weight)
        _set_bias(layer, bias)
        return predicted


class _PointwiseFirst:
    """Order ``pw_dw``: both factors of each output in turn, then its depthwise kernels to what the target lets be."""

    def __init__(self, layer: DepthwiseSeparableConv, dense: Convolution) -> None:
        self._layer = layer
        self._taps = make_taps(layer, layer.dense_class, layer.in_channels)
        self._kernel = dense_kernel(dense).detach().cpu().double().flatten(1)

    def look(self, images: Tensor) -> Tensor:
        """Return what the kernel positions of each input channel see."""
        maps: Tensor = self._taps(images)
        return maps

    @torch.no_grad()
    def fit(self, features: Tensor, target: Target) -> Tensor:
        """Fit both factors of every output."""
        layer, outputs = self._layer, target.outputs()
        places = [(layer.channels == output).nonzero().flatten() for output in range(layer.out_channels)]
        points, kernels = layer.pointwise.weight.flatten(1), layer.depthwise.weight.flatten(1)
        height = layer.out_channels // layer.groups
        blocks = []
        for group, taps in enumerate(features.chunk(layer.groups, dim=1)):
            rows = range(group * height, (group + 1) * height)
            moments = measure_moments(taps, outputs[:, rows.start : rows.stop])
            starts = [(points[places[row]].cpu(), kernels[places[row]].cpu()) for row in rows]
            factors = fit_outputs(moments, self._kernel[rows.start : rows.stop], starts)
            for row, (mixed, _) in zip(rows, factors, strict=True):
                layer.pointwise.weight[places[row]] = _like(mixed, layer.pointwise.weight)
            maps = _mix(taps, [mixed for mixed, _ in factors])
            blocks += [
                _Block(slice(row, row + 1), seen, own.reshape(1, -1))
                for row, seen, (_, own) in zip(rows, maps, factors, strict=True)
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

    def look(self, images: Tensor) -> Tensor:
        """Return the maps between the two convolutions."""
        maps: Tensor = self._layer.first(images)
        return maps

    @torch.no_grad()
    def fit(self, features: Tensor, target: Target) -> Tensor:
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
    """Outputs that are sums of some maps and of no others, with the weights that they are pulled to."""

    outputs: slice
    maps: Tensor
    prior: Tensor


def _solve(blocks: Sequence[_Block], target: Target) -> tuple[list[Tensor], Tensor, Tensor]:
    """Fit the weights of all blocks.

    Returns:
        The weights of each block, the bias ``(out_channels,)``, and what they predict ``(samples, out_channels)``.
    """
    solvers = [regress(block.maps, block.prior) for block in blocks]
    aim = target.outputs()
    for _ in range(1 + (ROUNDS if target.is_rectified else 0)):
        fits = [solve(aim[:, block.outputs]) for block, solve in zip(blocks, solvers, strict=True)]
        predicted = torch.cat([fit.predict(block.maps) for block, fit in zip(blocks, fits, strict=True)], dim=1)
        aim = target.nearest(predicted)
    return [fit.weights for fit in fits], torch.cat([fit.bias for fit in fits]), predicted


def _filter(taps: Tensor, kernels: Sequence[Tensor], places: Sequence[tuple[int, int]]) -> Tensor:
    """Return the filtered maps of a group's kernels, ``(samples, kernels)``, in the order of their places."""
    positions = taps.shape[1] // len(kernels)
    maps = taps.new_empty(len(taps), len(places))
    for channel, own in enumerate(kernels):
        at = [place for place, (owner, _) in enumerate(places) if owner == channel]
        ranks = [places[place][1] for place in at]
        maps[:, at] = taps[:, channel * positions : (channel + 1) * positions] @ own[ranks].to(taps).T
    return maps


def _mix(taps: Tensor, points: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield for each output what its kernels see, ``(samples, rank * positions)``."""
    seen = taps.reshape(len(taps), points[0].shape[1], -1)
    # Many outputs at a time, since each product reads all the taps.
    for first in range(0, len(points), MIXED):
        some = points[first : first + MIXED]
        mixed = torch.cat(list(some)).to(taps) @ seen
        yield from (maps.flatten(1) for maps in torch.split(mixed, [len(each) for each in some], dim=1))


def _like(rows: Tensor, weight: Tensor) -> Tensor:
    """Return ``(rows, numbers)`` in the shape, format and place of a convolution's kernels."""
    return rows.reshape(len(rows), *weight.shape[1:]).to(weight)


def _set_bias(layer: DepthwiseSeparableConv | LowRankConv, bias: Tensor) -> None:
    assert layer.last.bias is not None  # noqa: S101 (a layer that is to be fitted is planned with one)
    layer.last.bias.copy_(bias)
