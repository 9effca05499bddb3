"""Activation checkpointing: activations inside a block are not stored but recomputed in the backward pass.

Chen et al. 2016 (Training Deep Nets with Sublinear Memory Cost). timm's own option updates running statistics a second
time when it recomputes, and fails an assertion on many networks. This one does neither, gives the same step as without
checkpointing, and works on networks of any library.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dsft.compat.torch_modules import replace_forward
from dsft.errors import ModelError
from dsft.training.optim.freezing import has_running_statistics

_CONTAINERS = (nn.Sequential, nn.ModuleList)


class ActivationCheckpointing(ExitStack):
    """Makes the blocks of a network recompute their activations, until it is closed.

    Args:
        module: The network.

    Raises:
        ModelError: It has fewer than two blocks.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        blocks = find_blocks(module)
        if len(blocks) < 2:
            raise ModelError(
                f"train.grad_checkpointing: needs a network with a sequence of blocks, found none in "
                f"{type(module).__name__}. Set it to false, and lower data.batch_size with train.grad_accum instead."
            )
        for block in blocks:
            self.callback(replace_forward(block, functools.partial(_checkpointed_forward, block, block.forward)))


def find_blocks(module: nn.Module) -> list[nn.Module]:
    """List the blocks of a network: the modules with children in its outermost sequences.

    If there are fewer than two, they are the network's own children that have children.
    """
    blocks = [block for container in module.children() for block in _blocks_in(container)]
    composite = [part for part in module.children() if _is_composite(part)]
    found = blocks if len(blocks) > 1 else composite
    # A block that occurs twice is wrapped once.
    return list(dict.fromkeys(found))


def _blocks_in(module: nn.Module) -> list[nn.Module]:
    if not isinstance(module, _CONTAINERS):
        return [block for child in module.children() for block in _blocks_in(child)] if _is_composite(module) else []
    blocks: list[nn.Module] = []
    for child in module:
        is_sequence = isinstance(child, _CONTAINERS) and any(map(_is_composite, child))
        if is_sequence:
            blocks += _blocks_in(child)
        elif _is_composite(child):
            blocks.append(child)
    return blocks


def _is_composite(module: nn.Module) -> bool:
    return next(module.children(), None) is not None and next(module.parameters(), None) is not None


def _checkpointed_forward(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return contextlib.nullcontext(), _frozen_statistics(block)

    if not block.training:
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextlib.contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Run norms in training mode without a second update of their running statistics."""
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
