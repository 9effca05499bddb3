"""The seed of a run, and torch's deterministic mode; both are restored afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

# cuBLAS is deterministic only with a workspace of fixed size (CUDA documentation, "Results reproducibility").
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextlib.contextmanager
def reproducible(seed: int, device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Seed torch in the block, and restore its random state and mode afterwards.

    The random states of the CPU and of a CUDA device are restored; those of other accelerators are not.

    Args:
        seed: Seed of the random operations of the network, such as dropout.
        device: Where the network runs.
        deterministic: Use deterministic operations only; False leaves the mode unchanged.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices, device_type="cuda"):
        torch.manual_seed(seed)
        if not deterministic:
            yield
            return
        with _deterministic_mode():
            yield


@contextlib.contextmanager
def _deterministic_mode() -> Iterator[None]:
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(_WORKSPACE)
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)
