"""How long layers take, what may stand in their place, and the network as a whole: measured on the device at hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dsft.choices import Form, Runtime, Structure
from dsft.conversion.apply import apply_plan
from dsft.conversion.discovery.dense_kernel import low_rank_class_of, separable_class_of
from dsft.conversion.discovery.preconditions import copied
from dsft.conversion.discovery.sites import Site
from dsft.conversion.plan import ConversionPlan
from dsft.conversion.planning.candidates import Bid, SeparableBid
from dsft.devices import Compute
from dsft.measure.example import ExampleInput
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task
from dsft.runtimes import LatencyTable, compare_latency
from dsft.separable import allowed_forms

GRID = (0.5, 1.0, 2.0, 3.0)
"""Kernels for each channel at which a layer is measured; between them times are interpolated."""

LARGEST = 0.6
"""Share of the dense multiply-accumulates up to which a layer is measured. What needs more of them is no faster: a
depthwise convolution makes less of a processor than a dense one does."""

FORM_MARGIN = 0.95
"""A form must take less than this share of the first one's time to be taken instead."""

FASTER = 0.97
"""A layer must take less than this share of the dense one's time to count as faster, since equals measure unequal."""

NETWORK_SECONDS = 2.0
"""How long a comparison of whole networks lasts."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """What may stand in the place of a convolution."""

    structure: Structure
    kernels: tuple[int, ...]
    form: Form | None

    def __str__(self) -> str:
        # Which channels have how many kernels makes no difference to the time, so layers share what was measured.
        counts = ",".join(f"{number}*{kernels}" for kernels, number in sorted(Counter(self.kernels).items()))
        return f"{self.structure} {counts} {self.form}"


class Clock:
    """Measures layers and whole networks; what it measured of layers is kept on disk.

    Args:
        compute: The device, number format and layout.
        runtime: What runs what is measured.
        norm_between: A norm and an activation stand between the two convolutions of each separable layer.
        report: Receives the progress over the layers, and notes about the table on disk.
    """

    def __init__(
        self, compute: Compute, runtime: Runtime = Runtime.EAGER, *, norm_between: bool = False, report: Report = ignore
    ) -> None:
        self.compute, self.runtime = compute, runtime
        self._norm_between, self._report = norm_between, report
        self._table = LatencyTable(compute, runtime, report)

    def choose_form(self, site: Site, kernels: tuple[int, ...], forms: Sequence[Form]) -> Form:
        """Choose the form that measures fastest.

        The first form is taken unless another is clearly faster, so that equals do not change from run to run.
        """
        _, times = self.compare(site, [Candidate(Structure.DW_PW, kernels, form) for form in forms])
        best = int(np.argmin(times))
        return forms[best] if times[best] < FORM_MARGIN * times[0] else forms[0]

    def compare(self, site: Site, candidates: Sequence[Candidate]) -> tuple[float, Floats]:
        """Return the time of a convolution and of what may stand in its place, in milliseconds, over all its calls."""
        total, times = 0.0, np.zeros(len(candidates))
        names = [f"{candidate}{' norm' if self._norm_between else ''}" for candidate in candidates]
        builders = {
            name: partial(self._build, site, candidate) for name, candidate in zip(names, candidates, strict=True)
        }
        dtype = site.module.weight.dtype
        kind = " ".join(repr(site.module).split())
        for shape, calls in Counter(site.input_shapes).items():
            subject = f"{kind} {str(dtype).removeprefix('torch.')} {'x'.join(map(str, shape))}"
            dense, others = self._table.times(
                subject, partial(copied, site.module), builders, partial(torch.zeros, shape, dtype=dtype)
            )
            total += calls * dense
            times += calls * np.array([others[name] for name in names])
        return total, times

    def measure(self, layers: Sequence[Sequence[Bid]]) -> None:
        """Measure the sizes of all bids of each layer, in one comparison, before their times are asked for."""
        summary = f"timed the candidates of {plural(len(layers), 'layer')}"
        with report_task(self._report, "timing candidates", len(layers), "layers", summary) as advance:
            for done, bids in enumerate(layers, start=1):
                sizes = [(bid, size) for bid in bids for size in self._grid(bid)]
                self.compare(bids[0].site, [each for bid, size in sizes for each in self._candidates(bid, size)])
                advance(done)

    def time_dense(self, site: Site) -> float:
        """Return the time of a convolution, in milliseconds, over all its calls."""
        return self.compare(site, [])[0]

    def time_bid(self, bid: Bid, steps: NDArray[np.int64]) -> Floats:
        """Return the time of what a bid makes of its layer at each number of steps, in milliseconds.

        A few sizes are measured, each in the forms that it can take, of which the fastest counts. Beyond the largest
        the time is infinite.
        """
        sizes = self._grid(bid)
        best = [self.compare(bid.site, self._candidates(bid, size))[1].min() for size in sizes]
        return _interpolate(steps * bid.step_kernels, sizes, best)

    def are_faster(self, bid: Bid, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether what a bid makes of its layer would be clearly faster than it, at each number of steps."""
        return self.time_bid(bid, steps) < FASTER * self.time_dense(bid.site)

    def is_faster(self, site: Site, candidate: Candidate) -> bool:
        """Whether a layer would be clearly faster than the convolution whose place it takes."""
        dense, (time,) = self.compare(site, [candidate])
        return bool(time < FASTER * dense)

    def time_network(self, model: nn.Module, example_input: ExampleInput) -> float:
        """Return the time of a whole network, in milliseconds."""
        (time,) = compare_latency([model], [example_input], self.compute, NETWORK_SECONDS, self.runtime)
        return time

    def share_left(self, model: nn.Module, example_input: ExampleInput, plan: ConversionPlan) -> float:
        """Return the time of what a plan makes of a network over that of the network, measured in turn."""
        if not plan.converted:
            return 1.0
        # What the weights are makes no difference, so drawing them shall not move the caller's random numbers on.
        with torch.random.fork_rng(devices=[self.compute.device] if self.compute.device.type == "cuda" else []):
            converted = apply_plan(copied(model), plan)
        pair = [model, converted]
        before, after = compare_latency(pair, [example_input] * 2, self.compute, NETWORK_SECONDS, self.runtime)
        return after / before

    def _build(self, site: Site, candidate: Candidate) -> nn.Module:
        if candidate.structure is Structure.LOW_RANK:
            return low_rank_class_of(site.module).like(site.module, candidate.kernels)
        return separable_class_of(site.module).like(
            site.module, candidate.kernels, candidate.structure, candidate.form, norm_between=self._norm_between
        )

    def _grid(self, bid: Bid) -> list[int]:
        """Return the numbers of kernels at which a bid is measured, of those that it can have, ascending."""
        largest = math.floor(LARGEST * bid.site.macs / bid.kernel_macs / bid.step_kernels)
        last = max(min(int(bid.steps[-1]), largest), int(bid.steps[0]))
        if isinstance(bid, SeparableBid):
            wanted = [round(each * len(bid.energies) / bid.step_kernels) for each in GRID]
        else:
            wanted = [last // 4, last // 2]
        steps = {min(max(each, int(bid.steps[0])), last) for each in wanted} | {last}
        return [step * bid.step_kernels for step in sorted(steps)]

    def _candidates(self, bid: Bid, size: int) -> list[Candidate]:
        if not isinstance(bid, SeparableBid):
            return [Candidate(Structure.LOW_RANK, bid.kernels_at(size // bid.step_kernels), None)]
        module = bid.site.module
        kernels = _typical_kernels(bid, size)
        forms = allowed_forms(
            kernels, module.groups, bid.structure, transposed=module.transposed, norm_between=self._norm_between
        )
        # Of equal numbers a gather copies what concatenation copies, in smaller pieces.
        forms = tuple(form for form in forms if form is not Form.GATHER or Form.CONCATENATE not in forms)
        return [Candidate(bid.structure, kernels, form) for form in forms or (None,)]


def _typical_kernels(bid: SeparableBid, size: int) -> tuple[int, ...]:
    """Return numbers of kernels as a decomposition buys them: unequal by one or two where they may be unequal."""
    channels, ranks = bid.energies.shape
    groups = len(bid.bought)
    width, total = channels // groups, size // groups
    block = [total // width + (place < total % width) for place in range(width)]
    least = int(bid.structure is Structure.PW_DW)
    if bid.step < width:
        for rich, poor in zip(range(0, width - 1, 4), range(1, width, 4), strict=False):
            if block[poor] > least and block[rich] < ranks:
                block[rich], block[poor] = block[rich] + 1, block[poor] - 1
    return tuple(block) * groups


def _interpolate(kernels: NDArray[np.int64], sizes: Sequence[int], times: Sequence[float]) -> Floats:
    """Interpolate between the sizes; what is beyond them takes too long."""
    return np.interp(kernels, sizes, times, right=np.inf)
