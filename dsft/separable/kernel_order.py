"""The order of the depthwise kernels of a layer, and of the channels that they belong to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def kernel_channels(kernels: Sequence[int], channels: int, groups: int, least: int = 0) -> list[int]:
    """Return the channel that each depthwise kernel belongs to.

    That is the input channel which it reads (``dw_pw``) or the output channel which it adds to (``pw_dw``).
    Kernels are sorted by group, within it by rank (all first kernels, then all second ones), within that by
    channel, so that equal numbers of kernels make whole repeats of the channels.

    Args:
        kernels: Depthwise kernels of each channel.
        channels: Number of channels.
        groups: Groups of the convolution.
        least: The fewest kernels that a channel may have.

    Raises:
        ValueError: ``kernels`` does not fit the channels or the groups.
    """
    if len(kernels) != channels or any(count < least for count in kernels):
        raise ValueError(
            f"kernels: one number of at least {least} is needed for each of {channels} channels, "
            f"found {list(kernels)!r}"
        )
    width = channels // groups
    blocks = [range(start, start + width) for start in range(0, channels, width)]
    totals = {sum(kernels[channel] for channel in block) for block in blocks}
    if len(totals) != 1 or 0 in totals:
        raise ValueError(f"kernels: each group needs the same total, at least 1, found totals {sorted(totals)}")
    return [
        channel
        for block in blocks
        for rank in range(max(kernels[channel] for channel in block))
        for channel in block
        if kernels[channel] > rank
    ]


def kernel_ranks(channels: Sequence[int]) -> list[int]:
    """Return for each kernel how many kernels of the same channel come before it."""
    seen: dict[int, int] = {}
    ranks = []
    for channel in channels:
        ranks.append(seen.get(channel, 0))
        seen[channel] = ranks[-1] + 1
    return ranks


def swap_channels(weight: Tensor, groups: int) -> Tensor:
    """Let the two channel dimensions of a grouped kernel change places.

    Args:
        weight: ``(out_channels, in_channels / groups, *kernel_size)``, as a convolution keeps its kernel.
        groups: Groups of the convolution.

    Returns:
        ``(in_channels, out_channels / groups, *kernel_size)``, as a transposed convolution keeps it; a second
        swap gives the first form back.
    """
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    return blocks.transpose(1, 2).flatten(0, 1)
