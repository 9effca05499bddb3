"""Measure the memory of a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from dsft.compat.torch_dispatch import each_result
from dsft.compat.torch_pytree import tree_leaves
from dsft.measure.example import ExampleInput, run_example


def peak_memory(module: nn.Module, example_input: ExampleInput) -> int:
    """Return the peak size in bytes of all live tensors in a forward pass: weights, input and activations.

    It is counted operator by operator, so it is the same on every machine and in every run. The workspace of operators
    and the cache of the allocator are not included.

    Args:
        module: Any module; its modes are restored.
        example_input: What the module takes; see :func:`dsft.measure.example.run_example`.
    """
    alive = _LiveTensors()
    alive.add([*module.parameters(), *module.buffers()])
    alive.add(tree_leaves(example_input))
    with each_result(lambda result: alive.add(tree_leaves(result))):
        run_example(module, example_input)
    return alive.peak


class _LiveTensors:
    """The storages that operators have returned and that nothing has freed yet."""

    def __init__(self) -> None:
        self.peak = 0
        self._sizes: dict[StorageWeakRef, int] = {}

    def add(self, values: Sequence[object]) -> None:
        """Add the storages of the tensors among some values, each once, and drop those freed since."""
        for storage in (value.untyped_storage() for value in values if isinstance(value, Tensor)):
            self._sizes[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        self._sizes = {storage: size for storage, size in self._sizes.items() if not _is_freed(storage)}
        self.peak = max(self.peak, sum(self._sizes.values()))


def _is_freed(storage: StorageWeakRef) -> bool:
    return bool(storage.expired())  # type: ignore[no-untyped-call]
