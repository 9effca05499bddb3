"""The order of the depthwise kernels of a layer, and the channels that they belong to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def kernel_channels(kernels: Sequence[int], channels: int, groups: int, least: int = 0) -> list[int]:
    """Return the channel that each depthwise kernel belongs to.

    This is the input channel that it reads (``dw_pw``) or the output channel that it adds to (``pw_dw``). Kernels are
    sorted by group, then by rank (all first kernels, then all second ones), then by channel, so that equal numbers of
    kernels are whole repetitions of the channels.

    Args:
        kernels: Depthwise kernels of each channel.
        channels: Number of channels.
        groups: Groups of the convolution.
        least: Minimum number of kernels of a channel.

    Raises:
        ValueError: ``kernels`` does not fit the channels or the groups.
    """
    if len(kernels) != channels or any(count < least for count in kernels):
        raise ValueError(
            f"kernels: expected one number of at least {least} for each of {channels} channels, found {list(kernels)!r}"
        )
    width = channels // groups
    blocks = [range(start, start + width) for start in range(0, channels, width)]
    totals = {sum(kernels[channel] for channel in block) for block in blocks}
    if len(totals) != 1 or 0 in totals:
        raise ValueError(f"kernels: expected the same total, at least 1, in each group, found totals {sorted(totals)}")
    return [
        channel
        for block in blocks
        for rank in range(max(kernels[channel] for channel in block))
        for channel in block
        if kernels[channel] > rank
    ]


def kernel_ranks(channels: Sequence[int]) -> list[int]:
    """Return for each kernel the number of earlier kernels of the same channel."""
    seen: dict[int, int] = {}
    ranks = []
    for channel in channels:
        ranks.append(seen.get(channel, 0))
        seen[channel] = ranks[-1] + 1
    return ranks


def swap_channels(weight: Tensor, groups: int) -> Tensor:
    """Swap the two channel dimensions of a grouped kernel.

    Args:
        weight: ``(out_channels, in_channels / groups, *kernel_size)``, the shape of a convolution's weight.
        groups: Groups of the convolution.

    Returns:
        ``(in_channels, out_channels / groups, *kernel_size)``, the shape of a transposed convolution's weight. The
        function is its own inverse.
    """
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    return blocks.transpose(1, 2).flatten(0, 1)
