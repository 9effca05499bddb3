"""Running a network again and again, up to one layer after another, without what has run before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_leaves, tree_map
from dsft.measure.example import ExampleInput, run_example

T = TypeVar("T")


@dataclass(frozen=True)
class _Call:
    """When a module ran in a pass: the step at which it first began, that at which it last ended, and how often."""

    begun: int
    ended: int
    times: int


class Reruns:
    """Passes through a network whose layers are changed one after another, in the order in which they run.

    What a module put out stays as it is when all that ran before it is done. So outputs of modules before the next
    layers are kept, as far as the memory goes, and a pass begins at the latest of them: what comes before it is
    skipped, and gives tensors without values (on the device ``meta``). Should anything beside that module be needed
    from before, a shortcut or a branch, then the pass fails for want of values, and begins at an earlier module, or
    at the input. A module may also keep something that a later one reads beside the flow of the tensors, and a pass
    that skips it finds what is there of another batch; so for each layer one batch runs from the input as well, and the
    two are compared.

    Args:
        model: The network. It runs the same modules in the same order for each batch.
        batches: Its inputs.
        layers: Names of the layers, in the order in which they run and are changed.
        limit: Bytes that may be kept.
    """

    def __init__(self, model: nn.Module, batches: Sequence[ExampleInput], layers: Sequence[str], limit: int) -> None:
        self._model, self._batches, self._limit = model, batches, limit
        self._calls = _trace(model, batches[0])
        self._before = {layer: self._ended_before(layer) for layer in layers}
        self._next = dict(itertools.pairwise(layers))
        self._refused: set[nn.Module] = set()
        self._kept: list[dict[nn.Module, Tensor]] = [{} for _ in batches]
        self._shapes: list[dict[nn.Module, Any]] = [{} for _ in batches]
        self._proven: set[tuple[str, nn.Module]] = set()
        self._turn = 0

    def run(self, layer: str, number: int, attempt: Callable[[Callable[[], None]], T]) -> T:
        """Run a batch as far as a layer needs it, from the latest possible beginning.

        Args:
            layer: Name of the layer; those before it are done.
            number: Number of the batch.
            attempt: Gets the pass as a function, and returns what it took from it, having ended it with an error of
                its own that it catches where that came early; it is called again where a pass failed.
        """
        kept = self._kept[number]
        for module in [module for module in kept if module not in self._before[layer]]:
            del kept[module]
        starts = [module for module in self._before[layer] if module in kept]
        for start in sorted(starts, key=lambda module: (layer, module) not in self._proven):
            try:
                found = self._from(start, layer, number, attempt)
                is_right = not _has_no_values(found) and self._is_right(start, layer, number, attempt)
            except Exception:
                # For want of values, most often; if not, the pass from the input fails as well.
                is_right = False
            if is_right:
                # What comes earlier has served.
                for earlier in self._before[layer][self._before[layer].index(start) + 1 :]:
                    kept.pop(earlier, None)
                return found
            self._refuse(start)
        return attempt(lambda: self._pass(layer, number))

    def _from(self, start: nn.Module, layer: str, number: int, attempt: Callable[[Callable[[], None]], T]) -> T:
        with self._skipped(start, number):
            return attempt(lambda: self._pass(layer, number))

    def _is_right(
        self, start: nn.Module, layer: str, number: int, attempt: Callable[[Callable[[], None]], object]
    ) -> bool:
        """Compare with passes from the input, once for a layer, in the first batch and the second in turn.

        A module that is skipped holds what it kept of the batch that it last ran in: the last of all, or the one that
        was compared for the layer before. It would be right by chance in that one.
        """
        if (layer, start) in self._proven:
            return True
        self._turn = 1 - self._turn
        compared = range(len(self._batches)) if len(self._batches) <= 2 else [self._turn]
        # Where memory is short, some batches run from the input.
        compared = [each for each in compared if start in self._kept[each]] or [number]
        begun_late = [self._from(start, layer, each, attempt) for each in compared]
        whole = [attempt(partial(self._pass, layer, each)) for each in compared]
        is_right = all(map(_are_equal, begun_late, whole))
        if is_right:
            self._proven.add((layer, start))
        return is_right

    def _pass(self, layer: str, number: int) -> None:
        with self._watched(layer, number):
            run_example(self._model, self._batches[number])

    def _ended_before(self, layer: str) -> list[nn.Module]:
        """Return the modules beside a layer, and beside its parents, that end before it, the latest first.

        Their outputs are final, and most often one of them is all that later modules read.
        """
        target = self._model.get_submodule(layer)
        if target not in self._calls:
            return []
        names = layer.split(".")
        parents = [self._model.get_submodule(".".join(names[:depth])) for depth in range(len(names))]
        beside = [module for parent in parents for module in parent.children() if self._ran_once(module)]
        ended = [module for module in beside if self._calls[module].ended < self._calls[target].begun]
        return sorted(ended, key=lambda module: -self._calls[module].ended)

    def _ran_once(self, module: nn.Module) -> bool:
        return module in self._calls and self._calls[module].times == 1

    def _refuse(self, module: nn.Module) -> None:
        self._refused.add(module)
        ended = self._calls[module].ended
        for kept in self._kept:
            # What came of a pass that began there is as wrong.
            for later in [later for later in kept if self._calls[later].ended >= ended]:
                del kept[later]

    @contextmanager
    def _watched(self, layer: str, number: int) -> Iterator[None]:
        """Keep the output that the next layer's pass can begin with, and the shapes of all."""
        later = self._before.get(self._next.get(layer, ""), [])
        useful = [module for module in self._before[layer] if module in later and module not in self._refused]
        shapes, is_before = self._shapes[number], True

        def begin(*_: Any) -> None:
            nonlocal is_before
            is_before = False

        def put_out(module: nn.Module, _: Any, output: Any) -> None:
            # From the layer on nothing is final, and others may be following what it puts out.
            if not is_before:
                return
            if module not in shapes:
                shapes[module] = tree_map(_without_values, output)
            if module in useful[:1] and isinstance(output, Tensor) and not output.is_meta:
                self._keep(module, number, output)

        with ExitStack() as stack:
            # First of all hooks, since a later one may end the pass.
            stack.callback(self._model.get_submodule(layer).register_forward_pre_hook(begin, prepend=True).remove)
            for module in self._calls:
                stack.callback(module.register_forward_hook(put_out).remove)
            yield

    def _keep(self, module: nn.Module, number: int, output: Tensor) -> None:
        kept = self._kept[number]
        if module in kept:
            return
        # The earlier ones are what a pass falls back to; where memory is short, the latest is most likely of use.
        for earlier in list(kept):
            if self._bytes_kept() + output.nbytes > self._limit:
                del kept[earlier]
        if self._bytes_kept() + output.nbytes <= self._limit:
            # A copy, since what comes next may write into it.
            kept[module] = output.detach().clone()

    def _bytes_kept(self) -> int:
        return sum(output.nbytes for kept in self._kept for output in kept.values())

    @contextmanager
    def _skipped(self, start: nn.Module, number: int) -> Iterator[None]:
        """Skip the modules that end before another, and give what was kept of that one."""
        kept, shapes = self._kept[number][start], self._shapes[number]
        ended = self._calls[start].ended
        skipped: dict[nn.Module, Any] = {
            module: shapes[module]
            for module, call in self._calls.items()
            if call.times == 1 and call.ended < ended and module in shapes
        }
        skipped[start] = kept.clone()
        with ExitStack() as stack:
            for module, output in skipped.items():
                stack.enter_context(_answering(module, output))
            yield


def _trace(model: nn.Module, batch: ExampleInput) -> Mapping[nn.Module, _Call]:
    """Run a network, and return when its modules ran."""
    calls: dict[nn.Module, _Call] = {}
    begun: dict[nn.Module, int] = {}
    step = 0

    def begin(module: nn.Module, _: Any) -> None:
        nonlocal step
        step += 1
        begun[module] = step

    def end(module: nn.Module, *_: Any) -> None:
        nonlocal step
        step += 1
        earlier = calls.get(module)
        calls[module] = _Call(earlier.begun if earlier else begun[module], step, earlier.times + 1 if earlier else 1)

    with ExitStack() as stack:
        for module in model.modules():
            if module is not model:
                stack.callback(module.register_forward_pre_hook(begin).remove)
                stack.callback(module.register_forward_hook(end).remove)
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
def _answering(module: nn.Module, output: Any) -> Iterator[None]:
    """Have a module put out what is given."""
    own = vars(module).get("forward")
    vars(module)["forward"] = lambda *_, **__: output
    try:
        yield
    finally:
        if own is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = own
