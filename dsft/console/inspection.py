"""Table of the layers of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from dsft.choices import Reason, Structure
from dsft.console.tables import build_table
from dsft.number_format import count

if TYPE_CHECKING:
    from dsft.conversion import InspectedLayer, Inspection

_CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d")


def inspection_table(inspection: Inspection, title: str) -> Table:
    """List every layer: its type, its cost, and what one depthwise kernel per channel would save."""
    numbers = ["params", "MACs", "share", "saved"]
    total = inspection.macs or 1
    rows = [
        [
            layer.name or "(root)",
            _kind(layer),
            _shape(layer.output_shape),
            count(layer.params),
            count(layer.macs),
            f"{layer.macs / total:.1%}",
            count(layer.rank1_saving) if layer.convertible else "-",
            _prospect(layer),
        ]
        for layer in inspection.layers
    ]
    saved = inspection.macs - inspection.rank1_macs
    footer = ["network", "", "", count(inspection.params), count(inspection.macs), "100.0%", count(saved)]
    return build_table(
        ["layer", "type", "output", *numbers, "why not"],
        rows,
        numbers=numbers,
        title=f"{title}. Saved: MACs that one depthwise kernel per channel (rank 1) would save",
        footer=[*footer, f"x {inspection.rank1_macs / total:.3f}"],
    )


def _kind(layer: InspectedLayer) -> str:
    if not layer.kernel_size:
        return layer.kind
    size = "x".join(map(str, layer.kernel_size))
    # The names of the classes of dsft are long, and end with the number of dimensions.
    short = layer.kind.replace("DepthwiseSeparableConv", "separable ").replace("LowRankConv", "low rank ")
    short = short.replace("PointwiseDepthwisePointwiseConv", "pw-dw-pw ")
    name = "conv" if layer.kind in _CONVOLUTIONS else short
    stride = f" /{'x'.join(map(str, dict.fromkeys(layer.stride)))}" if set(layer.stride) != {1} else ""
    groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
    return f"{name} {size}{stride}{groups}"


def _size(layer: InspectedLayer) -> str:
    """Return the depthwise kernels per channel of a converted layer, or its rank."""
    if layer.structure is Structure.PW_DW_PW:
        return f"width {layer.kernels}"
    if layer.structure is Structure.LOW_RANK or not layer.input_shape:
        return f"rank {layer.kernels}"
    channels = (layer.input_shape if layer.structure is Structure.DW_PW else layer.output_shape)[0]
    return f"{(layer.kernels or 0) / channels:.1f} kernels per channel"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "-"


def _prospect(layer: InspectedLayer) -> str:
    """Return why a layer cannot be converted; empty if it can."""
    if layer.kernels is not None:
        return f"converted: {layer.structure}, {_size(layer)}"
    if layer.convertible:
        return "" if layer.rank1_saving else Reason.NOT_CHEAPER.message
    return layer.reason.message if layer.reason is not None else "no convolution"
