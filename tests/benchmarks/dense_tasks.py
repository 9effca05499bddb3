"""Segmentation, detection and denoising on real images: what a conversion costs, and what fine-tuning brings back.

CamVid (road scenes, 240 x 180), BCCD (blood cells) and a DnCNN checkpoint with its images, from ../shared/data (see its
README). The networks are those of ``dense_networks.py``; the first two are trained from scratch. Each is converted to a
share of its multiply-accumulates and fine-tuned, beside the dense network trained further by the same recipe, and
beside ``fresh`` random weights in the converted structure. Scores are those of the test split.

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


@dataclass(frozen=True)
class Job:
    """A task of the table.

    Attributes:
        builder: The function that builds the network.
        data: Folder in ../shared/data.
        metric: The score of the table, and its factor and decimals.
        dense: The recipe of the dense network, without its model; ``DATA`` stands for the folder.
        further: What the recipe of all further training changes.
        checkpoint: Trained weights in ../shared/data; None to train the dense network.
    """

    builder: str
    data: str
    metric: tuple[str, float, int]
    dense: str
    further: str
    checkpoint: str | None = None


JOBS = {
    "segmentation": Job(
        "segmentation",
        "camvid",
        ("miou", 100, 2),
        """
task: segmentation
data:
  source: masks
  root: DATA
  class_names: [sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist]
  ignore_index: 11
  image_size: [180, 240]
  batch_size: 6
  workers: 0
  class_weights: {pole: 2, sign: 3, fence: 2, pedestrian: 3, bicyclist: 3}
augment: {hflip: 0.5, scale: [0.5, 1.0]}
optim: {opt: adamw, lr: 2e-3, weight_decay: 0.02, clip_grad: 1.0}
schedule: {sched: cosine, epochs: 14, warmup_epochs: 1}
""",
        "optim: {lr: 1e-3}\nschedule: {epochs: 4, warmup_epochs: 0.5}\ndistill: {logits: 0.5}",
    ),
    "detection": Job(
        "detection",
        "bccd",
        ("map50", 100, 2),
        """
task: detection
data: {source: voc, root: DATA, image_size: [192, 256], batch_size: 4, workers: 0}
augment: {hflip: 0.5, scale: [0.6, 1.0], color_jitter: 0.2}
optim: {opt: adamw, lr: 2e-3, weight_decay: 0.02, clip_grad: 1.0}
schedule: {sched: cosine, epochs: 16, warmup_epochs: 1}
""",
        "optim: {lr: 1e-3}\nschedule: {epochs: 5, warmup_epochs: 0.5}",
    ),
    "denoising": Job(
        "denoiser",
        "denoise",
        ("psnr", 1, 3),
        """
task: restoration
data:
  source: pairs
  root: DATA
  degrade: {noise: 15}
  image_size: 48
  batch_size: 8
  workers: 0
  val: {fraction: 0.1}
optim: {opt: adamw, lr: 1e-3, weight_decay: 0.0, clip_grad: 1.0}
schedule: {sched: cosine, epochs: 6, warmup_epochs: 0.5}
""",
        "optim: {lr: 3e-4}\ndistill: {logits: 0.5}",
        checkpoint="weights/dncnn_s15.safetensors",
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
            measure(name, out, arguments.macs)


def measure(name: str, out: Path, macs: float) -> None:
    """Train, convert and fine-tune the network of a task, and print its table."""
    runs = Runs(out, JOBS[name])
    runs.write_recipes()
    convert, is_trained = [f"convert.budget.macs={macs:g}"], runs.job.checkpoint is not None
    if not is_trained:
        runs.run("train", "dense")
    runs.run("finetune", "separable", *convert)
    runs.run("finetune", "longer", *runs.teacher)
    runs.run("finetune", "fresh", *convert, "convert.method=fresh")
    cost = read(out / "separable" / "conversion.json")
    before, after = cost["original"]["macs"], cost["converted"]["macs"]
    key, factor, digits = runs.job.metric
    say(f"{name}: {key}, GMACs and time of one image, relative to the dense network")
    say(f"{'network':28} {key:>7} {'GMACs':>7} {'MACs':>6} {'eager':>6} {'ONNX Runtime':>13}")
    times = runs.time_ratios()
    for title, score, is_dense in runs.rows(macs):
        share, ratios = (1.0, (1.0, 1.0)) if is_dense else (after / before, times)
        say(
            f"{title:28} {factor * score[key]:7.{digits}f} {share * before / 1e9:7.2f} {share:6.3f} "
            f"{ratios[0]:6.2f} {ratios[1]:13.2f}"
        )


@dataclass(frozen=True)
class Runs:
    """The runs of a task in a folder."""

    folder: Path
    job: Job

    @property
    def teacher(self) -> list[str]:
        """The change of the recipe by which the dense network, too, learns from the trained one."""
        return [f"distill.teacher={self.folder / 'dense' / 'model'}"] if "distill" in self.job.further else []

    def rows(self, macs: float) -> Iterator[tuple[str, dict[str, float], bool]]:
        """Yield what a row is called, its scores on test, and whether it is dense."""
        yield "dense", self.scores("separable", "test-original"), True
        yield "dense, trained further", self.scores("longer", "test"), True
        yield "converted, untrained", self.scores("separable", "test-converted"), False
        if self.job.checkpoint is not None:
            yield "converted, recovered", self.recovered(macs), False
        yield "converted, fine-tuned", self.scores("separable", "test"), False
        yield "fresh", self.scores("fresh", "test"), False

    def scores(self, run: str, slot: str) -> dict[str, float]:
        """Return the scores of a run."""
        return read(self.folder / run / "evaluation" / slot / "metrics.json")

    def recovered(self, macs: float) -> dict[str, float]:
        """Return the scores of the checkpoint after a conversion with recovery, which takes no labels."""
        out, source = self.folder / "recovered", str(DATA / (self.job.checkpoint or ""))
        common = ("--data", "dense.yaml", "--classes", "data")
        if not out.is_dir():
            self.dsft("convert", source, "--budget", f"macs={macs:g}", "--recover", *common, "--out", str(out))
        scores: dict[str, float] = json.loads(self.dsft("evaluate", str(out), "--data", "dense.yaml", "--json"))[
            "models"
        ][0]["metrics"]
        return scores

    def time_ratios(self) -> tuple[float, float]:
        """Return the time of the converted network relative to the dense one, in torch and in ONNX Runtime."""
        folders = (str(self.folder / name / "model") for name in ("separable", "longer"))
        words = ("benchmark", next(folders), "--against", next(folders), "--runtime", "eager,onnxruntime", "--json")
        rows = json.loads(self.dsft(*words))["rows"]
        eager, onnx = (row["timing"]["ratio"]["median"] for row in rows[1::2])
        return eager, onnx

    def write_recipes(self) -> None:
        """Write the recipe of the dense network, and that of all further training."""
        model, weights = f"{{source: python, builder: '{self._builder}'", self.job.checkpoint
        model += f", checkpoint: '{DATA / weights}', classes: data}}" if weights else "}"
        dense, further = (f"version: 1\nname: dense\nmodel: {model}\n{self.job.dense}", self.job.further)
        if weights is None:
            further = f"model: {{source: dsft, path: '{self.folder / 'dense' / 'model'}'}}\n{further}"
        (self.folder / "dense.yaml").write_text(dense.replace("DATA", str(DATA / self.job.data)), encoding="utf-8")
        (self.folder / "further.yaml").write_text(f"extends: ./dense.yaml\n{further}\n", encoding="utf-8")

    def run(self, verb: str, name: str, *changes: str) -> None:
        """Run a recipe unless it was run; an interrupted run is continued."""
        folder = self.folder / name
        if not (folder / "model").is_dir():
            recipe = "dense.yaml" if name == "dense" else "further.yaml"
            more = ["--resume"] if (folder / "checkpoints" / "last").is_dir() else ["--overwrite"]
            self.dsft(verb, recipe, f"name={name}", f"output.dir={folder}", *changes, *more)

    def dsft(self, *words: str) -> str:
        """Run a command with one thread, and return what it printed."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "dsft", *words, "--builder", self._builder]
        done = subprocess.run(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed with {done.returncode}.")
        return done.stdout

    @property
    def _builder(self) -> str:
        return f"{NETWORKS}:{self.job.builder}"


def read(file: Path) -> dict[str, Any]:
    """Return what a file of a run says."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
