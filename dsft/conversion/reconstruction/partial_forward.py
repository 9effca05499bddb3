"""Resume the forward pass of a network from cached activations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dsft.compat.torch_modules import replace_forward
from dsft.compat.torch_pytree import tree_leaves, tree_map
from dsft.measure.example import ExampleInput, run_example

T = TypeVar("T")


@dataclass(frozen=True)
class _Call:
    """When a module ran in a pass: the step at which it first started, at which it last ended, and how often."""

    started: int
    ended: int
    times: int


class PartialForward:
    """Forward passes through a network whose layers are changed one after another, in execution order.

    The output of a module is final once every layer before it is. Such outputs are cached, up to a memory limit, and a
    pass starts from the latest of them: the modules before it are skipped and return tensors without values (on the
    device ``meta``). If anything else from before is needed, such as a shortcut or another branch, the pass fails for
    want of values, and is repeated from an earlier module or from the input.

    A module may also leave something that a later one reads without a tensor being passed, or change its input in
    place; a pass that skips it would use wrong values without failing. For each layer one batch therefore runs from
    the input as well, and the results are compared.

    Args:
        model: The network. It runs the same modules in the same order for each batch.
        batches: Its inputs.
        layers: Names of the layers, in the order in which they run and are changed.
        limit: Maximum size of the cache in bytes.
    """

    def __init__(self, model: nn.Module, batches: Sequence[ExampleInput], layers: Sequence[str], limit: int) -> None:
        self._model, self._batches, self._limit = model, batches, limit
        self._calls = _trace(model, batches[0])
        self._before = {layer: self._modules_before(layer) for layer in layers}
        self._next = dict(itertools.pairwise(layers))
        self._rejected: set[nn.Module] = set()
        self._cached: list[dict[nn.Module, Tensor]] = [{} for _ in batches]
        self._shapes: list[dict[nn.Module, Any]] = [{} for _ in batches]
        self._verified: set[tuple[str, nn.Module]] = set()
        self._parity = 0

    def run(self, layer: str, number: int, observe: Callable[[Callable[[], None]], T]) -> T:
        """Run a batch as far as a layer needs it, from the latest possible start.

        Args:
            layer: Name of the layer; all layers before it are final.
            number: Number of the batch.
            observe: Gets the pass as a function and returns what it observed. It may end the pass early by an
                exception that it catches itself. It is called again if a pass failed.
        """
        cached = self._cached[number]
        for module in [module for module in cached if module not in self._before[layer]]:
            del cached[module]
        starts = [module for module in self._before[layer] if module in cached]
        for start in sorted(starts, key=lambda module: (layer, module) not in self._verified):
            try:
                found = self._run_from(start, layer, number, observe)
                is_correct = not _has_no_values(found) and self._is_correct(start, layer, number, observe)
            except Exception:
                # Most often for want of values; if not, the pass from the input fails as well.
                is_correct = False
            if is_correct:
                # Earlier outputs are no longer needed.
                for earlier in self._before[layer][self._before[layer].index(start) + 1 :]:
                    cached.pop(earlier, None)
                return found
            self._reject(start)
        return observe(lambda: self._pass(layer, number))

    def _run_from(self, start: nn.Module, layer: str, number: int, observe: Callable[[Callable[[], None]], T]) -> T:
        with self._skipping(start, number):
            return observe(lambda: self._pass(layer, number))

    def _is_correct(
        self, start: nn.Module, layer: str, number: int, observe: Callable[[Callable[[], None]], object]
    ) -> bool:
        """Compare with passes from the input, once per layer, alternating between the first and the second batch.

        A skipped module holds what it left in its last pass: that of the last batch, or of the batch compared for the
        layer before. With that batch the comparison would succeed by chance, hence the alternation.
        """
        if (layer, start) in self._verified:
            return True
        self._parity = 1 - self._parity
        compared = range(len(self._batches)) if len(self._batches) <= 2 else [self._parity]
        # If memory is short, some batches have no cached output.
        compared = [each for each in compared if start in self._cached[each]] or [number]
        resumed = [self._run_from(start, layer, each, observe) for each in compared]
        complete = [observe(partial(self._pass, layer, each)) for each in compared]
        is_correct = all(map(_are_equal, resumed, complete))
        if is_correct:
            self._verified.add((layer, start))
        return is_correct

    def _pass(self, layer: str, number: int) -> None:
        with self._caching(layer, number):
            run_example(self._model, self._batches[number])

    def _modules_before(self, layer: str) -> list[nn.Module]:
        """Return the siblings of a layer and of its parents that end before it starts, the latest first.

        Their outputs are final, and most often one of them is all that later modules read.
        """
        target = self._model.get_submodule(layer)
        if target not in self._calls:
            return []
        names = layer.split(".")
        parents = [self._model.get_submodule(".".join(names[:depth])) for depth in range(len(names))]
        siblings = [module for parent in parents for module in parent.children() if self._ran_once(module)]
        ended = [module for module in siblings if self._calls[module].ended < self._calls[target].started]
        return sorted(ended, key=lambda module: -self._calls[module].ended)

    def _ran_once(self, module: nn.Module) -> bool:
        return module in self._calls and self._calls[module].times == 1

    def _reject(self, module: nn.Module) -> None:
        self._rejected.add(module)
        ended = self._calls[module].ended
        for cached in self._cached:
            # The results of a pass that started there are wrong as well.
            for later in [later for later in cached if self._calls[later].ended >= ended]:
                del cached[later]

    @contextmanager
    def _caching(self, layer: str, number: int) -> Iterator[None]:
        """Cache the output that the pass for the next layer can start from, and the shapes of all outputs."""
        later = self._before.get(self._next.get(layer, ""), [])
        useful = [module for module in self._before[layer] if module in later and module not in self._rejected]
        shapes, is_before = self._shapes[number], True

        def on_input(*_: Any) -> None:
            nonlocal is_before
            is_before = False

        def on_output(module: nn.Module, _: Any, output: Any) -> None:
            # From the layer on nothing is final, and its output may be traced, so it must not be read here.
            if not is_before:
                return
            if module not in shapes:
                shapes[module] = tree_map(_without_values, output)
            if module in useful[:1] and isinstance(output, Tensor) and not output.is_meta:
                self._cache(module, number, output)

        with ExitStack() as stack:
            # Before all other hooks, since a later one may end the pass.
            stack.callback(self._model.get_submodule(layer).register_forward_pre_hook(on_input, prepend=True).remove)
            for module in self._calls:
                stack.callback(module.register_forward_hook(on_output).remove)
            yield

    def _cache(self, module: nn.Module, number: int, output: Tensor) -> None:
        cached = self._cached[number]
        if module in cached:
            return
        # Earlier outputs are a fallback only; if memory is short, the latest one is most likely to be used.
        for earlier in list(cached):
            if self._cached_bytes() + output.nbytes > self._limit:
                del cached[earlier]
        if self._cached_bytes() + output.nbytes <= self._limit:
            # A copy, since the network may write into the output later in this pass.
            cached[module] = output.detach().clone()

    def _cached_bytes(self) -> int:
        return sum(output.nbytes for cached in self._cached for output in cached.values())

    @contextmanager
    def _skipping(self, start: nn.Module, number: int) -> Iterator[None]:
        """Skip the modules that end before another one, and return the cached output of that one."""
        cached, shapes = self._cached[number][start], self._shapes[number]
        ended = self._calls[start].ended
        skipped: dict[nn.Module, Any] = {
            module: shapes[module]
            for module, call in self._calls.items()
            if call.times == 1 and call.ended < ended and module in shapes
        }
        # A copy, since the network may write into it as it does into the output of the module.
        skipped[start] = cached.clone()
        with ExitStack() as stack:
            for module, output in skipped.items():
                stack.enter_context(_returning(module, output))
            yield


def _trace(model: nn.Module, batch: ExampleInput) -> Mapping[nn.Module, _Call]:
    """Run a network, and return when its modules ran."""
    calls: dict[nn.Module, _Call] = {}
    started: dict[nn.Module, int] = {}
    step = 0

    def on_input(module: nn.Module, _: Any) -> None:
        nonlocal step
        step += 1
        started[module] = step

    def on_output(module: nn.Module, *_: Any) -> None:
        nonlocal step
        step += 1
        earlier = calls.get(module)
        first, times = (earlier.started, earlier.times + 1) if earlier else (started[module], 1)
        calls[module] = _Call(first, step, times)

    with ExitStack() as stack:
        for module in model.modules():
            if module is not model:
                stack.callback(module.register_forward_pre_hook(on_input).remove)
                stack.callback(module.register_forward_hook(on_output).remove)
        run_example(model, batch)
    return calls


def _are_equal(one: object, other: object) -> bool:
    leaves = zip(tree_leaves(one), tree_leaves(other), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in leaves if isinstance(mine, Tensor))


def _has_no_values(found: object) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves(found))


def _without_values(leaf: Any) -> Any:
    return torch.empty_like(leaf, device="meta") if isinstance(leaf, Tensor) else leaf


@contextmanager
def _returning(module: nn.Module, output: Any) -> Iterator[None]:
    """Let a module return a given output."""
    restore = replace_forward(module, lambda *_, **__: output)
    try:
        yield
    finally:
        restore()
