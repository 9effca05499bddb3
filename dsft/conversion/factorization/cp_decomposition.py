r"""CP decomposition of kernels by alternating least squares: the factors of pointwise-depthwise-pointwise layers.

A kernel :math:`W` of ``(out_channels, in_channels, positions)`` becomes
:math:`W_{m,c,k} \approx \sum_r b_{m,r} d_{r,k} a_{r,c}`, its CP decomposition with the spatial axes as one (Lebedev et
al. 2015, "Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition").
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dsft.conversion.factorization.channel_svd import require_finite
from dsft.conversion.factorization.weighting import Weighting, roots_of

ROUNDS = 30
"""Rounds of alternating least squares. On kernels of ResNet-32, 60 leave 3 to 15 % less error, and the fit to
calibration data that follows makes up for it."""

SKETCH_ROUNDS = 15
"""Rounds where only the error is needed."""

PART_CHANNELS = 128
"""Outputs and input channels up to which a kernel is decomposed as a whole where only the error is needed."""

DECOMPOSITION_MACS = 20e9
"""Multiply-accumulates, about a second, that the rounds of one decomposition may take. Fewer rounds are for large
kernels."""

LEAST_ROUNDS = 5

LARGE_KERNEL = 1 << 20
"""Weights from which on the rounds are computed in float32, in half the time. Few rounds are made there, which end far
from where its precision would matter."""

MOST_VALUES = 1 << 27
"""Largest intermediate tensor, of 512 MiB in float32. Larger ones, of layers with thousands of channels such as those
that take the place of VGG's fully connected ones, are computed in parts."""

DAMPING = 1e-3
"""Pull of each factor toward its values of the round before, as a share of the mean diagonal of its system. It keeps
the terms from growing against each other, which CP decompositions tend to (Phan et al. 2020, "Stable Low-rank Tensor
Decomposition for Compression of Convolutional Neural Network")."""

NOISE = 0.02
"""Norm of the random part of each initial pointwise kernel, whose norm is 1."""


@dataclass(frozen=True)
class CPFactors:
    """The factors of a pointwise-depthwise-pointwise layer, all groups one after the other.

    Attributes:
        expand: ``(width, in_channels / groups)``.
        depthwise: ``(width, positions)``.
        project: ``(out_channels, width / groups)``.
    """

    expand: Tensor
    depthwise: Tensor
    project: Tensor

    def compose(self, groups: int = 1) -> Tensor:
        """Return the kernel of these factors, ``(out_channels, in_channels / groups, positions)``."""
        blocks = zip(*(factor.chunk(groups) for factor in (self.expand, self.depthwise, self.project)), strict=True)
        return torch.cat([_compose(*block) for block in blocks])


def _compose(expand: Tensor, depthwise: Tensor, project: Tensor) -> Tensor:
    parts = _slices(len(expand), len(project) * depthwise.shape[1])
    terms = ((project[:, part], depthwise[part], expand[part]) for part in parts)
    return functools.reduce(torch.add, (torch.einsum("mr,rk,rc->mck", *each) for each in terms))


def _slices(width: int, values: int) -> list[slice]:
    """Return slices of the terms, of which an intermediate tensor has so many values each."""
    step = max(MOST_VALUES // values, 1)
    return [slice(start, start + step) for start in range(0, width, step)]


@dataclass(frozen=True)
class Whitening:
    """A change of variables in which the squared norm of a kernel of one group is what its change costs.

    Attributes:
        outputs: Root of the moment of the gradient, ``(out, out)``, and its inverse.
        channels: Root of the moment of the input channels, ``(in, in)``, and its inverse.
        positions: Root of the moment of the kernel positions, ``(positions, positions)``, and its inverse.
    """

    outputs: tuple[Tensor, Tensor]
    channels: tuple[Tensor, Tensor]
    positions: tuple[Tensor, Tensor]

    def apply(self, kernel: Tensor) -> Tensor:
        """Return the whitened kernel, ``(out, in, positions)``."""
        return torch.einsum("mn,nck,cd->mdk", self.outputs[0], kernel, self.channels[0]) @ self.positions[0]

    def undo(self, factors: CPFactors) -> CPFactors:
        """Return the factors of the kernel, given those of the whitened one."""
        return CPFactors(
            factors.expand @ self.channels[1],
            factors.depthwise @ self.positions[1],
            self.outputs[1] @ factors.project,
        )


def whitenings(weighting: Weighting) -> list[Whitening]:
    r"""Return the whitening of each group.

    The moment of input patches is approximated by the product of those of channels and of positions, so that
    :math:`\mathrm{tr}(F \Delta W (S_{ch} \otimes S_{sp}) \Delta W^T)` is a plain squared norm after a change of each
    axis, which keeps the CP form.
    """
    positions = weighting.patches.mean(0)
    mean = positions.diagonal().mean()
    roots = roots_of(positions / torch.where(mean > 0, mean, torch.ones_like(mean)))
    return [
        Whitening(roots_of(gradients), roots_of(channels), roots)
        for gradients, channels in zip(weighting.gradients, weighting.channels, strict=True)
    ]


def decompose(kernel: Tensor, width: int, rounds: int = ROUNDS) -> CPFactors:
    """Decompose the kernel of one group into ``width`` rank-one terms.

    The start is the strongest depthwise kernels of a depthwise-then-pointwise layer of equal width, with a little noise
    in the pointwise kernels (``NOISE``). The same kernel always gives the same factors.

    Args:
        kernel: ``(out, in, positions)``, float32 or float64.
        width: Number of terms.
        rounds: Rounds of alternating least squares; fewer for a large kernel.

    Returns:
        The factors, with rows of ``expand`` and ``depthwise`` of norm 1.

    Raises:
        ConversionError: The kernel holds NaN or infinite values.
    """
    require_finite(kernel)
    if (exact := _exact(kernel, width)) is not None:
        return exact
    scale = kernel.abs().max()
    if not scale:
        return _normalised(*_strongest_kernels(kernel, width))
    scaled = kernel / scale
    if kernel.numel() >= LARGE_KERNEL:
        scaled = scaled.float()
    factors = _strongest_kernels(scaled, width)
    for _ in range(min(rounds, _affordable_rounds(kernel, width))):
        factors = _improve(scaled, factors)
    found = _normalised(*(factor.to(kernel.dtype) for factor in factors))
    return CPFactors(found.expand, found.depthwise, found.project * scale)


def decompose_groups(
    kernel: Tensor, groups: int, width: int, weighting: Weighting | None = None, rounds: int = ROUNDS
) -> CPFactors:
    """Decompose the kernel of each group, in the norm that a weighting gives.

    Args:
        kernel: ``(out_channels, in_channels / groups, positions)``, float64.
        groups: Groups of the convolution.
        width: Terms of each group.
        weighting: Moments that weight the error; None for the plain squared error.
        rounds: Rounds of alternating least squares; fewer for a large kernel.

    Raises:
        ConversionError: The kernel holds NaN or infinite values.
    """
    blocks = kernel.chunk(groups)
    if weighting is None:
        factors = [decompose(block, width, rounds) for block in blocks]
    else:
        require_finite(kernel)
        pairs = zip(whitenings(weighting), blocks, strict=True)
        factors = [each.undo(decompose(each.apply(block), width, rounds)) for each, block in pairs]
    return CPFactors(*(torch.cat(parts) for parts in zip(*(vars(each).values() for each in factors), strict=True)))


def decomposition_errors(
    kernel: Tensor, groups: int, widths: Sequence[int], weighting: Weighting | None = None
) -> tuple[float, list[float]]:
    """Return the squared norm of a kernel, and its squared error at each width, in the norm that a weighting gives.

    Args:
        kernel: ``(out_channels, in_channels / groups, positions)``, float64.
        groups: Groups of the convolution.
        widths: Terms of each group.
        weighting: Moments that weight the error; None for the plain squared error.

    Raises:
        ConversionError: The kernel holds NaN or infinite values.
    """
    require_finite(kernel)
    blocks = list(kernel.chunk(groups))
    if weighting is not None:
        blocks = [each.apply(block) for each, block in zip(whitenings(weighting), blocks, strict=True)]
    errors = [sum(_estimate_error(block.float(), width) for block in blocks) for width in widths]
    return sum(float(block.square().sum()) for block in blocks), errors


def _estimate_error(kernel: Tensor, width: int) -> float:
    """Estimate the squared error of a decomposition; the estimates rank widths and layers.

    Half the rounds and float32 suffice for that. Of a large kernel, a part with fewer channels and a width in
    proportion shows by how much the rounds lower the error of the start.
    """
    outputs, channels, positions = kernel.shape
    if width >= exact_width(outputs, channels, positions):
        return 0.0
    part = _part(kernel, PART_CHANNELS)
    if part is kernel:
        return _error(kernel, decompose(kernel, width, SKETCH_ROUNDS))
    narrow = max(round(width * sum(part.shape) / sum(kernel.shape)), 1)
    before = _error(part, CPFactors(*_strongest_kernels(part, narrow)))
    after = _error(part, decompose(part, narrow, SKETCH_ROUNDS))
    return _error(kernel, CPFactors(*_strongest_kernels(kernel, width))) * (after / before if before else 0.0)


def _error(kernel: Tensor, factors: CPFactors) -> float:
    return float((kernel - factors.compose()).square().sum())


def _part(kernel: Tensor, most: int) -> Tensor:
    """Return a kernel of at most so many outputs and channels, strong and weak ones alike."""
    for axis in (0, 1):
        if kernel.shape[axis] > most:
            strengths = kernel.transpose(0, axis).flatten(1).norm(dim=1)
            places = torch.linspace(0, len(strengths) - 1, most).round().long()
            kernel = kernel.index_select(axis, strengths.argsort()[places].sort().values)
    return kernel


def _affordable_rounds(kernel: Tensor, width: int) -> int:
    # A round has two products of the kernel with the factors, and systems of about the same size.
    return max(int(DECOMPOSITION_MACS / (4 * kernel.numel() * width)), LEAST_ROUNDS)


def exact_width(out_channels: int, in_channels: int, positions: int) -> int:
    """Return the width at which every kernel of one group can be represented exactly."""
    return positions * min(out_channels, in_channels)


def _exact(kernel: Tensor, width: int) -> CPFactors | None:
    """Return one term for each position of each channel of the smaller side, or None where ``width`` is too small."""
    outputs, channels, positions = kernel.shape
    if width < exact_width(outputs, channels, positions):
        return None
    is_input = channels <= outputs
    units = torch.eye(min(outputs, channels), dtype=kernel.dtype).repeat_interleave(positions, 0)
    depthwise = torch.eye(positions, dtype=kernel.dtype).repeat(min(outputs, channels), 1)
    # (channels * positions, outputs) where each input channel has its terms, else (outputs * positions, channels).
    rest = kernel.flatten(1).T if is_input else kernel.transpose(1, 2).flatten(0, 1)
    factors = (units, depthwise, rest) if is_input else (rest, depthwise, units)
    expand, depthwise, project = (functional.pad(each, (0, 0, 0, width - len(each))) for each in factors)
    return CPFactors(expand, depthwise, project.T.contiguous())


def _strongest_kernels(kernel: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the factors of the depthwise-then-pointwise layer of the ``width`` largest singular values."""
    outputs, channels, positions = kernel.shape
    values, vectors = torch.linalg.eigh(torch.einsum("mck,mcl->ckl", kernel, kernel))
    rank = min(outputs, positions)
    strengths = values.flip(1)[:, :rank].reshape(-1)
    directions = vectors.flip(2).transpose(1, 2)[:, :rank].reshape(-1, positions)
    # Further terms start as repetitions, which the noise tells apart.
    chosen = strengths.argsort(descending=True, stable=True)[torch.arange(width) % len(strengths)]
    channel, depthwise = chosen // rank, directions[chosen]
    generator = torch.Generator().manual_seed(0)
    expand = NOISE * torch.randn(width, channels, generator=generator, dtype=kernel.dtype) / channels**0.5
    expand[torch.arange(width), channel] += 1
    parts = _slices(width, outputs * positions)
    project = torch.cat([torch.einsum("mrk,rk->mr", kernel[:, channel[part]], depthwise[part]) for part in parts], 1)
    project[:, len(strengths) :] = 0
    return expand, depthwise, project


def _improve(kernel: Tensor, factors: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Fit each factor once with the other two fixed."""
    outputs, channels, positions = kernel.shape
    expand, depthwise, project = _balanced(*factors)
    flat = kernel.reshape(outputs, -1)
    products = (flat.T @ project).reshape(channels, positions, -1)
    expand = _solve(
        (project.T @ project) * (depthwise @ depthwise.T), torch.einsum("ckr,rk->rc", products, depthwise), expand
    )
    depthwise = _solve(
        (project.T @ project) * (expand @ expand.T), torch.einsum("ckr,rc->rk", products, expand), depthwise
    )
    terms = (expand.unsqueeze(2) * depthwise.unsqueeze(1)).flatten(1)
    project = _solve((expand @ expand.T) * (depthwise @ depthwise.T), terms @ flat.T, project.T).T
    return expand, depthwise, project


def _solve(gram: Tensor, right: Tensor, before: Tensor) -> Tensor:
    """Solve for a factor ``(width, size)``, pulled toward its values before."""
    mean = gram.diagonal().mean()
    pull = DAMPING * torch.where(mean > 0, mean, torch.ones_like(mean))
    system = gram + pull * torch.eye(len(gram), dtype=gram.dtype)
    return torch.cholesky_solve(right + pull * before, torch.linalg.cholesky(system))


def _balanced(expand: Tensor, depthwise: Tensor, project: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the three factors of each term equal norms."""
    tiny = torch.finfo(expand.dtype).tiny
    norms = [expand.norm(dim=1), depthwise.norm(dim=1), project.norm(dim=0)]
    size = (norms[0] * norms[1] * norms[2]).pow(1 / 3)
    steps = [size / norm.clamp_min(tiny) for norm in norms]
    return expand * steps[0].unsqueeze(1), depthwise * steps[1].unsqueeze(1), project * steps[2]


def _normalised(expand: Tensor, depthwise: Tensor, project: Tensor) -> CPFactors:
    """Give the rows of ``expand`` and ``depthwise`` norm 1 where they are not zero."""
    norms = [torch.where(norm > 0, norm, torch.ones_like(norm)) for norm in (expand.norm(dim=1), depthwise.norm(dim=1))]
    return CPFactors(expand / norms[0].unsqueeze(1), depthwise / norms[1].unsqueeze(1), project * (norms[0] * norms[1]))
