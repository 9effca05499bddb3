"""Write the files of this folder with the first edition of dsft, commit 3ec2a73. They are not written anew later.

    git clone . /tmp/first && git -C /tmp/first checkout 3ec2a73
    PYTHONPATH=/tmp/first:. python tests/first_edition/make_fixtures.py

Written are, beside this file:

- ``plans/NAME.json`` and ``weights/NAME.json``: the plan of each conversion of ``jobs.py``, and what is kept of the
  converted network;
- ``model_folder``: a converted network of one's own, as ``dsft.save`` wrote it, with inputs and outputs in
  ``expected.safetensors``;
- ``run_folder``: the finished run of ``finished.yaml``, without its pictures, its page and its checkpoints;
- ``images`` and ``predictions.jsonl``: a few digits, and what ``dsft predict run_folder`` said of them;
- ``interrupted_run``: the run of ``interrupted.yaml``, stopped by a signal after the second of three epochs, with its
  last checkpoint alone;
- ``resumed.json``: the figures of the last epoch, and the scores of val and test, after a copy was resumed to its end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

import dsft
from tests.first_edition.jobs import JOBS, draw, fingerprint, save_dense

HERE = Path(__file__).parent
RECIPES = ("finished.yaml", "interrupted.yaml")
DIGITS = 6
"""Images that are predicted."""


def main() -> None:
    """Write everything."""
    torch.set_num_threads(1)
    write_conversions()
    write_model_folder()
    write_images()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        for name in RECIPES:
            shutil.copy(HERE / name, work)
        save_dense(work / "dense")
        write_finished_run(work)
        write_interrupted_run(work)


def write_conversions() -> None:
    """Write the plans, and what is kept of the networks."""
    for name, job in JOBS.items():
        model = job.network()
        conversion = job.convert(model)
        write_json(HERE / "plans" / f"{name}.json", conversion.plan.to_dict())
        write_json(HERE / "weights" / f"{name}.json", fingerprint(conversion.model, model, job.example()))


def write_model_folder() -> None:
    """Write a converted network of one's own, with inputs and outputs."""
    job, folder = JOBS["kinds_params05_refit"], HERE / "model_folder"
    conversion = job.convert(job.network())
    dsft.save(conversion.model, folder, plan=conversion.plan, classes=list("abcdefghij"), overwrite=True)
    images = draw((4, 1, 2, 12, 12), seed=11)
    with torch.inference_mode():
        outputs = conversion.model.eval()(images)
    save_file({"images": images, "outputs": outputs}, folder / "expected.safetensors")


def write_images() -> None:
    """Write a few digits as images."""
    (HERE / "images").mkdir(exist_ok=True)
    pixels = (load_digits().images[:DIGITS] * 15.9).astype("uint8")
    for number, image in enumerate(pixels):
        Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC).save(HERE / "images" / f"{number}.png")


def write_finished_run(work: Path) -> None:
    """Finish a run, keep what a user would pass on, and predict with it."""
    run_dsft(work, "finetune", "finished.yaml")
    run_dsft(work, "predict", "run_folder", str(HERE / "images"), "--format=jsonl", "--top-k=3", "--out=found.jsonl")
    lines = (work / "found.jsonl").read_text("utf-8").replace(f"{HERE.as_posix()}/", "")
    (HERE / "predictions.jsonl").write_text(lines, encoding="utf-8")
    store_run(work / "run_folder")
    shutil.rmtree(HERE / "run_folder" / "checkpoints")


def write_interrupted_run(work: Path) -> None:
    """Stop a run after its second epoch, and note what a copy comes to when it is resumed."""
    run = work / "interrupted_run"
    with start_dsft(work, "finetune", "interrupted.yaml") as process:
        while "epoch 2/3" not in read(run / "train.log"):
            if process.poll() is not None:
                raise RuntimeError("the run ended before it could be stopped")
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    if process.returncode != 128 + signal.SIGTERM:
        raise RuntimeError(f"the run was to be stopped, and left with {process.returncode}")
    store_run(run)
    for name in ("best", "previous"):
        shutil.rmtree(HERE / "interrupted_run" / "checkpoints" / name)
    shutil.rmtree(run)
    shutil.copytree(HERE / "interrupted_run", run)
    run_dsft(work, "finetune", "interrupted.yaml", "--resume")
    scores = {split: json.loads(read(run / "evaluation" / split / "metrics.json")) for split in ("val", "test")}
    epoch = json.loads(read(run / "metrics.jsonl").splitlines()[-1])
    write_json(HERE / "resumed.json", {"epoch": epoch, **scores})


def store_run(run: Path) -> None:
    """Copy a run without its pictures and its page, and without the machine's own paths and name."""
    stored = HERE / run.name
    shutil.rmtree(stored, ignore_errors=True)
    shutil.copytree(run, stored, ignore=shutil.ignore_patterns("*.png", "plots", "report.html"))
    record = json.loads(read(stored / "run.json"))
    record["command"][0], record["platform"] = "dsft", "Linux"
    (stored / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def run_dsft(work: Path, *arguments: str) -> None:
    """Run the command line to its end."""
    with start_dsft(work, *arguments) as process:
        pass
    if process.returncode:
        raise RuntimeError(f"dsft {' '.join(arguments)} left with {process.returncode}")


def start_dsft(work: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line in a folder."""
    environ = {**os.environ, "DSFT_CACHE": str(work / "cache")}
    return subprocess.Popen([sys.executable, "-m", "dsft", *arguments], cwd=work, env=environ)


def read(path: Path) -> str:
    """Return what a file holds, nothing where there is none."""
    return path.read_text("utf-8") if path.is_file() else ""


def write_json(path: Path, values: Any) -> None:
    """Write values in as few lines as can be read."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(values, separators=(",", ":")).replace("},", "},\n")
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
