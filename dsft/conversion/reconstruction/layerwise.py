"""Fitting a converted network to the original, layer by layer in the order in which they run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dsft.choices import Structure
from dsft.compat.torch_convolution import Convolution
from dsft.conversion.factorization import Sample, Target, Weighting
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.reconstruction.calibration_data import choose_positions, look, take_positions
from dsft.conversion.reconstruction.partial_forward import Reruns
from dsft.conversion.reconstruction.regression import Regression, regression_of
from dsft.conversion.reconstruction.residual_targets import Outlet, OutletWatch
from dsft.errors import ConversionError
from dsft.measure.example import ExampleInput, run_example
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task
from dsft.separable import DepthwiseSeparableConv, LowRankConv

SAMPLES = 32768
"""Positions of a layer's maps, over all images, that a fit looks at."""

KEPT_BYTES = 1 << 29
"""Memory for what is kept of the original's outputs, of all layers together, and as much again for what one layer
sees; fewer positions are looked at where it does not suffice. Half as much is for outputs of the converted network
that its passes begin with. So this is what bounds the memory of a refit."""


def refit(
    original: nn.Module,
    converted: nn.Module,
    plan: ConversionPlan,
    batches: Sequence[ExampleInput],
    weightings: Mapping[str, Weighting],
    report: Report = ignore,
) -> dict[str, float | None]:
    """Fit the weights of every converted layer to the outputs of the original, in place.

    Sequential and asymmetric (Zhang et al. 2015, "Accelerating Very Deep Convolutional Networks", §3.3; He et al.
    2017, "Channel Pruning", §3.2): the input is that of the converted network, whose earlier layers are fitted
    already, and the target what the original layer puts out on the original input, so that each layer makes up for
    the errors before it. Where the output goes into a sum with a shortcut, perhaps through a norm, the target is such
    that the sum comes out right, which makes up for the shortcut's errors as well; where a ReLU comes next, what it
    cuts off need not be met (:class:`dsft.conversion.factorization.Target`).

    The original runs once; a part of its outputs is kept. The converted network runs for each layer, up to it, from
    the latest module before it whose output was kept.

    Args:
        original: The dense network.
        converted: The converted copy, with weights to start from.
        plan: How it was converted.
        batches: Inputs as the network takes them.
        weightings: What a change of each kernel costs, by name.
        report: Receives the progress over the layers.

    Returns:
        The relative error that is left at the output of each layer, by name; None where nothing could be compared.

    Raises:
        ConversionError: A layer sees or puts out NaN or infinite values.
    """
    recorded = _record(original, plan, batches)
    reruns = Reruns(converted, batches, list(recorded), KEPT_BYTES // 2)
    errors = {}
    summary = f"refitted {plural(len(recorded), 'layer')}"
    with report_task(report, "refitting layers", len(recorded), "layers", summary) as advance:
        for done, (name, record) in enumerate(recorded.items(), start=1):
            layer = converted.get_submodule(name)
            assert isinstance(layer, DepthwiseSeparableConv | LowRankConv)  # noqa: S101 (the network was converted by this plan)
            try:
                regression = regression_of(layer, _dense(original, name), weightings[name])
                error_left = _refit_layer(name, layer, regression, record, reruns)
            except ConversionError as error:
                raise ConversionError(f"layer {name!r}: {error}") from error
            record.release()
            errors[name] = error_left
            advance(done, {} if error_left is None else {"error": error_left})
    return errors


@dataclass
class _Record:
    """What is known of one layer of the original, batch by batch, at chosen positions.

    Attributes:
        count: How many positions of a batch are looked at.
        outputs: What the convolution put out, ``(positions, channels)``.
        summands: What it was added to, of the same shape; None where it was not.
        is_repeated: The layer runs more than once in a pass; it is fitted to its first call.
        outlet: What is done to the outputs next; the summand that it names is that of the last batch.
    """

    count: int
    outputs: list[Tensor] = field(default_factory=list)
    summands: list[Tensor | None] = field(default_factory=list)
    is_repeated: bool = False
    outlet: Outlet = field(default_factory=Outlet)

    @property
    def has_sum(self) -> bool:
        """Whether the output goes into a sum, in every batch, that the layer itself is not a second part of."""
        return bool(self.summands) and all(each is not None for each in self.summands) and not self.is_repeated

    def release(self) -> None:
        """Forget the positions, when the layer is fitted."""
        self.outputs.clear()
        self.summands.clear()


def _record(original: nn.Module, plan: ConversionPlan, batches: Sequence[ExampleInput]) -> dict[str, _Record]:
    """Run the original, and return what is known of each layer, in the order in which they run."""
    modules = {layer.name: original.get_submodule(layer.name) for layer in plan.converted}
    # Outputs and summands of all layers are kept together, what a layer sees one at a time; four bytes a number.
    widest = max(_seen_by(layer, _dense(original, layer.name)) for layer in plan.converted)
    numbers = max(sum(2 * layer.weight_shape[0] for layer in plan.converted), widest)
    count = max(min(SAMPLES, KEPT_BYTES // (4 * numbers)) // len(batches), 1)
    recorded: dict[str, _Record] = {}
    for number, batch in enumerate(batches):

        def put_out(name: str, output: Tensor, number: int = number) -> None:
            record = recorded.setdefault(name, _Record(count))
            if len(record.outputs) > number:
                record.is_repeated = True
            else:
                record.outputs.append(take_positions(output, choose_positions(output, count, number)))

        def take(_: str, summand: Tensor, number: int = number) -> Tensor:
            return take_positions(summand, choose_positions(summand, count, number))

        def reached(name: str, outlet: Outlet) -> None:
            recorded[name].summands.append(outlet.summand)
            recorded[name].outlet = outlet

        with _outlets(modules, put_out, take, reached):
            run_example(original, batch)
    return recorded


def _seen_by(layer: LayerPlan, dense: Convolution) -> int:
    """Return how many numbers a layer's fit looks at, at each position."""
    positions = math.prod(layer.weight_shape[2:])
    kernels = sum(layer.kernels)
    if layer.structure is Structure.LOW_RANK:
        return kernels
    return positions * dense.in_channels + (kernels if layer.structure is Structure.DW_PW else positions * kernels)


def _dense(original: nn.Module, name: str) -> Convolution:
    module = original.get_submodule(name)
    assert isinstance(module, Convolution)  # noqa: S101 (the plan was made from this network)
    return module


def _refit_layer(
    name: str, layer: DepthwiseSeparableConv | LowRankConv, regression: Regression, record: _Record, reruns: Reruns
) -> float | None:
    # In one piece from the start, since joining pieces would hold them twice.
    seen, rows = torch.empty(0), 0
    samples: list[Sample] = []
    for number, output in enumerate(record.outputs):
        look_at = partial(_look_at, layer=layer, regression=regression, record=record, number=number)
        looked = reruns.run(name, number, look_at)
        # Boxes that were chosen otherwise, for example, give maps of other sizes: nothing can be compared there.
        if looked is not None and len(looked.features) == len(output):
            if not rows:
                seen = looked.features.new_empty(sum(map(len, record.outputs)), looked.features.shape[1])
            seen[rows : rows + len(output)] = looked.features
            rows += len(output)
            samples.append(Sample(output, record.summands[number], looked.summand))
    if not rows:
        return None
    outlet = record.outlet
    target = Target.of(samples, outlet.scale, outlet.shift, is_rectified=outlet.is_rectified)
    return target.relative_error(regression.fit(seen[:rows], target))


class _Seen(NamedTuple):
    """What a layer of the converted network saw in one batch, and what its output is added to there."""

    features: Tensor
    summand: Tensor | None


def _look_at(
    run: Callable[[], None],
    layer: DepthwiseSeparableConv | LowRankConv,
    regression: Regression,
    record: _Record,
    number: int,
) -> _Seen | None:
    """Look at a pass through the converted network up to a layer, or up to the sum that its output goes into."""
    features: list[Tensor] = []
    summands: list[Tensor] = []

    def begin(_: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        features.append(look(regression.look, inputs[0] if inputs else given["input"], record.count, number))
        if not record.has_sum:
            raise _ReachedError

    def take(_: str, summand: Tensor) -> Tensor:
        summands.append(take_positions(summand, choose_positions(summand, record.count, number)))
        raise _ReachedError

    def reached(*_: object) -> None:
        raise _ReachedError

    handle = layer.register_forward_pre_hook(begin, with_kwargs=True)
    try:
        with _outlets({"": layer}, lambda *_: None, take, reached):
            run()
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return _Seen(features[0], summands[0] if summands else None) if features else None


class _ReachedError(Exception):
    """The pass has come as far as it is needed."""


@contextmanager
def _outlets(
    modules: Mapping[str, nn.Module],
    put_out: Callable[[str, Tensor], None],
    take: Callable[[str, Tensor], Tensor],
    reached: Callable[[str, Outlet], None],
) -> Iterator[None]:
    """Watch what modules put out, and then where it goes; the functions get the name first."""
    names = {module: name for name, module in modules.items()}
    followed: set[nn.Module] = set()
    with OutletWatch(
        lambda module, summand: take(names[module], summand), lambda module, outlet: reached(names[module], outlet)
    ) as watch:

        def follow(module: nn.Module, _: object, output: Tensor) -> None:
            # Before it is followed, since what looks at it reads it.
            put_out(names[module], output)
            if module not in followed:
                followed.add(module)
                watch.follow(module, output)

        handles = [module.register_forward_hook(follow) for module in modules.values()]
        try:
            yield
            watch.finish()
        finally:
            for handle in handles:
                handle.remove()
