"""Latency of layers, of their candidates and of whole networks, measured on a device."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dsft.choices import Form, Runtime
from dsft.conversion.apply import replay_plan
from dsft.conversion.discovery.preconditions import copy_network
from dsft.conversion.discovery.sites import Site
from dsft.conversion.plan import ConversionPlan, Replacement
from dsft.conversion.structures import STRUCTURES, Candidate
from dsft.devices import Compute
from dsft.measure.example import ExampleInput
from dsft.number_format import plural
from dsft.progress import Report, ignore, report_task
from dsft.runtimes import LatencyTable, compare_latency

LARGEST = 0.6
"""Share of the dense multiply-accumulates up to which a layer is timed. Larger sizes are not faster, since a depthwise
convolution uses a processor less well than a dense one."""

FORM_MARGIN = 0.95
"""A form must take less than this share of the first one's time to be chosen instead."""

FASTER = 0.97
"""A layer must take less than this share of the dense one's time to count as faster: measurements are noisy."""

NETWORK_SECONDS = 2.0
"""Duration of a comparison of whole networks."""

Floats = NDArray[np.float64]


class LayerLatency:
    """Times layers and whole networks on a device. The times of layers are stored on disk.

    Args:
        compute: The device, data type and memory layout.
        runtime: Runtime for the measurements.
        threads: Number of threads per operator.
        norm_between: A norm and an activation stand between the two convolutions of each separable layer.
        report: Receives the progress over the layers, and notes about the stored table.
    """

    def __init__(
        self,
        compute: Compute,
        runtime: Runtime = Runtime.EAGER,
        threads: int = 1,
        *,
        norm_between: bool = False,
        report: Report = ignore,
    ) -> None:
        self.compute, self.runtime, self.threads = compute, runtime, threads
        self._norm_between, self._report = norm_between, report
        self._table = LatencyTable(compute, runtime, report, threads)

    def choose_form(self, site: Site, replacement: Replacement, forms: Sequence[Form]) -> Form:
        """Return the form in which a layer is fastest.

        The first form is returned unless another is clearly faster, so that equal forms do not change from run to run.
        """
        _, times = self.compare(site, [replace(replacement, form=form) for form in forms])
        best = int(np.argmin(times))
        return forms[best] if times[best] < FORM_MARGIN * times[0] else forms[0]

    def compare(self, site: Site, replacements: Sequence[Replacement]) -> tuple[float, Floats]:
        """Return the times of a convolution and of its replacements, in milliseconds, summed over all its calls."""
        total, times = 0.0, np.zeros(len(replacements))
        names = [self._subject_of(replacement) for replacement in replacements]
        builders = {
            name: partial(self._build, site, replacement) for name, replacement in zip(names, replacements, strict=True)
        }
        dtype = site.module.weight.dtype
        kind = " ".join(repr(site.module).split())
        for shape, calls in Counter(site.input_shapes).items():
            subject = f"{kind} {str(dtype).removeprefix('torch.')} {'x'.join(map(str, shape))}"
            dense, others = self._table.times(
                subject, partial(copy_network, site.module), builders, partial(torch.zeros, shape, dtype=dtype)
            )
            total += calls * dense
            times += calls * np.array([others[name] for name in names])
        return total, times

    def measure(self, layers: Sequence[Sequence[Candidate]]) -> None:
        """Time the sizes of all candidates of each layer in one comparison, before they are asked for one by one."""
        summary = f"timed the candidates of {plural(len(layers), 'layer')}"
        with report_task(self._report, "timing candidates", len(layers), "layers", summary) as advance:
            for done, candidates in enumerate(layers, start=1):
                sizes = [(each, steps) for each in candidates for steps in self._timed_sizes(each)]
                timed = [one for each, steps in sizes for one in self._replacements(each, steps)]
                self.compare(candidates[0].site, timed)
                advance(done)

    def time_dense(self, site: Site) -> float:
        """Return the time of a convolution, in milliseconds, summed over all its calls."""
        return self.compare(site, [])[0]

    def time_candidate(self, candidate: Candidate, steps: NDArray[np.int64]) -> Floats:
        """Return the times of a candidate at numbers of steps, in milliseconds, ``(options,)``.

        A few sizes are timed, each in all the forms that it supports, of which the fastest counts. Beyond the largest
        timed size the time is infinite.
        """
        sizes = self._timed_sizes(candidate)
        best = [self.compare(candidate.site, self._replacements(candidate, size))[1].min() for size in sizes]
        return _interpolate(steps, sizes, best)

    def are_faster(self, candidate: Candidate, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether a candidate would be clearly faster than its convolution, at numbers of steps."""
        return self.time_candidate(candidate, steps) < FASTER * self.time_dense(candidate.site)

    def is_faster(self, site: Site, replacement: Replacement) -> bool:
        """Return whether a layer would be clearly faster than the convolution that it replaces."""
        dense, (time,) = self.compare(site, [replacement])
        return bool(time < FASTER * dense)

    def time_network(self, model: nn.Module, example_input: ExampleInput) -> float:
        """Return the time of a whole network, in milliseconds."""
        (time,) = self._compare([model], example_input)
        return time

    def share_left(self, model: nn.Module, example_input: ExampleInput, plan: ConversionPlan) -> float:
        """Return the time of the network that a plan makes, relative to the original, from interleaved runs."""
        if not plan.converted:
            return 1.0
        # The values of the weights do not matter, so drawing them must not advance the caller's random state.
        with torch.random.fork_rng(devices=[self.compute.device] if self.compute.device.type == "cuda" else []):
            converted = replay_plan(copy_network(model), plan)
        before, after = self._compare([model, converted], example_input)
        return after / before

    def _compare(self, models: Sequence[nn.Module], example_input: ExampleInput) -> tuple[float, ...]:
        inputs = [example_input] * len(models)
        return compare_latency(models, inputs, self.compute, NETWORK_SECONDS, self.runtime, self.threads)

    def _subject_of(self, replacement: Replacement) -> str:
        # Which channels have how many kernels makes no difference to the time, so layers share what was measured.
        counts = ",".join(f"{number}*{kernels}" for kernels, number in sorted(Counter(replacement.kernels).items()))
        norm = " norm" if self._norm_between else ""
        return f"{replacement.structure} {counts} {replacement.form}{norm}"

    def _build(self, site: Site, replacement: Replacement) -> nn.Module:
        build = STRUCTURES[replacement.structure].build_layer
        return build(site.module, replacement, norm_between=self._norm_between)

    def _timed_sizes(self, candidate: Candidate) -> list[int]:
        step_macs = candidate.kernel_macs * candidate.step_kernels
        return candidate.timed_sizes(math.floor(LARGEST * candidate.site.macs / step_macs))

    def _replacements(self, candidate: Candidate, steps: int) -> list[Replacement]:
        kernels = candidate.typical_kernels(steps)
        forms = candidate.allowed_forms(kernels)
        # For equal numbers of kernels a gather copies what concatenation copies, in smaller pieces.
        forms = tuple(form for form in forms if form is not Form.GATHER or Form.CONCATENATE not in forms)
        return [Replacement(candidate.structure, kernels, form) for form in forms or (None,)]


def _interpolate(kernels: NDArray[np.int64], sizes: Sequence[int], times: Sequence[float]) -> Floats:
    """Interpolate between the timed sizes; beyond the largest the time is infinite."""
    return np.interp(kernels, sizes, times, right=np.inf)
