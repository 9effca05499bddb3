"""The format versions of modules, which a state dict holds beside its tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

_METADATA = "_metadata"


def with_metadata(state: Mapping[str, Tensor], module: nn.Module) -> OrderedDict[str, Tensor]:
    """Return a copy of a state dict that has format versions: its own, or those of the module.

    Without any, some modules take the tensors for those of an old version. If torch no longer keeps the versions in
    this attribute, the copy has none.

    Args:
        state: Tensors by name, as read from a file.
        module: The module that they will be loaded into.
    """
    full = OrderedDict(state)
    metadata = getattr(state, _METADATA, None) or getattr(module.state_dict(), _METADATA, None)
    if metadata is not None:
        setattr(full, _METADATA, metadata)
    return full
