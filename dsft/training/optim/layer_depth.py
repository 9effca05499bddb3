"""The depth of each parameter's layer, which layer-wise learning rates and gradual unfreezing depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from timm.models import group_parameters
from torch import nn

_PLAIN_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def number_layers(module: nn.Module) -> Mapping[str, int]:
    """Return the number of every parameter's layer, 0 for those nearest to the input.

    timm's networks define their layers (``group_matcher``). In others a layer is a block: a module, in the order of
    definition, that is neither a plain container nor contains a sequence of blocks. A block of norms alone belongs to
    the block before it. A converted layer has the name, and so the number, of the convolution that it replaces.

    Args:
        module: The network.
    """
    matcher = getattr(module, "group_matcher", None)
    if matcher is not None:
        numbered: Mapping[str, int] = group_parameters(module, matcher(coarse=False), reverse=True)
        return numbered
    numbers: dict[str, int] = {}
    number = -1
    for names in _blocks(module):
        is_norm = all(module.get_parameter(name).ndim <= 1 for name in names)
        number += number < 0 or not is_norm
        numbers.update(dict.fromkeys(names, number))
    return numbers


def _blocks(module: nn.Module, prefix: str = "") -> Iterator[list[str]]:
    """Yield the names of the parameters of each block, in the order of definition."""
    if own := [prefix + name for name, _ in module.named_parameters(recurse=False)]:
        yield own
    for name, child in module.named_children():
        path = f"{prefix}{name}."
        if type(child) in _PLAIN_CONTAINERS or isinstance(child, nn.ModuleDict) or _holds_blocks(child):
            yield from _blocks(child, path)
        elif names := [path + name for name, _ in child.named_parameters()]:
            yield names


def _holds_blocks(module: nn.Module) -> bool:
    """Whether a module is a backbone rather than a block: some container in it has at least two blocks.

    torchvision's subclasses of ``Sequential``, such as ``Conv2dNormActivation``, are layers, not blocks.
    """
    containers = (part for part in module.modules() if type(part) in _PLAIN_CONTAINERS)
    return any(sum(_is_block(child) for child in container.children()) > 1 for container in containers)


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None and not isinstance(module, nn.Sequential)
