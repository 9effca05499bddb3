"""What convolutions can look like, drawn for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dsft.choices import Form
from dsft.separable import DepthwiseSeparableConv, FactoredConv


def in_form(layer: DepthwiseSeparableConv, form: Form) -> DepthwiseSeparableConv:
    """Return a layer of the same function in another form."""
    twin = layer.like(layer, layer.kernels, layer.order, form, norm_between=layer.norm_between)
    twin.load_state_dict(layer.state_dict())
    twin.set_factors(*layer.factors())
    return twin


MODES = ["zeros", "reflect", "replicate", "circular"]
SIZES = {1: (17,), 2: (14, 13), 3: (8, 7, 9)}


def tuples(draw: st.DrawFn, dimensions: int, low: int, high: int) -> tuple[int, ...]:
    return draw(st.tuples(*[st.integers(low, high)] * dimensions))


@st.composite
def geometries(draw: st.DrawFn, kind: type[FactoredConv]) -> dict[str, Any]:
    """Draw what a dense and a separable layer have in common."""
    n, most = kind.dimensions, 2 if kind.dimensions == 3 else 3
    groups = draw(st.integers(1, 3))
    geometry = {
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": tuples(draw, n, 1, most + 1),
        "dilation": tuples(draw, n, 1, most - 1),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if kind.transposed:
        stride = tuples(draw, n, 1, 3)
        shift = tuple(draw(st.integers(0, step - 1)) for step in stride)
        return {**geometry, "stride": stride, "padding": tuples(draw, n, 0, 1), "output_padding": shift}
    if draw(st.booleans()):
        padding: dict[str, Any] = {"padding": "same"}
    else:
        padding = {"padding": tuples(draw, n, 0, 2), "stride": tuples(draw, n, 1, most)}
    return {**geometry, **padding, "padding_mode": draw(st.sampled_from(MODES))}
