"""Forward hooks that capture the outputs of single layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class FeatureHooks:
    """Captures the outputs of some layers of a network.

    The hooks stay registered until :meth:`remove` and do nothing outside :meth:`capture`, so that a compiled network
    is not recompiled at every step.

    Args:
        module: The network.
        names: Names of the layers.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        self._outputs: list[Tensor] | None = None
        self._handles = [module.get_submodule(name).register_forward_hook(self._append) for name in names]

    @contextmanager
    def capture(self) -> Iterator[list[Tensor]]:
        """Yield a list that receives the outputs in the order of execution; a layer that runs twice adds two."""
        outputs: list[Tensor] = []
        self._outputs = outputs
        try:
            yield outputs
        finally:
            self._outputs = None

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def _append(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        del layer, inputs
        if self._outputs is not None:
            # A copy: a later in-place operation, such as ReLU(inplace=True), would overwrite the output.
            self._outputs.append(output.clone())
