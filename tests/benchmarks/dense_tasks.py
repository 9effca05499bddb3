"""Segmentation, detection and denoising on real images: what a conversion costs, and what fine-tuning brings back.

CamVid (road scenes, 240 x 180), BCCD (blood cells) and a DnCNN checkpoint with its images, from ../shared/data (see its
README). The networks are those of ``dense_networks.py``; the first two are trained from scratch. Each is converted to a
share of its multiply-accumulates and fine-tuned, beside the dense network trained further by the same recipe, and
beside ``fresh`` random weights in the converted structure. Scores are those of the test split, times those of one
image of the size that the networks are trained with.

    python tests/benchmarks/dense_tasks.py [segmentation detection denoising] [--macs 0.5] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.cifar import DATA

ROOT = Path(__file__).parents[2]
NETWORKS = Path(__file__).with_name("dense_networks.py")
CALIBRATION = 96
"""Number of calibration images."""
PATCH = 48
"""Side of the images of the checkpoint, as its recipe has it."""


@dataclass(frozen=True)
class Job:
    """A task of the table.

    Attributes:
        builder: The function that builds the network.
        metric: The score of the table, its factor and its decimals.
        dense: The recipe of the dense network, without its model; ``DATA`` stands for the folder of ../shared/data.
        further: What the recipe of all further training changes.
        checkpoint: Trained weights in ../shared/data; None to train the dense network.
        converted: Changes for converted networks alone.
    """

    builder: str
    metric: tuple[str, float, int]
    dense: str
    further: str
    checkpoint: str | None = None
    converted: tuple[str, ...] = ()


JOBS = {
    "segmentation": Job(
        "segmentation",
        ("miou", 100, 2),
        """
task: segmentation
data:
  source: masks
  root: DATA/camvid
  class_names: [sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist]
  ignore_index: 11
  image_size: [180, 240]
  batch_size: 6
  workers: 0
  class_weights: {pole: 2, sign: 3, fence: 2, pedestrian: 3, bicyclist: 3}
augment: {hflip: 0.5, scale: [0.5, 1.0]}
optim: {opt: adamw, lr: 2e-3, weight_decay: 0.02, clip_grad: 1.0}
schedule: {sched: cosine, epochs: 32, warmup_epochs: 1}
""",
        """
optim: {lr: 5e-4}
schedule: {epochs: 2, warmup_epochs: 0.25}
distill: {logits: 0.5}
""",
    ),
    "detection": Job(
        "detection",
        ("map50", 100, 2),
        """
task: detection
data: {source: voc, root: DATA/bccd, image_size: [192, 256], batch_size: 4, workers: 0}
augment: {hflip: 0.5, scale: [0.6, 1.0], color_jitter: 0.2}
optim: {opt: adamw, lr: 2e-3, weight_decay: 0.02, clip_grad: 1.0}
schedule: {sched: cosine, epochs: 12, warmup_epochs: 1}
""",
        """
optim: {lr: 5e-4}
schedule: {epochs: 2, warmup_epochs: 0.25}
""",
    ),
    "denoising": Job(
        "denoiser",
        ("psnr", 1, 3),
        """
task: restoration
data:
  source: pairs
  root: DATA/denoise
  degrade: {noise: 15}
  image_size: 48
  batch_size: 8
  workers: 0
  val: {fraction: 0.1}
""",
        """
optim: {opt: adamw, lr: 1e-4, weight_decay: 0.0, clip_grad: 1.0}
schedule: {sched: cosine, epochs: 3, warmup_epochs: 0.5}
distill: {logits: 0.9}
""",
        checkpoint="weights/dncnn_s15.safetensors",
        # With other parameters and the statistics of its norms in training, it becomes worse.
        converted=("freeze=[{until: 3ep, train: [converted]}]",),
    ),
}


def main() -> None:
    """Print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", choices=[[], *JOBS], help="all without any")
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--out", type=Path, help="folder for the runs, which are kept; else a temporary one")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        say(f"{DATA} is not there, so nothing is measured.")
        return
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.jobs or JOBS:
            out = (arguments.out or Path(temporary)).resolve() / name
            out.mkdir(parents=True, exist_ok=True)
            measure(name, Runs(out, JOBS[name], arguments.macs))


def measure(name: str, runs: Runs) -> None:
    """Make the runs of a task, and print each row of its table when its run is done."""
    runs.convert()
    cost = read(runs.folder / "separable" / "conversion.json")
    before, after = cost["original"]["macs"], cost["converted"]["macs"]
    key, factor, digits = runs.job.metric
    times = runs.time_ratios()
    say(f"{name}: {key} of the test split, GMACs, and time relative to the dense network")
    say(f"{'network':24} {key:>7} {'GMACs':>7} {'MACs':>6} {'eager':>6} {'ONNX Runtime':>13}")
    for title, score, is_dense in runs.rows():
        share, ratios = (1.0, (1.0, 1.0)) if is_dense else (after / before, times)
        say(
            f"{title:24} {factor * score[key]:7.{digits}f} {share * before / 1e9:7.2f} {share:6.3f} "
            f"{ratios[0]:6.2f} {ratios[1]:13.2f}"
        )


@dataclass(frozen=True)
class Runs:
    """The runs of a task in a folder; those that are there are not made again.

    Attributes:
        folder: The folder.
        job: The task.
        macs: The share of the multiply-accumulates that a conversion leaves.
    """

    folder: Path
    job: Job
    macs: float

    def convert(self) -> None:
        """Train or take the dense network, convert it and fine-tune the result."""
        self._write_recipes()
        if self.job.checkpoint is None:
            self._run("train", "dense")
        elif not self._dense.is_dir():
            self._convert_checkpoint("--budget", "macs=1", "--out", str(self._dense))
        self._run("finetune", "separable", *self._conversion)

    def rows(self) -> Iterator[tuple[str, dict[str, float], bool]]:
        """Yield what a row is called, its scores, and whether it is dense; make the runs that the row needs."""
        yield "dense", self._scores("separable", "test-original"), True
        yield "converted, untrained", self._scores("separable", "test-converted"), False
        if self.job.checkpoint is not None:
            yield "converted, recovered", self._recover(), False
        yield "converted, fine-tuned", self._scores("separable", "test"), False
        self._run("finetune", "longer", *([f"distill.teacher={self._dense}"] if "distill" in self.job.further else []))
        yield "dense, trained further", self._scores("longer", "test"), True
        self._run("finetune", "fresh", *self._conversion, "convert.method=fresh")
        yield "fresh", self._scores("fresh", "test"), False

    def time_ratios(self) -> tuple[float, float]:
        """Return the time of the converted network relative to the dense one, in torch and in ONNX Runtime."""
        words = ("benchmark", "separable/model", "--against", "dense/model", "--runtime", "eager,onnxruntime")
        return ratios_of(self._dsft(*words, "--json"))

    def _write_recipes(self) -> None:
        model = f"model: {{source: python, builder: '{self._builder}'}}"
        dense = f"version: 1\nname: dense\n{model}{self.job.dense.replace('DATA', str(DATA))}"
        further = f"extends: ./dense.yaml\nmodel: {{source: dsft, path: dense/model}}{self.job.further}"
        (self.folder / "dense.yaml").write_text(dense, encoding="utf-8")
        (self.folder / "further.yaml").write_text(further, encoding="utf-8")

    def _run(self, verb: str, name: str, *changes: str) -> None:
        """Run a recipe unless it was run; an interrupted run is continued."""
        if not (self.folder / name / "model").is_dir():
            recipe = "dense.yaml" if name == "dense" else "further.yaml"
            more = ["--resume"] if (self.folder / name / "checkpoints" / "last").is_dir() else ["--overwrite"]
            self._dsft(verb, recipe, f"name={name}", f"output.dir={name}", *changes, *more)

    def _convert_checkpoint(self, *options: str) -> None:
        words = (f"{DATA / (self.job.checkpoint or '')}", "--data", "dense.yaml", "--classes=data")
        self._dsft("convert", *words, "--image-size", str(PATCH), *options)

    def _scores(self, run: str, slot: str) -> dict[str, float]:
        return read(self.folder / run / "evaluation" / slot / "metrics.json")

    def _recover(self) -> dict[str, float]:
        """Return the scores of the checkpoint after a conversion with recovery, which takes no labels."""
        if not (self.folder / "recovered").is_dir():
            options = ("--recover", "--calibration-images", str(CALIBRATION), "--out", "recovered")
            self._convert_checkpoint("--budget", f"macs={self.macs:g}", *options)
        (row,) = json.loads(self._dsft("evaluate", "recovered", "--data", "dense.yaml", "--json"))["models"]
        scores: dict[str, float] = row["metrics"]
        return scores

    def _dsft(self, *words: str) -> str:
        """Run a command with one thread, and return what it printed."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "dsft", *words, "--builder", self._builder]
        done = subprocess.run(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed with {done.returncode}.")
        return done.stdout

    @property
    def _dense(self) -> Path:
        return self.folder / "dense" / "model"

    @property
    def _conversion(self) -> tuple[str, ...]:
        budget = f"convert.budget.macs={self.macs:g}"
        return budget, f"convert.calibration.images={CALIBRATION}", *self.job.converted

    @property
    def _builder(self) -> str:
        return f"{NETWORKS}:{self.job.builder}"


def ratios_of(printed: str) -> tuple[float, float]:
    """Return the ratios that ``dsft benchmark --against --json`` printed for two runtimes."""
    rows = json.loads(printed)["rows"]
    first, second = (row["timing"]["ratio"]["median"] for row in rows[1::2])  # after each reference
    return first, second


def read(file: Path) -> dict[str, Any]:
    """Return what a file of a run says."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
