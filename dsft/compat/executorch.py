"""The number of threads of ExecuTorch's XNNPACK delegate."""

from __future__ import annotations

from dsft.compat.lookup import lookup

_BINDINGS = "executorch.extension.pybindings.portable_lib"


def set_threads(count: int) -> bool:
    """Set the number of threads that all programs of this process use.

    Returns:
        Whether they use that many now; False where this version of ExecuTorch cannot change the number, and uses
        another or does not say.
    """
    reset = lookup(_BINDINGS, "_unsafe_reset_threadpool")
    read = lookup(_BINDINGS, "_threadpool_get_thread_count")
    if reset is not None:
        reset(count)
    return read() == count if read is not None else reset is not None
