"""The identity of a tensor's storage."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor


def storage_id(tensor: Tensor) -> Hashable | None:
    """Return a value that two tensors have in common if and only if they share a storage.

    It is valid while the storage is alive. Storages without memory have the same address, so the storage object
    itself is identified; without the private attribute that identifies it, the address is.

    Returns:
        None for a tensor that has no storage (such as a sparse one), or that cannot be told from others.
    """
    if tensor.layout is not torch.strided:
        return None
    storage = tensor.untyped_storage()
    own: int | None = getattr(storage, "_cdata", None)
    return own if own is not None else (storage.device, storage.data_ptr()) if storage.data_ptr() else None
