"""Choosing the form in which an input channel reaches several kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dsft.choices import Form, Order
from dsft.devices import Compute
from dsft.measure import compare_latency
from dsft.surgery.dense import separable_class_of
from dsft.surgery.sites import Site

FormChoice = Callable[[Site, tuple[int, ...], Sequence[Form]], Form]
"""Choose the form of a layer with so many kernels for each input channel among those that it can take, of which the
first is the one to take where nothing is known."""

SECONDS = 0.1
"""How long the comparison of one layer's forms lasts."""

MARGIN = 0.95
"""A form must take less than this share of the first one's time to be taken instead."""


def first_form(site: Site, kernels: tuple[int, ...], forms: Sequence[Form]) -> Form:  # noqa: ARG001
    """Choose by rule alone: concatenation where all channels have equal numbers of kernels, else a gather."""
    return forms[0]


def measured_form(compute: Compute) -> FormChoice:
    """Return a choice that times each form with the layer's own shapes, number format and layout.

    The first form is taken unless another is clearly faster, so that equals do not change from run to run. Layers
    that are alike are measured once.

    Args:
        compute: The device, number format and layout.
    """
    known: dict[tuple[object, ...], Form] = {}

    def choose(site: Site, kernels: tuple[int, ...], forms: Sequence[Form]) -> Form:
        module = site.module
        key = (str(module), module.weight.dtype, site.input_shapes[0], kernels)
        if key not in known:
            known[key] = _fastest(site, kernels, forms, compute)
        return known[key]

    return choose


def fixed_form(form: Form) -> FormChoice:
    """Return a choice that is one form wherever a layer can take it."""

    def choose(site: Site, kernels: tuple[int, ...], forms: Sequence[Form]) -> Form:  # noqa: ARG001
        return form if form in forms else forms[0]

    return choose


def _fastest(site: Site, kernels: tuple[int, ...], forms: Sequence[Form], compute: Compute) -> Form:
    module = site.module
    build = separable_class_of(module).like
    images = compute.place(torch.zeros(site.input_shapes[0], dtype=module.weight.dtype))
    # The weights do not matter, so drawing them shall not move the caller's random numbers on.
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        layers = [build(module, kernels, Order.DW_PW, form).to(images.device) for form in forms]
    if compute.channels_last and images.dim() == 4:
        for layer in layers:
            layer.to(memory_format=torch.channels_last)
    times = dict(zip(forms, compare_latency(layers, [images] * len(layers), compute, SECONDS), strict=True))
    best = min(forms, key=times.__getitem__)
    return best if times[best] < MARGIN * times[forms[0]] else forms[0]
