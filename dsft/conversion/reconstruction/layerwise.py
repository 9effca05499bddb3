"""Layer-wise reconstruction: fit each converted layer to the output of the original one, in execution order."""

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
from dsft.conversion.factorization import LayerSamples, RegressionTarget, Weighting
from dsft.conversion.plan import ConversionPlan, LayerPlan
from dsft.conversion.reconstruction.calibration_data import gather_positions, sample_maps, sample_positions
from dsft.conversion.reconstruction.partial_forward import PartialForward
from dsft.conversion.reconstruction.regression import LayerRegression, make_regression
from dsft.conversion.reconstruction.residual_targets import Epilogue, EpilogueTracer
from dsft.errors import ConversionError
from dsft.measure.example import ExampleInput, batch_size_of, run_example
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task
from dsft.separable import FactoredConv

SAMPLES = 32768
"""Positions of a layer's feature maps, over all images, that its fit uses."""

MEMORY_LIMIT = 1 << 29
"""Bytes for the samples of the original's outputs, of all layers together, and as many again for the features of the
layer being fitted. Fewer positions are used if they do not fit. A quarter more is for cached activations of the
converted network. The memory of a reconstruction is bounded by these three."""


def reconstruct_layers(
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
    already, and the target is the output of the original layer on the original input. Each layer thus compensates for
    the errors before it. If the output is added to a shortcut, possibly after a batch norm, the target is the output
    that makes the sum correct, which also compensates for the error of the shortcut. If a ReLU follows, negative
    values only have to stay negative (:class:`dsft.conversion.factorization.RegressionTarget`).

    The original runs once, and samples of its outputs are kept. The converted network runs once per layer and batch,
    up to that layer, starting from the latest cached activation before it.

    Args:
        original: The dense network.
        converted: The converted copy, with initial weights.
        plan: How it was converted.
        batches: Inputs as the network takes them.
        weightings: Second moments of each layer's input and gradient, by name.
        report: Receives the progress over the layers.

    Returns:
        The relative error that remains at the output of each layer, by name; None if nothing could be compared.

    Raises:
        ConversionError: A layer has NaN or infinite values in its input or output.
    """
    recorded = _record(original, plan, batches)
    passes = PartialForward(converted, batches, list(recorded), MEMORY_LIMIT // 4)
    errors = {}
    images = plural(sum(map(batch_size_of, batches)), "input")
    summary = f"refitted {plural(len(recorded), 'layer')} on {images}"
    with report_task(report, "refitting layers", len(recorded), "layers", summary) as advance:
        for done, (name, record) in enumerate(recorded.items(), start=1):
            layer = _converted_layer(converted, name)
            try:
                regression = make_regression(layer, _dense(original, name), weightings[name])
                error_left = _fit_layer(name, layer, regression, record, passes)
            except ConversionError as error:
                raise ConversionError(f"layer {name!r}: {error}") from error
            record.clear()
            errors[name] = error_left
            advance(done, {} if error_left is None else {"error": error_left})
    return errors


@dataclass
class _Record:
    """Samples of one layer of the original at random positions, by the number of the batch in which it runs.

    Attributes:
        count: Number of positions in a batch.
        outputs: Outputs of the convolution, ``(positions, channels)``.
        summands: What they were added to, of the same shape; None without a sum.
        is_repeated: Whether the layer runs more than once in a pass; it is fitted to its first call.
        epilogue: The operations that follow; its summand is that of the last batch.
    """

    count: int
    outputs: dict[int, Tensor] = field(default_factory=dict)
    summands: dict[int, Tensor | None] = field(default_factory=dict)
    is_repeated: bool = False
    epilogue: Epilogue = field(default_factory=Epilogue)

    @property
    def has_sum(self) -> bool:
        """Whether the output is added to something in every batch, other than to an output of the same layer."""
        summands = self.summands.values()
        return bool(summands) and all(each is not None for each in summands) and not self.is_repeated

    def add_output(self, number: int, output: Tensor) -> None:
        """Add the samples of a batch, unless an earlier call of the layer gave them."""
        if number in self.outputs:
            self.is_repeated = True
        else:
            self.outputs[number] = gather_positions(output, sample_positions(output, self.count, number))

    def set_epilogue(self, number: int, epilogue: Epilogue) -> None:
        """Set the epilogue of a batch; a later one of the same batch replaces it."""
        self.summands[number] = epilogue.summand
        self.epilogue = epilogue

    def clear(self) -> None:
        """Free the samples, when the layer is fitted."""
        self.outputs.clear()
        self.summands.clear()


def _record(original: nn.Module, plan: ConversionPlan, batches: Sequence[ExampleInput]) -> dict[str, _Record]:
    """Run the original, and return the samples of each layer, in the order in which the layers run."""
    if not plan.converted:
        return {}
    modules = {layer.name: original.get_submodule(layer.name) for layer in plan.converted}
    # Outputs and summands of all layers are kept together, the features of one layer at a time; four bytes each.
    widest = max(_feature_count(layer, _dense(original, layer.name)) for layer in plan.converted)
    numbers = max(sum(2 * _dense(original, layer.name).out_channels for layer in plan.converted), widest)
    count = max(min(SAMPLES, MEMORY_LIMIT // (4 * numbers)) // len(batches), 1)
    recorded: dict[str, _Record] = {}
    for number, batch in enumerate(batches):

        def on_output(name: str, output: Tensor, number: int = number) -> None:
            recorded.setdefault(name, _Record(count)).add_output(number, output)

        def record_summand(_: str, summand: Tensor, number: int = number) -> Tensor:
            return gather_positions(summand, sample_positions(summand, count, number))

        def on_end(name: str, epilogue: Epilogue, number: int = number) -> None:
            recorded[name].set_epilogue(number, epilogue)

        with _epilogues(modules, on_output, record_summand, on_end):
            run_example(original, batch)
    return recorded


def _feature_count(layer: LayerPlan, dense: Convolution) -> int:
    """Return how many numbers the fit of a layer uses at each position."""
    positions = math.prod(dense.kernel_size)
    kernels = sum(layer.kernels)
    if layer.structure is Structure.LOW_RANK:
        return kernels
    # pw_dw applies its pointwise convolution to whole patches.
    return positions * dense.in_channels + (positions * kernels if layer.structure is Structure.PW_DW else kernels)


def _dense(original: nn.Module, name: str) -> Convolution:
    module = original.get_submodule(name)
    if not isinstance(module, Convolution):
        raise TypeError(f"{name}: expected a convolution, found {type(module).__name__}")
    return module


def _converted_layer(converted: nn.Module, name: str) -> FactoredConv:
    module = converted.get_submodule(name)
    if not isinstance(module, FactoredConv):
        raise TypeError(f"{name}: expected a converted layer, found {type(module).__name__}")
    return module


def _fit_layer(
    name: str,
    layer: FactoredConv,
    regression: LayerRegression,
    record: _Record,
    passes: PartialForward,
) -> float | None:
    # Allocated at once, since joining pieces would need twice the memory.
    features, rows = torch.empty(0), 0
    samples: list[LayerSamples] = []
    for number, output in record.outputs.items():
        observe = partial(_observe, layer=layer, regression=regression, record=record, number=number)
        observed = passes.run(name, number, observe)
        # Feature maps of another size, such as those of boxes that were chosen differently, cannot be compared.
        if observed is not None and len(observed.features) == len(output):
            if not rows:
                total = sum(map(len, record.outputs.values()))
                features = observed.features.new_empty(total, observed.features.shape[1])
            features[rows : rows + len(output)] = observed.features
            rows += len(output)
            samples.append(LayerSamples(output, record.summands[number], observed.summand))
    if not rows:
        return None
    epilogue = record.epilogue
    target = RegressionTarget.of(samples, epilogue.scale, epilogue.shift, is_rectified=epilogue.is_rectified)
    return target.relative_error(regression.fit(features[:rows], target))


class _Observed(NamedTuple):
    """The features of a layer of the converted network in one batch, and what its output is added to."""

    features: Tensor
    summand: Tensor | None


def _observe(
    run: Callable[[], None],
    layer: FactoredConv,
    regression: LayerRegression,
    record: _Record,
    number: int,
) -> _Observed | None:
    """Run the converted network up to a layer, or up to the sum that its output goes into, and sample both."""
    features: list[Tensor] = []
    summands: list[Tensor] = []

    def on_input(_: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        images = inputs[0] if inputs else given["input"]
        features.append(sample_maps(regression.features, images, record.count, number))
        if not record.has_sum:
            raise _ReachedError

    def record_summand(_: str, summand: Tensor) -> Tensor:
        summands.append(gather_positions(summand, sample_positions(summand, record.count, number)))
        raise _ReachedError

    def on_end(*_: object) -> None:
        raise _ReachedError

    handle = layer.register_forward_pre_hook(on_input, with_kwargs=True)
    try:
        with _epilogues({"": layer}, lambda *_: None, record_summand, on_end):
            run()
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return _Observed(features[0], summands[0] if summands else None) if features else None


class _ReachedError(Exception):
    """Ends a forward pass that has come far enough."""


@contextmanager
def _epilogues(
    modules: Mapping[str, nn.Module],
    on_output: Callable[[str, Tensor], None],
    record_summand: Callable[[str, Tensor], Tensor],
    on_end: Callable[[str, Epilogue], None],
) -> Iterator[None]:
    """Trace the outputs of modules; the functions are called as those of :class:`EpilogueTracer`, with the name."""
    names = {module: name for name, module in modules.items()}
    followed: set[nn.Module] = set()
    with EpilogueTracer(
        lambda module, summand: record_summand(names[module], summand),
        lambda module, epilogue: on_end(names[module], epilogue),
    ) as tracer:

        def follow(module: nn.Module, _: object, output: Tensor) -> None:
            # Before the output is followed, since this reads it.
            on_output(names[module], output)
            if module not in followed:
                followed.add(module)
                tracer.follow(module, output)

        handles = [module.register_forward_hook(follow) for module in modules.values()]
        try:
            yield
            tracer.finish()
        finally:
            for handle in handles:
                handle.remove()
