"""How long the data-free conversion of a ResNet-50 takes, with one thread: decomposing, planning and building.

Forms and report are left out, since they measure for as long as they are told to. The time of the processor is given
beside that of the clock, which other processes lengthen.
"""

from __future__ import annotations

import statistics
import time

import timm
import torch

from dsft.choices import Cost
from dsft.conversion import Budget, Request, apply_plan, copy_network, factorize, plan_conversion

ROUNDS = 5
LIMIT = 2.0
"""Seconds that are aimed at."""


def main() -> None:
    """Print the median of several conversions."""
    torch.set_num_threads(1)
    model = timm.create_model("resnet50").eval()
    images, request = torch.zeros(1, 3, 224, 224), Request(budget=Budget(Cost.MACS, 0.6))
    wall, processor = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter(), time.process_time()
        plan = plan_conversion(model, images, request)
        planned = time.process_time()
        apply_plan(copy_network(model), plan, factorize(model, plan))
        wall.append(time.perf_counter() - started[0])
        processor.append((planned - started[1], time.process_time() - started[1]))
    planning, whole = (statistics.median(column) for column in zip(*processor, strict=True))
    print(  # noqa: T201
        f"svd of ResNet-50 at 224x224, 0.6 of its MACs, {len(plan.converted)} layers, one thread, median of {ROUNDS}: "
        f"{whole:.2f} s of the processor ({planning:.2f} s of them the plan), {statistics.median(wall):.2f} s of the "
        f"clock; at most {LIMIT:g} s are aimed at."
    )


if __name__ == "__main__":
    main()
