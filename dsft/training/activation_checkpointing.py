"""Gradient checkpointing: activations inside a block are not kept but computed again in the backward pass.

Chen et al. 2016 (Training Deep Nets with Sublinear Memory Cost). timm's own switch updates the running statistics
of norms a second time when it computes again, and asserts on many networks; here neither happens, and a step comes
out as without, for networks of any library.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dsft.errors import ModelError
from dsft.training.optim.freezing import has_running_statistics

_CONTAINERS = (nn.Sequential, nn.ModuleList)


class Recomputation(ExitStack):
    """Has the blocks of a network compute their activations again; closing it undoes that.

    Args:
        module: The network.

    Raises:
        ModelError: It has no blocks that follow one another.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        blocks = find_blocks(module)
        if len(blocks) < 2:
            raise ModelError(
                f"train.grad_checkpointing: a network of blocks that follow one another is needed, found none in "
                f"{type(module).__name__}. Set it to false, and lower data.batch_size with train.grad_accum instead."
            )
        for block in blocks:
            # On the instance, so that other networks of the class stay as they are.
            block.forward = functools.partial(_forward_again, block, block.forward)
            self.callback(delattr, block, "forward")


def find_blocks(module: nn.Module) -> list[nn.Module]:
    """List the blocks of a network: the parts with parts of their own in its sequences, the longest at the top.

    Where nothing stands in a sequence, they are the network's own parts that have parts.
    """
    blocks = [block for container in module.children() for block in _blocks_in(container)]
    composite = [part for part in module.children() if _is_composite(part)]
    found = blocks if len(blocks) > 1 else composite
    # A block that stands twice is wrapped once.
    return list(dict.fromkeys(found))


def _blocks_in(part: nn.Module) -> list[nn.Module]:
    if not isinstance(part, _CONTAINERS):
        return [block for child in part.children() for block in _blocks_in(child)] if _is_composite(part) else []
    blocks: list[nn.Module] = []
    for child in part:
        is_row = isinstance(child, _CONTAINERS) and any(map(_is_composite, child))
        if is_row:
            blocks += _blocks_in(child)
        elif _is_composite(child):
            blocks.append(child)
    return blocks


def _is_composite(module: nn.Module) -> bool:
    return next(module.children(), None) is not None and next(module.parameters(), None) is not None


def _forward_again(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return contextlib.nullcontext(), _still_statistics(block)

    if not block.training:
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextlib.contextmanager
def _still_statistics(block: nn.Module) -> Iterator[None]:
    """Let norms run as before without moving their running statistics a second time."""
    norms = [part for part in block.modules() if has_running_statistics(part) and part.training]
    before = [(norm, norm.momentum, _count(norm).clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # type: ignore[assignment]
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum = momentum
            _count(norm).copy_(count)


def _count(norm: nn.Module) -> Tensor:
    return norm.get_buffer("num_batches_tracked")
