"""The layers of a network: what each costs, and what a conversion could save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dsft.choices import Reason, Structure
from dsft.compat.torch_convolution import Convolution
from dsft.compat.torch_pytree import tree_leaves
from dsft.conversion.discovery.sites import Site, find_sites
from dsft.conversion.structures.separable import separable_kernel_macs
from dsft.measure import batch_size_of, count_parameters
from dsft.measure.cost import counting_macs
from dsft.measure.example import ExampleInput, run_example
from dsft.separable import DepthwiseSeparableConv, FactoredConv

Shape = tuple[int, ...]


@dataclass(frozen=True)
class InspectedLayer:
    """One layer, its cost, and what a conversion could save.

    Attributes:
        name: Its dotted name; the first one where the module has several.
        kind: Its class.
        kernel_size: Of a convolution; empty for any other layer.
        stride: Of a convolution; empty for any other layer.
        groups: Of a convolution; 1 for any other layer.
        input_shape: Shape of the input of the first call, without the batch; empty where the layer is not run.
        output_shape: The same of the output.
        macs: Multiply-accumulates for one image.
        params: Parameters.
        convertible: Whether it can be converted to a separable layer.
        reason: Why not; None where it is convertible or not a convolution.
        kernels: Depthwise kernels of a separable layer, or the rank of a low-rank layer, over all groups; None for any
            other layer.
        structure: Structure of a converted layer; None for any other.
        order: The same where it is ``dw_pw`` or ``pw_dw``.
        rank1_macs: Multiply-accumulates with one depthwise kernel per channel, in the cheaper order; None where it is
            not convertible.
    """

    name: str
    kind: str
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int
    input_shape: Shape
    output_shape: Shape
    macs: int
    params: int
    convertible: bool
    reason: Reason | None
    kernels: int | None
    structure: Structure | None
    order: Structure | None
    rank1_macs: int | None

    @property
    def rank1_saving(self) -> int:
        """Multiply-accumulates that rank 1 would save; 0 where it would cost more."""
        return max(self.macs - self.rank1_macs, 0) if self.rank1_macs is not None else 0


@dataclass(frozen=True)
class Inspection:
    """The layers of a network with weights of two or more dimensions, and the costs of the whole network.

    Attributes:
        layers: The layers in the order of the network's definition.
        macs: Multiply-accumulates of the network for one image, including operations without weights, such as
            attention.
        params: Parameters of the network, with each shared one counted once, including those of norms.
    """

    layers: tuple[InspectedLayer, ...]
    macs: int
    params: int

    @property
    def rank1_macs(self) -> int:
        """Multiply-accumulates of the network if every layer that gains from it is converted at rank 1."""
        return self.macs - sum(layer.rank1_saving for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the inspection as JSON values; ``share`` is a layer's fraction of the multiply-accumulates."""
        layers = [
            {**vars(layer), "share": layer.macs / (self.macs or 1), "rank1_saving": layer.rank1_saving}
            for layer in self.layers
        ]
        return {"macs": self.macs, "params": self.params, "rank1_macs": self.rank1_macs, "layers": layers}


def inspect_layers(model: nn.Module, example_input: ExampleInput) -> Inspection:
    """List the layers of a network with their shapes, costs and possible savings.

    Args:
        model: Any module, converted or not, with weights or on the meta device; it is run twice in evaluation mode
            and not changed.
        example_input: Its input; see :func:`dsft.measure.example.run_example`.
    """
    layers = _layers(model)
    seen = {layer: _Calls() for layer in layers.values()}
    with counting_macs(model) as counter, _recording(seen, counter):
        run_example(model, example_input)
    sites = {site.name: site for site in find_sites(model, example_input)}
    batch = batch_size_of(example_input)
    inspected = tuple(_inspect_layer(name, layer, seen[layer], sites, batch) for name, layer in layers.items())
    return Inspection(inspected, int(counter.get_total_flops()) // 2 // batch, count_parameters(model))


@dataclass
class _Calls:
    """Operations and shapes of a layer in the forward pass, over all its calls."""

    flops: int = 0
    started: int = 0
    shapes: list[tuple[Shape, Shape]] = field(default_factory=list)


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the converted layers, without their parts, and every other module with a kernel or a matrix."""
    whole = [name for name, module in model.named_modules() if isinstance(module, FactoredConv)]
    inner = tuple(f"{name}." if name else "" for name in whole)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, FactoredConv) or (not (inner and name.startswith(inner)) and _has_matrix(module))
    }


def _has_matrix(module: nn.Module) -> bool:
    # A convolution whose weight is computed from other parameters has no weight itself.
    return isinstance(module, Convolution) or any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


@contextmanager
def _recording(seen: Mapping[nn.Module, _Calls], counter: FlopCounterMode) -> Iterator[None]:
    def begin(layer: nn.Module, _: Any) -> None:
        seen[layer].started = int(counter.get_total_flops())

    def end(layer: nn.Module, inputs: tuple[Any, ...], given: Mapping[str, Any], output: Any) -> None:
        entry = seen[layer]
        entry.flops += int(counter.get_total_flops()) - entry.started
        entry.shapes.append((_shape_of((inputs, given)), _shape_of(output)))

    handles = [layer.register_forward_pre_hook(begin) for layer in seen]
    handles += [layer.register_forward_hook(end, with_kwargs=True) for layer in seen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shape_of(values: Any) -> Shape:
    """Return the shape of the first tensor in a structure, without its batch."""
    return next((tuple(leaf.shape[1:]) for leaf in tree_leaves(values) if isinstance(leaf, Tensor)), ())


def _inspect_layer(name: str, layer: nn.Module, seen: _Calls, sites: Mapping[str, Site], batch: int) -> InspectedLayer:
    is_converted = isinstance(layer, FactoredConv)
    is_conv = is_converted or isinstance(layer, Convolution)
    site = None if is_converted else sites.get(name)
    rank1 = _rank1_macs(site) if site is not None and site.obstacle is None else None
    input_shape, output_shape = seen.shapes[0] if seen.shapes else ((), ())
    return InspectedLayer(
        name=name,
        kind=type(layer).__name__,
        kernel_size=tuple(getattr(layer, "kernel_size", ())) if is_conv else (),
        stride=tuple(getattr(layer, "stride", ())) if is_conv else (),
        groups=int(getattr(layer, "groups", 1)) if is_conv else 1,
        input_shape=input_shape,
        output_shape=output_shape,
        macs=seen.flops // 2 // batch,
        params=count_parameters(layer) if is_conv else _own_parameters(layer),
        convertible=rank1 is not None,
        reason=site.obstacle if site is not None else None,
        kernels=sum(layer.kernels) if isinstance(layer, FactoredConv) else None,
        structure=layer.structure if isinstance(layer, FactoredConv) else None,
        order=layer.order if isinstance(layer, DepthwiseSeparableConv) else None,
        rank1_macs=rank1,
    )


def _own_parameters(layer: nn.Module) -> int:
    # Submodules with matrices are layers of their own.
    return sum(parameter.numel() for parameter in layer.parameters(recurse=False))


def _rank1_macs(site: Site) -> int:
    channels = {Structure.DW_PW: site.module.in_channels, Structure.PW_DW: site.module.out_channels}
    return min(count * separable_kernel_macs(site, structure) for structure, count in channels.items())
