"""Whether this edition computes what the first one did, to the bit, and how long either takes.

The same jobs are run with both editions in turn, each in a process of its own with one thread: conversions in Python,
training from the command line, a conversion with images, a fine-tuning, one that is stopped and resumed, and the
CIFAR-10 ResNet-32 of ../shared/data where that is there. Weights, plans and scores have to be equal; the exit code is 1
where they are not. Times are medians over the rounds; beside the time by the clock stands the ratio of the time that
the processor gave, which other work on the machine changes little.

    git clone . /tmp/first && git -C /tmp/first checkout 3ec2a73
    python tests/benchmarks/first_edition.py /tmp/first [--rounds 3] [--jobs convert finetune]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMIT = "3ec2a73"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
WORDS: Mapping[str, Mapping[str, str]] = {
    "first": {"calibrate": "--calibrate", "option": "--order=dw_pw", "key": "convert.order=dw_pw"},
    "new": {"calibrate": "--data", "option": "--structures=dw_pw", "key": "convert.structures=[dw_pw]"},
}
"""Options and keys that the two editions name differently: the calibration images, and the one structure that is
compared, since the default is another."""

IMAGES = ["data.test.fraction=0.6", "data.workers=0", "train.device=cpu", "train.amp=none", "log.progress=off"]
"""Fewer images to train on than the recipes of the demo take."""
SHORT = [*IMAGES, "schedule.epochs=2", "schedule.warmup_epochs=0.5"]
# The form of a layer is measured unless it is named, and changes the order of its weights.
CONVERTED = [*SHORT, "convert.form=gather"]

Found = Mapping[str, Any]
"""What a job came to, by the name of the thing."""


@dataclass(frozen=True)
class Edition:
    """A source tree of dsft and the folder in which its jobs run."""

    name: str
    work: Path
    words: Mapping[str, str]

    @classmethod
    def settle(cls, name: str, source: Path, place: Path) -> Edition:
        """Make the folder; ``dsft`` alone is taken from the source, so that tests come from here."""
        work = place / name
        (work / "path").mkdir(parents=True)
        (work / "path" / "dsft").symlink_to(source.resolve() / "dsft")
        return cls(name, work, WORDS[name])

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start Python; what it prints is on ``stdout``, and what it says besides is kept in ``said.txt``."""
        paths = os.pathsep.join([str(self.work / "path"), str(ROOT)])
        environ = {**os.environ, **ENVIRONMENT, "PYTHONPATH": paths, "DSFT_CACHE": str(self.work / "cache")}
        with (self.work / "said.txt").open("w") as said:
            command = [sys.executable, *arguments]
            pipe = subprocess.PIPE
            with subprocess.Popen(command, cwd=self.work, env=environ, stdout=pipe, stderr=said, text=True) as process:
                yield process

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run Python to its end and return what it printed."""
        with self.start(*arguments) as process:
            printed, _ = process.communicate()
        if process.returncode != code:
            said = (self.work / "said.txt").read_text("utf-8")
            raise SystemExit(f"{self.name}: {' '.join(arguments)} left with {process.returncode}:\n{said}")
        return printed

    def dsft(self, *arguments: str) -> str:
        """Run the command line."""
        return self.run("-m", "dsft", *arguments)

    def worker(self, *arguments: str) -> Found:
        """Run this file in the edition and return what it found."""
        found: Found = json.loads(self.run(str(Path(__file__).resolve()), "--worker", *arguments))
        source = Path(found["source"]).resolve().parent
        if source != (self.work / "path" / "dsft").resolve():
            raise SystemExit(f"{self.name}: took dsft from {source}")
        return {name: value for name, value in found.items() if name != "source"}


def convert_in_python(edition: Edition) -> Found:
    """Make the conversions of which plans are stored."""
    return edition.worker("conversions")


def train(edition: Edition) -> Found:
    """Train the network that the demo converts."""
    edition.dsft("train", "digits_dense", *SHORT, "--overwrite")
    return run_results(edition.work / "runs" / "digits_dense")


def convert(edition: Edition) -> Found:
    """Convert the trained network, fitted to images."""
    target = edition.work / "runs" / "digits_converted"
    given = ["--budget=macs=0.35", edition.words["option"], "--form=gather", edition.words["calibrate"], "digits_dense"]
    edition.dsft("convert", "runs/digits_dense/model", *given, f"--out={target}", "--overwrite", "--progress=off")
    (weights,) = target.rglob("model.safetensors")
    return {"weights": digest_of_file(weights)}


def finetune(edition: Edition) -> Found:
    """Run the demo's main job."""
    edition.dsft("finetune", "quickstart", edition.words["key"], *CONVERTED, "--overwrite")
    return run_results(edition.work / "runs" / "quickstart")


def resume(edition: Edition) -> Found:
    """Stop the same job after its first epoch and resume it."""
    run = edition.work / "runs" / "interrupted"
    shutil.rmtree(run, ignore_errors=True)
    job = ["finetune", "quickstart", edition.words["key"], *CONVERTED, "output.dir=runs/interrupted"]
    with edition.start("-m", "dsft", *job) as process:
        log = run / "train.log"
        while process.poll() is None and not (log.is_file() and "epoch 1/2" in log.read_text("utf-8")):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    if process.returncode != 128 + signal.SIGTERM:
        raise SystemExit(f"{edition.name}: the run was to be stopped, and left with {process.returncode}")
    edition.dsft(*job, "--resume")
    found = run_results(run)
    unbroken = edition.work / "runs" / "quickstart"
    return {**found, "as if unbroken": found == run_results(unbroken)} if unbroken.is_dir() else found


def cifar(share: float) -> Callable[[Edition], Found]:
    """Return a job that converts the ResNet-32 to a share of its multiply-accumulates."""
    return lambda edition: edition.worker("cifar", str(share))


JOBS: Mapping[str, Callable[[Edition], Found]] = {
    "python": convert_in_python,
    "train": train,
    "convert": convert,
    "finetune": finetune,
    "resume": resume,
    "cifar-0.3": cifar(0.3),
    "cifar-0.5": cifar(0.5),
}
"""In the order in which they need each other: training comes before what converts the network."""


@dataclass
class Row:
    """What was found of a job, by edition."""

    found: dict[str, Found] = field(default_factory=dict)
    clock: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)

    def add(self, edition: Edition, job: Callable[[Edition], Found]) -> None:
        """Run the job once more."""
        clock, processor = time.perf_counter(), processor_time()
        found = job(edition)
        self.clock.setdefault(edition.name, []).append(time.perf_counter() - clock)
        self.processor.setdefault(edition.name, []).append(processor_time() - processor)
        if self.found.setdefault(edition.name, found) != found and edition.name not in self.unsteady:
            self.unsteady.append(edition.name)

    def differences(self) -> list[str]:
        """Name what differs; what the first edition does not know of is left out."""
        first, new = self.found["first"], self.found["new"]
        return [name for name in first if not is_kept(first[name], new.get(name))]


def main() -> None:
    """Run the jobs, print a table, and leave with 1 where something differs."""
    arguments = parse_arguments()
    if arguments.worker:
        print(json.dumps(work(*arguments.worker)))  # noqa: T201
        return
    if arguments.checkout is None:
        say(f"No checkout of {COMMIT} is named, so nothing is compared.")
        return
    require_first_edition(arguments.checkout)
    with tempfile.TemporaryDirectory() as place:
        editions = [
            Edition.settle("first", arguments.checkout, Path(place)),
            Edition.settle("new", ROOT, Path(place)),
        ]
        has_differences = compare(editions, chosen_jobs(arguments.jobs), arguments.rounds)
    sys.exit(int(has_differences))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", help=f"a clone of this repository at {COMMIT}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each job is run with each edition")
    parser.add_argument(
        "--jobs", nargs="+", choices=list(JOBS), default=list(JOBS), metavar="JOB", help=", ".join(JOBS)
    )
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def require_first_edition(checkout: Path) -> None:
    """Leave with an error where a folder is no unchanged checkout of the first edition."""
    git = ["git", "-C", str(checkout)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout
    changes = subprocess.run(
        [*git, "status", "--porcelain", "dsft", "recipes"], capture_output=True, check=False
    ).stdout
    if not head.startswith(COMMIT) or changes:
        sys.exit(f"{checkout}: an unchanged checkout of {COMMIT} is needed")


def chosen_jobs(names: Sequence[str]) -> list[str]:
    """Return the jobs that can be run, with those that others build on."""
    from tests.cifar import DATA

    names = [*names, "train"] if {"convert", "finetune", "resume"} & set(names) else names
    if not DATA.is_dir():
        say(f"{DATA} is not there, so the ResNet-32 is left out.")
    return [name for name in JOBS if name in names and (DATA.is_dir() or not name.startswith("cifar"))]


def compare(editions: Sequence[Edition], names: Sequence[str], rounds: int) -> bool:
    """Run the jobs with both editions in turn and print a line for each; return whether anything differs."""
    say(f"{'job':10} {'first s':>8} {'new s':>8} {'ratio':>6} {'CPU':>6}  bits")
    has_differences = False
    for name in names:
        row = Row()
        for number in range(rounds):
            for edition in editions if number % 2 == 0 else reversed(editions):
                row.add(edition, JOBS[name])
        clock, processor = medians(row.clock), medians(row.processor)
        differing = row.differences()
        verdict = f"DIFFER: {listed(differing)}" if differing else f"equal: {listed(list(row.found['first']))}"
        for edition_name in row.unsteady:
            verdict += f"; {edition_name} differs from round to round"
        has_differences |= bool(differing or row.unsteady)
        say(
            f"{name:10} {clock['first']:8.1f} {clock['new']:8.1f} {clock['new'] / clock['first']:6.2f} "
            f"{processor['new'] / processor['first']:6.2f}  {verdict}"
        )
    return has_differences


def listed(names: Sequence[str]) -> str:
    """Return the first names in words."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each edition's times."""
    return {name: statistics.median(found) for name, found in times.items()}


def processor_time() -> float:
    """Return the seconds that the processor gave the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_kept(first: Any, new: Any) -> bool:
    """Whether a value is what it was; a mapping may have more keys than it had."""
    if isinstance(first, dict) and isinstance(new, dict):
        return all(key in new and is_kept(value, new[key]) for key, value in first.items())
    return bool(first == new)


def run_results(run: Path) -> dict[str, Any]:
    """Return the digest of a run's weights, and its scores."""
    scores = {
        split: json.loads((run / "evaluation" / split / "metrics.json").read_text("utf-8")) for split in ("val", "test")
    }
    return {"weights": digest_of_file(run / "model" / "model.safetensors"), **scores}


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of the tensors of a file, whatever else stands in it."""
    from safetensors.torch import load_file

    return digest(load_file(path))


def digest(state: Mapping[str, Any]) -> str:
    """Return the SHA-256 of tensors, their names and their shapes."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(f"{name} {tuple(state[name].shape)} {state[name].dtype}".encode())
        found.update(state[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def work(job: str, *arguments: str) -> Found:
    """Do a job in Python with the edition that is first in the path."""
    import torch

    import dsft

    torch.set_num_threads(1)
    found = convert_stored() if job == "conversions" else convert_resnet32(float(arguments[0]))
    return {"source": dsft.__file__, **found}


def convert_stored() -> dict[str, Any]:
    """Return the plans' kernels and the digests of the weights of the conversions of ``tests/first_edition``."""
    from tests.first_edition.jobs import JOBS as CONVERSIONS

    found: dict[str, Any] = {}
    for name, job in CONVERSIONS.items():
        conversion = job.convert(job.network())
        plan = [
            [layer.name, str(layer.structure), layer.kernels, layer.macs_after, layer.relative_error]
            for layer in conversion.plan.layers
        ]
        found[name] = [digest(conversion.model.state_dict()), plan]
    return found


def convert_resnet32(share: float) -> dict[str, Any]:
    """Return the digest and the top-1 of the ResNet-32 after a refit to 512 images."""
    import torch

    import dsft
    from tests.cifar import EXAMPLE, load_images, load_resnet32

    images, (pictures, labels) = load_images("train")[0], load_images("test")
    drawn = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:512]]
    structures = ["dw_pw", "pw_dw"]
    model = dsft.convert(
        load_resnet32(), EXAMPLE, calibration=drawn, budget={"macs": share}, structures=structures, form="gather"
    ).model.eval()
    with torch.inference_mode():
        answers = torch.cat([model(some).argmax(1) for some in torch.split(pictures, 250)])
    return {"weights": digest(model.state_dict()), "top1": 100 * float((answers == labels).double().mean())}


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    main()
