"""Accuracy and time of real networks before and after a conversion, without training: README's table and picture.

Networks with published weights, on the data of ../shared/data (see its README):

- ResNet-32 on CIFAR-10: top-1 on 2,000 test images, calibrated on 512 training images.
- SqueezeNet 1.0 on ImageNet: top-1 on 150 images, calibrated on 100 others.
- DnCNN, which removes noise from grey images: PSNR in dB on 7 images, calibrated on 100 crops of 64 x 64 pixels.
- PhaseNet, which picks the waves of earthquakes, in one dimension: the share of the 90 arrivals in 45 seismograms that
  are found within 0.5 s, calibrated on 45 other seismograms.

Times are medians of interleaved forward passes of one image with one thread, in torch itself and in ONNX Runtime.
A budget of time becomes a network for each of the two; where it cannot be met, the smallest that can takes its place.
For networks that classify, the class is compared with the dense network's: how often it is the same, and the mean
divergence of the dense network's probabilities from the converted one's (KL).
``--write`` stores the results of each network in ``results/real_networks.json`` as they come, and writes the table in
README.md and the picture .github/real_networks.png from all that are stored.

    python tests/benchmarks/real_networks.py [--budgets macs=0.7 latency=0.6] [--only DnCNN] [--seconds 20] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import dsft
from dsft.choices import Runtime
from dsft.devices import Compute
from dsft.errors import BudgetError
from dsft.measure import count_macs
from dsft.report.figures import BLUE, GREY, ORANGE, drawing
from dsft.runtimes import compare_latency
from tests.benchmarks import engine
from tests.benchmarks.dense_networks import DnCNN
from tests.benchmarks.engine import compare_classes
from tests.cifar import DATA, load_images, load_resnet32
from tests.phasenet import load_phasenet, load_seismograms, score_picks

ROOT = Path(__file__).parents[2]
README, PICTURE = ROOT / "README.md", ROOT / ".github" / "real_networks.png"
RESULTS = Path(__file__).parent / "results" / "real_networks.json"
RUNTIMES = {Runtime.EAGER: "torch", Runtime.ONNXRUNTIME: "ONNX Runtime"}
COMPUTE = Compute(torch.device("cpu"), channels_last=True)
NOISE = 15 / 255


@dataclass(frozen=True)
class Job:
    """A network with its images.

    Attributes:
        name: What the table calls it.
        model: The network in evaluation mode.
        example: One input, which is timed.
        calibration: Batches of inputs.
        score: Scores a network.
        unit: Unit of the score.
        predict: Returns the logarithms of the class probabilities of the test images; None for other networks.
    """

    name: str
    model: nn.Module
    example: Tensor
    calibration: Sequence[Tensor]
    score: Callable[[nn.Module], float]
    unit: str
    predict: Callable[[nn.Module], Tensor] | None = None


@dataclass(frozen=True)
class Row:
    """One network: its cost, its times by runtime in milliseconds, its score, and how near its classes are."""

    label: str
    macs: float
    times: dict[str, float]
    score: float
    unit: str
    agreement: float | None = None
    divergence: float | None = None


def main() -> None:
    """Print the table, and write it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", nargs="+", default=["macs=0.7", "macs=0.5"], help="NAME=SHARE of each row")
    parser.add_argument("--structures", default="auto", help="auto, or names separated by commas")
    parser.add_argument("--only", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long the networks of a table are timed")
    parser.add_argument("--write", action="store_true", help="write the table into README.md, and draw the picture")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        say(f"{DATA} is not there, so nothing is measured.")
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in arguments.only:
        rows = measure(JOBS[name](), arguments.budgets, arguments.structures, arguments.seconds)
        say(markdown({name: rows}) + "\n")
        for row in rows[1:]:
            if row.agreement is not None:
                say(f"{name}, {row.label}: the same class for {row.agreement:.2f} %, KL {row.divergence:.3f}")
        if arguments.write:
            tables = store(name, rows)
            replace_table(markdown(tables))
            draw(tables)


def store(name: str, rows: list[Row]) -> dict[str, list[Row]]:
    """Replace the stored results of a network, and return all that are stored."""
    stored = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    stored[name] = [asdict(row) for row in rows]
    ordered = {each: stored[each] for each in JOBS if each in stored}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    return {each: [Row(**values) for values in stored] for each, stored in ordered.items()}


def measure(job: Job, budgets: Sequence[str], structures: str, seconds: float) -> list[Row]:
    """Convert a network to each budget, and score and time all of them; a budget that cannot be met is left out."""
    networks = {"original": job.model}
    for text in budgets:
        kind, _, share = text.partition("=")
        for runtime in RUNTIMES if kind == "latency" else [None]:
            networks |= convert(job, kind, float(share), runtime, structures)
    # Networks over signals have no channels_last: `to` leaves their weights as they are.
    modules = [module.to(memory_format=torch.channels_last) for module in networks.values()]
    is_image = job.example.dim() == 4
    example = job.example.contiguous(memory_format=torch.channels_last) if is_image else job.example
    timed = {
        runtime: compare_latency(modules, [example] * len(modules), COMPUTE, seconds, runtime) for runtime in RUNTIMES
    }
    macs = [count_macs(module, job.example) for module in modules]
    compared = compare(job, modules)
    return [
        Row(
            label,
            macs[number] / macs[0],
            {str(each): timed[each][number] for each in RUNTIMES},
            job.score(module),
            job.unit,
            *compared[number],
        )
        for number, (label, module) in enumerate(networks.items())
    ]


def compare(job: Job, modules: Sequence[nn.Module]) -> list[tuple[float, float] | tuple[()]]:
    """Compare the classes of networks with those of the first; nothing where they have none."""
    if job.predict is None:
        return [()] * len(modules)
    before = job.predict(modules[0])
    return [compare_classes(before, job.predict(module)) for module in modules]


def convert(job: Job, kind: str, share: float, runtime: Runtime | None, structures: str) -> dict[str, nn.Module]:
    """Return a converted copy by its label, with weights fitted to the calibration images.

    Where the budget cannot be met, the smallest that can takes its place, or nothing where that saves nothing.
    """
    allowed: list[str] | Literal["auto"] = "auto" if structures == "auto" else structures.split(",")
    label = f"{kind}={share:g}" + ("" if runtime is None else f" in {RUNTIMES[runtime]}")
    budget: dict[str, Any] = {kind: share} if runtime is None else {kind: share, "runtime": str(runtime)}
    more: dict[str, Any] = {"calibration": job.calibration, "structures": allowed, "seed": 0}
    try:
        return {label: dsft.convert(job.model, job.example, budget=budget, **more).model}
    except BudgetError as error:
        say(f"{job.name}, {label}: {error}")
        # Measured anew, a time may be found too short for the share that was said to be met.
        larger = max(error.smallest, share + 0.01)
        return convert(job, kind, larger, runtime, structures) if larger < 1 else {}


def resnet32() -> Job:
    """He et al. 2015, section 4.2, with weights of akamaster/pytorch_resnet_cifar10."""
    (images, _), test = load_images("train"), load_images("test")
    chosen = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:512]]
    predict = classes(torch.split(test[0], 250))
    score = top1(predict, test[1])
    return Job("ResNet-32", load_resnet32(), test[0][:1], torch.split(chosen, 64), score, "% top-1", predict)


def squeezenet() -> Job:
    """Iandola et al. 2016, with weights of songhan/SqueezeNet-Deep-Compression."""
    model = torchvision.models.squeezenet1_0(weights=None).eval()
    model.load_state_dict(load_file(DATA / "weights" / "squeezenet1_0.safetensors"))
    files = sorted((DATA / "imagenet-sample").glob("*.jpg"))
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB"))[14:241, 14:241] for file in files])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - torch.tensor([123.0, 117, 104]).reshape(3, 1, 1)
    labels = torch.tensor([int(file.stem) for file in files])
    is_test = torch.arange(len(images)) % 5 >= 2
    predict = classes(torch.split(images[is_test], 25))
    score = top1(predict, labels[is_test])
    return Job("SqueezeNet", model, images[:1], torch.split(images[~is_test], 25), score, "% top-1", predict)


def dncnn() -> Job:
    """Zhang et al. 2017, with weights of SaoYan/DnCNN-PyTorch for noise of 15 of 255 levels."""
    denoiser = DnCNN()
    denoiser.load_state_dict(load_file(DATA / "weights" / "dncnn_s15.safetensors"))
    model = denoiser.dncnn.eval()
    generator = torch.Generator().manual_seed(0)
    clean = read_grey("train")[:, :, 58:122, 58:122]
    noisy = clean + NOISE * torch.randn(clean.shape, generator=generator)
    test = read_grey("test")
    given = test + NOISE * torch.randn(test.shape, generator=generator)
    return Job("DnCNN", model, given[:1, :, :96, :96], torch.split(noisy, 20), psnr(given, test), "dB PSNR")


def phasenet() -> Job:
    """Zhu and Beroza 2019, with weights of AI4EPS/PhaseNet."""
    seismograms, arrivals = load_seismograms()
    calibration, test = seismograms[::2], seismograms[1::2]
    score = score_picks(test, arrivals[1::2])
    return Job("PhaseNet", load_phasenet(), test[:1], torch.split(calibration, 9), score, "% found")


def read_grey(split: str) -> Tensor:
    """Return the images of a split as ``(images, 1, height, width)``, from 0 to 1."""
    files = sorted((DATA / "denoise" / split).iterdir())
    return torch.stack(
        [torch.from_numpy(np.array(Image.open(file).convert("L"))).float()[None] / 255 for file in files]
    )


JOBS: dict[str, Callable[[], Job]] = {
    "ResNet-32": resnet32,
    "SqueezeNet": squeezenet,
    "DnCNN": dncnn,
    "PhaseNet": phasenet,
}


def classes(batches: Sequence[Tensor]) -> Callable[[nn.Module], Tensor]:
    """Return a function that computes the logarithms of class probabilities, ``(images, classes)``."""

    def predict(model: nn.Module) -> Tensor:
        with torch.inference_mode():
            return torch.cat([model(images).flatten(1).double().log_softmax(1) for images in batches])

    return predict


def top1(predict: Callable[[nn.Module], Tensor], labels: Tensor) -> Callable[[nn.Module], float]:
    """Return a function that computes top-1 in percent."""
    return lambda model: engine.top1(predict(model), labels)


def psnr(noisy: Tensor, clean: Tensor) -> Callable[[nn.Module], float]:
    """Return a function that computes the mean peak signal-to-noise ratio in dB of what is left of the noise."""

    def score(model: nn.Module) -> float:
        with torch.inference_mode():
            restored = torch.cat([(image - model(image)).clamp(0, 1) for image in torch.split(noisy, 1)])
        errors = (restored - clean).double().square().flatten(1).mean(1)
        return float(-10 * errors.log10().mean())

    return score


def markdown(tables: dict[str, list[Row]]) -> str:
    """Return one table of all networks; times with their ratio to the original's."""
    names = " | ".join(f"{name}, ms" for name in RUNTIMES.values())
    lines = [f"| network | budget | MACs | {names} | score |", f"| --- | --- |{' ---: |' * (len(RUNTIMES) + 2)}"]
    for name, rows in tables.items():
        for row in rows:
            times = " | ".join(f"{time:.2f} (x {time / rows[0].times[at]:.2f})" for at, time in row.times.items())
            lines.append(f"| {name} | {row.label} | {row.macs:.2f} | {times} | {row.score:.2f} {row.unit} |")
    return "\n".join(lines)


def replace_table(table: str) -> None:
    """Replace the table between the two comments in README.md."""
    start, end = "<!-- real networks: begin -->", "<!-- real networks: end -->"
    text = README.read_text("utf-8")
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"{README}: expected one {start} and one {end}.")
    pattern = re.compile(f"{re.escape(start)}.*{re.escape(end)}", re.DOTALL)
    README.write_text(pattern.sub(lambda _: f"{start}\n{table}\n{end}", text), "utf-8")


def draw(tables: dict[str, list[Row]]) -> None:
    """Draw the times as shares of the original's, with the scores beside the names."""
    with drawing(PICTURE, width=7.0, height=0.6 + 0.34 * sum(map(len, tables.values())), dpi=110) as figure:
        axes = figure.subplots()
        labels, place = [], 0.0
        for name, rows in tables.items():
            for row in rows:
                is_original = row is rows[0]
                for offset, (at, colour) in enumerate(zip(RUNTIMES, (BLUE, ORANGE), strict=True)):
                    share = row.times[at] / rows[0].times[at]
                    label = RUNTIMES[at] if not is_original else None
                    axes.barh(place + 0.36 * offset, share, 0.34, color=GREY if is_original else colour, label=label)
                labels.append((place + 0.18, f"{name}, {row.label}: {row.score:.1f} {row.unit}"))
                place += 1.0
            place += 0.4
        axes.axvline(1.0, color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks([at for at, _ in labels], [text for _, text in labels])
        axes.invert_yaxis()
        axes.set(xlabel="time of one image, relative to the original")
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=2)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
