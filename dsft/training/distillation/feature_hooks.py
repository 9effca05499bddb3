"""The outputs of single layers, noted while a network runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class OutputTap:
    """Notes what some layers of a network return.

    The hooks stay on the layers until :meth:`remove` and do nothing outside :meth:`open`, so that a compiled network
    is not compiled anew at every step.

    Args:
        module: The network.
        names: The layers, by name.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        self._outputs: list[Tensor] | None = None
        self._handles = [module.get_submodule(name).register_forward_hook(self._note) for name in names]

    @contextmanager
    def open(self) -> Iterator[list[Tensor]]:
        """Yield a list that fills with outputs in the order in which the layers run, a layer run twice twice."""
        outputs: list[Tensor] = []
        self._outputs = outputs
        try:
            yield outputs
        finally:
            self._outputs = None

    def remove(self) -> None:
        """Take the hooks off the layers."""
        for handle in self._handles:
            handle.remove()

    def _note(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        del layer, inputs
        if self._outputs is not None:
            # An activation that works in place would overwrite it.
            self._outputs.append(output.clone())
