"""The forms in which an input channel is fed to several depthwise kernels.

All forms of a layer compute the same. Which one is fastest depends on shape, dtype and memory layout, so it is chosen
by measurement and saved with the layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from dsft.choices import Form, Structure
from dsft.separable.kernel_order import kernel_channels, kernel_ranks


def allowed_forms(
    kernels: Sequence[int], groups: int, order: Structure, *, transposed: bool = False, norm_between: bool = False
) -> tuple[Form, ...]:
    """Return the forms that a layer can have; the first is the default.

    Args:
        kernels: Depthwise kernels of each channel.
        groups: Groups of the convolution.
        order: Which convolution comes first.
        transposed: Whether the depthwise convolution is a transposed one.
        norm_between: Whether a batch norm is between the two convolutions.

    Returns:
        Empty if no channel is repeated or dropped: with one kernel for each channel, and for ``pw_dw``.
    """
    if order is Structure.PW_DW or set(kernels) == {1}:
        return ()
    is_equal = len(set(kernels)) == 1
    is_in_passes = not transposed and not norm_between and len({_rank_counts(b) for b in _blocks(kernels, groups)}) == 1
    holds = {
        Form.CONCATENATE: is_equal,
        Form.GATHER: True,
        Form.MULTIPLIER: is_equal and not transposed,
        Form.PASSES: is_in_passes,
    }
    return tuple(form for form, is_allowed in holds.items() if is_allowed)


def storage_order(kernels: Sequence[int], groups: int, order: Structure, form: Form | None) -> list[int]:
    """Return the order in which a layer stores its kernels, as indices into that of :func:`kernel_channels`.

    ``multiplier`` needs all kernels of a channel next to each other, as in a depthwise convolution with several outputs
    per input. ``pw_dw`` puts outputs with many kernels first within a rank, so that the maps to be summed are slices.
    """
    channels = kernel_channels(kernels, len(kernels), groups)
    ranks = kernel_ranks(channels)
    width = len(kernels) // groups
    places = list(range(len(channels)))
    if form is Form.MULTIPLIER:
        return sorted(places, key=lambda place: (channels[place], ranks[place]))
    if order is Structure.PW_DW:
        return sorted(
            places,
            key=lambda place: (channels[place] // width, ranks[place], -kernels[channels[place]], channels[place]),
        )
    return places


def whole_slices(kernels: Sequence[int], groups: int) -> list[tuple[int, int]]:
    """Return the slices of the input, as start and length, to concatenate if all channels have as many kernels."""
    width = len(kernels) // groups
    return [(group * width, width) for group in range(groups) for _ in range(kernels[0])]


def pass_bounds(kernels: Sequence[int], groups: int) -> list[tuple[int, int]]:
    """Return the start and the end of each rank among the kernels of one group."""
    counts = _rank_counts(_blocks(kernels, groups)[0])
    return [(sum(counts[:rank]), sum(counts[: rank + 1])) for rank in range(len(counts))]


def _blocks(kernels: Sequence[int], groups: int) -> list[Sequence[int]]:
    width = len(kernels) // groups
    return [kernels[start : start + width] for start in range(0, len(kernels), width)]


def _rank_counts(block: Sequence[int]) -> tuple[int, ...]:
    return tuple(sum(count > rank for count in block) for rank in range(max(block)))
