"""How much a conversion loses on a real checkpoint, without training and after a little of it.

The CIFAR-10 ResNet-32 and the JPEG images of ../shared/data (see its README), 2,000 test images, three draws of 512
unlabelled training images. Prints one table for conversion alone and one for two epochs of tuning.

    python tests/benchmarks/cifar.py [--draws 3] [--shares 0.3 0.5] [--tune] [--seeds 1]
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch import Tensor, nn
from torch.nn import functional

import dsft
from dsft.choices import Form, Structure
from dsft.conversion import ConversionPlan, apply_plan, factorize, plan_conversion
from dsft.conversion.discovery.sites import find_sites
from dsft.conversion.planning.candidates import collect_candidates
from dsft.conversion.structures import Candidate
from dsft.losses import distillation_loss
from tests.cifar import DATA, EXAMPLE, load_images, load_resnet32

IMAGES = 512
"""Calibration images of a draw."""

Converter = Callable[[nn.Module, Tensor, float], nn.Module]


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3, help="draws of the calibration images")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.3, 0.5], help="MACs that are left")
    parser.add_argument("--tune", action="store_true", help="tune two epochs as well")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the tuning")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        say(f"{DATA} is not there, so nothing is measured.")
        return
    torch.set_num_threads(1)
    train, test = load_images("train"), load_images("test")
    model = load_resnet32()
    compare_untrained(model, train, test, arguments.shares, arguments.draws)
    if arguments.tune:
        compare_tuned(model, train, test, arguments.shares[0], arguments.seeds)


def compare_untrained(
    model: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], shares: Sequence[float], draws: int
) -> None:
    """Print top-1 of every way to convert, and how many points it loses."""
    dense = is_right(model, test)
    say(f"dense: top-1 {100 * dense.mean():.2f} on {len(dense):,} test images")
    say(f"{'conversion':34} {'MACs':>5}  {'top-1 of each draw':24} {'lost':>6} {'paired s.e.':>11} {'seconds':>8}")
    for share in shares:
        for name, convert in WAYS.items():
            rights, seconds = [], []
            for number in range(draws if name in NEED_IMAGES else 1):
                started = time.monotonic()
                converted = convert(model, draw_images(train[0], number), share)
                seconds.append(time.monotonic() - started)
                rights.append(is_right(converted, test))
            lost = dense - torch.stack(rights).mean(0)
            error = 100 * lost.std() / len(lost) ** 0.5
            tops = " ".join(f"{100 * right.mean():.2f}" for right in rights)
            cost = macs_share(model, converted)
            say(f"{name:34} {cost:5.3f}  {tops:24} {100 * lost.mean():6.2f} {error:11.2f} {max(seconds):8.0f}")


def uniform(model: nn.Module, _: Tensor, share: float) -> nn.Module:
    """Network Decoupling: the same rank everywhere (Guo et al. 2018), as near to the share as ranks come."""
    plans = [plan_conversion(model, EXAMPLE, dsft.Request(rank=rank, exclude=["conv1"])) for rank in range(1, 9)]
    return realised(model, min(plans, key=lambda plan: abs(plan.macs_ratio - share)))


def greedy(model: nn.Module, _: Tensor, share: float) -> nn.Module:
    """LEGO of GDWS (Dbouk & Shanbhag 2021, alg. 1): in each layer the fewest kernels with one relative error for all.

    The error is chosen by bisection to meet the share.
    """
    sites = [site for site in find_sites(model, EXAMPLE) if site.obstacle is None and site.name != "conv1"]
    request = dsft.Request(rank=1, structures=[Structure.DW_PW])
    collected = collect_candidates(sites, request, is_trained=True, weightings={}, report=lambda _: None)
    candidates = {candidate.site.name: candidate for (candidate,) in collected}
    template = plan_conversion(model, EXAMPLE, dsft.Request(rank=1, exclude=["conv1"]))
    low, high = 0.0, 1.0
    for _step in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if within(template, candidates, middle).macs_ratio <= share else (middle, high)
    return realised(model, within(template, candidates, high))


def within(template: ConversionPlan, candidates: Mapping[str, Candidate], error: float) -> ConversionPlan:
    """Return the plan in which every layer has the fewest kernels that leave at most such an error."""
    layers = []
    for layer in template.layers:
        if layer.is_converted:
            candidate = candidates[layer.name]
            # Ascending numbers of kernels leave falling errors.
            steps = int(candidate.steps[int((candidate.errors > error).sum())])
            kernels = candidate.kernels_at(steps)
            cost = sum(kernels) * candidate.kernel_macs
            layer = dataclasses.replace(layer, kernels=kernels, macs_after=cost, form=Form.GATHER)
        layers.append(layer)
    saved = sum(layer.macs_before - layer.macs_after for layer in layers)
    return dataclasses.replace(template, layers=tuple(layers), macs_after=template.macs_before - saved)


def realised(model: nn.Module, plan: ConversionPlan) -> nn.Module:
    """Return a converted copy with the data-free weights."""
    return apply_plan(copy.deepcopy(model), plan, factorize(model, plan))


def by_method(method: str) -> Converter:
    """Return dsft's own conversion."""

    def convert(model: nn.Module, images: Tensor, share: float) -> nn.Module:
        given = images if method == "refit" else None
        budget = {"macs": share}
        # Of two convolutions, as the published methods. The form does not change the function, and is not measured.
        return dsft.convert(
            model,
            EXAMPLE,
            calibration=given,
            method=method,
            structures=["dw_pw", "pw_dw"],
            form="gather",
            budget=budget,
            seed=0,
        ).model

    return convert


WAYS: dict[str, Converter] = {
    "uniform SVD (Network Decoupling)": uniform,
    "per-layer greedy SVD (GDWS, LEGO)": greedy,
    "dsft svd": by_method("svd"),
    "dsft refit": by_method("refit"),
}
NEED_IMAGES = {"dsft refit"}


def compare_tuned(
    model: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], share: float, seeds: int
) -> None:
    """Print top-1 after two epochs, with labels alone and with the tuned dense network as teacher."""
    say(f"two epochs of SGD on {len(train[0]):,} images, {share:g} of the MACs; {seeds} seed(s)")
    say(f"{'start':34} {'labels':>16} {'distilled':>16}")
    for seed in range(seeds):
        teacher = tune(model, train, None, seed)
        score = 100 * float(is_right(teacher, test).mean())
        say(f"{'dense':34} {score:16.2f} {100 * float(is_right(tune(model, train, teacher, seed), test).mean()):16.2f}")
        for method in ("fresh", "svd", "refit"):
            start = by_method(method)(model, draw_images(train[0], seed), share)
            tops = [100 * float(is_right(tune(start, train, one, seed), test).mean()) for one in (None, teacher)]
            say(f"{method:34} {tops[0]:16.2f} {tops[1]:16.2f}")


def tune(start: nn.Module, train: tuple[Tensor, Tensor], teacher: nn.Module | None, seed: int) -> nn.Module:
    """Return a copy trained for two epochs: SGD, one cycle of the rate, flips and shifts by up to two pixels."""
    model, epochs, size = copy.deepcopy(start).train(), 2, 64
    steps = epochs * (len(train[0]) // size)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps, pct_start=0.2)
    for images, labels in shuffled(train, epochs, size, seed):
        scores = model(images)
        loss = functional.cross_entropy(scores, labels)
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(images)
            loss = 0.5 * loss + 0.5 * distillation_loss(scores, wanted, 2.0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return model.eval()


def shuffled(train: tuple[Tensor, Tensor], epochs: int, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented batches, the same for every network of one seed."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(train[0]), generator=generator), size)[: len(train[0]) // size]:
            images = functional.pad(train[0][chosen], (2, 2, 2, 2), mode="reflect")
            row, column = torch.randint(0, 5, (2,), generator=generator).tolist()
            images = images[:, :, row : row + 32, column : column + 32]
            flips = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
            yield torch.where(flips, images.flip(3), images), train[1][chosen]


def draw_images(images: Tensor, seed: int) -> Tensor:
    """Draw calibration images."""
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:IMAGES]]


@torch.no_grad()
def is_right(model: nn.Module, test: tuple[Tensor, Tensor]) -> Tensor:
    """Return for each test image whether the first answer is right, as 0 or 1."""
    answers = torch.cat([model(images).argmax(1) for images in torch.split(test[0], 250)])
    return (answers == test[1]).double()


def macs_share(model: nn.Module, converted: nn.Module) -> float:
    """Return the multiply-accumulates that are left, counted anew by torch."""
    from dsft.measure import count_macs

    return count_macs(converted, EXAMPLE) / count_macs(model, EXAMPLE)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
