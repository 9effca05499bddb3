"""How long layers take beside their convolution, by shape: the measurements behind planning/shape_rule.py.

Every row is a convolution and what may replace it, timed in turn with one thread in torch and in ONNX Runtime. The last
column is what one element of a feature map costs in ONNX Runtime, in multiply-accumulates, if the rest of the time is
that of multiply-accumulates at the convolution's own rate.

    python tests/benchmarks/shape_rule.py [--seconds 4]
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch import Tensor, nn

from dsft.choices import Runtime, Structure
from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.plan import Replacement
from dsft.conversion.planning.shape_rule import own_elements
from dsft.conversion.structures import STRUCTURES, CandidateOptions
from dsft.devices import Compute
from dsft.runtimes import compare_latency

COMPUTE = Compute(torch.device("cpu"))


@dataclass(frozen=True)
class Case:
    """A convolution with ``size`` kernel positions along each axis, its input, and the widths that are tried."""

    channels: tuple[int, int]
    input_size: int
    widths: tuple[int, ...]
    size: int = 3
    dimensions: int = 2
    stride: int = 1

    def build(self) -> tuple[nn.Module, Tensor]:
        """Return the convolution and an example input."""
        kind = {1: nn.Conv1d, 2: nn.Conv2d}[self.dimensions]
        conv = kind(*self.channels, self.size, stride=self.stride, padding=self.size // 2).eval()
        return conv, torch.zeros(1, self.channels[0], *(self.input_size,) * self.dimensions)


CASES = (
    Case((16, 16), 32, (8, 16, 32)),
    Case((16, 32), 32, (16, 32), stride=2),
    Case((32, 32), 16, (16, 32, 64)),
    Case((64, 64), 8, (32, 64, 128)),
    Case((64, 64), 56, (32, 64, 96, 128)),
    Case((64, 128), 56, (64, 128), stride=2),
    Case((128, 128), 28, (64, 128, 192, 256)),
    Case((256, 256), 14, (128, 256, 384)),
    Case((512, 512), 7, (256, 512)),
    Case((64, 64), 180, (48, 80, 112)),
    Case((3, 64), 224, (8, 16)),
    Case((16, 16), 750, (8, 16, 32), size=7, dimensions=1),
    Case((64, 64), 47, (32, 64), size=7, dimensions=1),
)


def main() -> None:
    """Print a row for each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="about how long each convolution is timed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    say(f"{'convolution':24} {'structure':9} {'kernels':>7} {'MACs':>5} {'torch':>6} {'ORT':>6} {'MACs/element':>13}")
    for case in CASES:
        measure(case, arguments.seconds)


def measure(case: Case, seconds: float) -> None:
    """Time one convolution and its replacements."""
    conv, images = case.build()
    (site,) = find_sites(conv, images, list(Structure))
    wanted = [Replacement(Structure.PW_DW_PW, (width,)) for width in case.widths]
    wanted.append(Replacement(Structure.DW_PW, (1,) * case.channels[0]))
    layers = [STRUCTURES[each.structure].build_layer(site.module, each, norm_between=False).eval() for each in wanted]
    times = {
        runtime: compare_latency([conv, *layers], [images] * (1 + len(layers)), COMPUTE, seconds, runtime)
        for runtime in (Runtime.EAGER, Runtime.ONNXRUNTIME)
    }
    name = f"{case.channels[0]} -> {case.channels[1]}, {case.input_size}^{case.dimensions}, {case.size}"
    for place, each in enumerate(wanted, start=1):
        candidate = STRUCTURES[each.structure].make_candidate(site, CandidateOptions(one_kernel=True))
        kernels = sum(each.kernels)
        eager, served = (found[place] / found[0] for found in times.values())
        macs, elements = kernels * candidate.kernel_macs, kernels * candidate.kernel_elements
        # served = (macs + x (own + elements)) / (site.macs + x own)
        own = own_elements(site)
        cost = (served * site.macs - macs) / (elements + own - served * own)
        say(f"{name:24} {each.structure:9} {kernels:7} {macs / site.macs:5.2f} {eager:6.2f} {served:6.2f} {cost:13.1f}")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
