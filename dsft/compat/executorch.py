"""The number of threads of ExecuTorch's XNNPACK delegate."""

from __future__ import annotations

from dsft.compat.lookup import lookup

_BINDINGS = "executorch.extension.pybindings.portable_lib"


def set_threads(count: int) -> bool:
    """Set the number of threads that the programs of this process use which are loaded from now on.

    A change destroys the threads that programs which are already loaded refer to: those must not run any more.

    Returns:
        Whether they use that many now; False where this version of ExecuTorch cannot change the number, and uses
        another or does not say.
    """
    if read_threads() == count:
        return True
    reset = lookup(_BINDINGS, "_unsafe_reset_threadpool")
    if reset is not None:
        reset(count)
    return reset is not None and read_threads() in (count, None)


def read_threads() -> int | None:
    """Return the number of threads that programs use; None where this version of ExecuTorch does not say."""
    read = lookup(_BINDINGS, "_threadpool_get_thread_count")
    return int(read()) if read is not None else None
