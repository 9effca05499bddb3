"""Runs that are killed, stopped and resumed, as processes of their own."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.forkserver import Fork, ForkServer, fork_server
from tests.workshop import Workshop, contents, dsft

KILLS = 5
SLOTS = ["val-teacher", "test-original", "test-converted", "val", "test"]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with fork_server({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}) as started:
        yield started


@dataclass(frozen=True)
class Trial:
    """A recipe with everything on that has a state, and where its runs go."""

    server: ForkServer
    recipe: Path
    folder: Path

    def start(self, name: str, *changes: str) -> Fork:
        output = f"output.dir={(self.folder / name).as_posix()}"
        (self.folder / f"{name}.txt").touch()
        return self.server.start("finetune", self.recipe, output, *changes, stderr=self.folder / f"{name}.txt")

    def run(self, name: str, *changes: str) -> int:
        return self.start(name, *changes).wait()

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.txt").read_text("utf-8")


@pytest.fixture(scope="module")
def trial(server: ForkServer, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("resume")
    recipe = folder / "trial.yaml"
    recipe.write_text(
        f"""\
extends: {workshop.separable_recipe.as_posix()}
name: trial
data: {{batch_size: 4, workers: 0}}
augment: {{mixup: 0.4, cutmix: 0.6, scale: [0.5, 1.0], hflip: 0.5, auto_augment: rand-m9-mstd0.5-inc1, erase: 0.3}}
schedule: {{sched: cosine, epochs: 4, warmup_epochs: 0.5}}
optim: {{clip_grad: 1.0}}
distill: {{features: 0.5}}
freeze: [{{until: 5it, train: [head]}}, {{until: 1.5ep, train: [head, converted]}}]
evaluate: {{monitor: val/loss}}
output: {{save_every: 1it}}
log: {{progress: plain}}
""",
        encoding="utf-8",
    )
    trial = Trial(server, recipe, folder)
    assert trial.run("unbroken") == 0, trial.said("unbroken")
    return trial


def weights(run: Path) -> list[dict[str, torch.Tensor]]:
    files = ["model/model", "checkpoints/best/model", "checkpoints/last/model", "checkpoints/last/ema"]
    return [load_file(run / f"{name}.safetensors") for name in files]


def figures(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [
        {name: value for name, value in line.items() if "second" not in name and name != "data_share"} for line in lines
    ]


def log_lines(run: Path) -> list[str]:
    """Return the log without times and rates, and without what says that it was stopped, saved and resumed."""
    lines = [line.split("  ", 1)[1] for line in (run / "train.log").read_text("utf-8").splitlines()]
    # Those of an epoch are its time, its images a second, and its share of waiting for data.
    timeless = [re.sub(r"\d+:\d\d +\d+ +\d+|, \d+:\d\d$", "", line).rstrip() for line in lines]
    added = (
        "checkpoint after step",
        "resumed after step",
        "warning: checkpoint",
        "warning: versions differ",
        "SIGUSR1: ",
        # A measured time, and whether there is such a warning depends on it.
        "warning: the converted network is slower",
    )
    return [line for line in timeless if not line.startswith(added)]


def assert_same_run(run: Path, unbroken: Path) -> None:
    for mine, theirs in zip(weights(run), weights(unbroken), strict=True):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    states = [torch.load(folder / "checkpoints/last/state.pt", weights_only=True) for folder in (run, unbroken)]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert figures(run) == figures(unbroken)
    assert log_lines(run) == log_lines(unbroken)
    for slot in SLOTS:
        scores = [(folder / "evaluation" / slot / "metrics.json").read_text("utf-8") for folder in (run, unbroken)]
        assert scores[0] == scores[1]
    assert json.loads((run / "run.json").read_text("utf-8"))["finished"]


def kill_in_training(run: Path, fork: Fork, saves: int, delay: float) -> int:
    """Kill a run a moment after so many checkpoints; return its exit code."""
    last = run / "checkpoints" / "last" / "SHA256SUMS"
    seen, stamp = 0, stamp_of(last)
    while seen < saves:
        now = stamp_of(last)
        if now not in (None, stamp):
            seen, stamp = seen + 1, now
        if has_ended(fork.pid):
            break
        time.sleep(0.001)
    time.sleep(delay)
    if not has_ended(fork.pid):
        os.kill(fork.pid, signal.SIGKILL)
    return fork.wait()


def stamp_of(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_the_same(trial: Trial, workers: int) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)  # noqa: S311 - no secret
    name = f"killed{workers}"
    run, change = trial.folder / name, f"data.workers={workers}"
    codes: list[int] = []
    resume: Sequence[str] = ()
    while len(codes) < KILLS:
        fork = trial.start(name, change, *resume)
        codes.append(kill_in_training(run, fork, chance.randint(1, 3), chance.uniform(0, 0.04)))
        resume = ["--resume"]
    assert set(codes) == {-signal.SIGKILL}, (seed, trial.said(name))
    assert trial.run(name, change, "--resume") == 0, (seed, trial.said(name))
    assert_same_run(run, trial.folder / "unbroken")


@pytest.fixture(scope="module")
def stopped(trial: Trial) -> Path:
    """A run that SIGTERM stopped after its first epoch, and SIGUSR1 did not."""
    run = trial.folder / "stopped"
    fork = trial.start("stopped")
    wait_for(lambda: "epoch 1/4" in trial.said("stopped"))
    os.kill(fork.pid, signal.SIGUSR1)
    wait_for(lambda: "SIGUSR1: the state after step" in trial.said("stopped"))
    os.kill(fork.pid, signal.SIGTERM)
    assert fork.wait() == 143
    assert re.search(
        r"stopped: stopped by SIGTERM after step \d+ of 32; .*Continue with --resume", trial.said("stopped")
    )
    return run


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_checkpoint_that_is_damaged_is_replaced_by_the_one_before(trial: Trial, stopped: Path) -> None:
    run = trial.folder / "damaged"
    shutil.copytree(stopped, run)
    last = run / "checkpoints" / "last"
    for file in last.iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert trial.run("damaged", "--resume") == 0, trial.said("damaged")
    assert re.search(r"warning: checkpoint '.*last': .*\. The previous one is used\.", trial.said("damaged"))
    assert_same_run(run, trial.folder / "unbroken")


def test_ctrl_c_stops_a_resumed_run_as_well(trial: Trial, stopped: Path) -> None:
    run = trial.folder / "again"
    shutil.copytree(stopped, run)
    fork = trial.start("again", "--resume")
    wait_for(lambda: "resumed after step" in trial.said("again"))
    os.kill(fork.pid, signal.SIGINT)
    assert fork.wait() == 130, trial.said("again")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optim.lr=1e-5"], r"the recipe has changed .*\n  optim\.lr: 0\.003 before, 1e-05 now\nRestore it"),
        (["~ema", "schedule.epochs=5"], r"\n  schedule\.epochs: 4 before, 5 now\n  ema: .* before, None now\n"),
        (["output.dir=nothing"], r"there is no run to continue in 'nothing'"),
        (["--overwrite"], r"--resume: cannot be combined with --overwrite"),
        (["--dry-run"], r"--resume: cannot be combined with --dry-run"),
    ],
)
def test_what_cannot_be_resumed_is_reported(
    trial: Trial, stopped: Path, here: Path, changes: list[str], message: str
) -> None:
    before = contents(stopped)
    done = dsft("finetune", trial.recipe, f"output.dir={stopped.as_posix()}", "--resume", *changes)
    assert done.exit_code == 2
    assert re.search(message, done.stderr), done.stderr
    assert contents(stopped) == before
    assert list(here.iterdir()) == []


def test_a_run_folder_stands_for_its_recipe(trial: Trial, stopped: Path, here: Path) -> None:
    shutil.copytree(stopped, here / "moved")
    done = dsft("finetune", "moved")
    assert done.exit_code == 2
    assert "'moved': holds a run that was interrupted. Continue it with 'dsft finetune moved --resume'" in done.stderr
    done = dsft("evaluate", "moved")
    assert done.exit_code == 2
    assert "was interrupted before it saved its model. Continue it with 'dsft finetune moved --resume'" in done.stderr
    # What the error of a damaged image advises can be followed.
    done = dsft("finetune", "moved", "--resume", "data.bad_images=skip")
    assert done.exit_code == 0, done.stderr
    assert_same_run(here / "moved", trial.folder / "unbroken")


def test_a_finished_run_is_not_resumed(trial: Trial) -> None:
    done = dsft("finetune", trial.recipe, f"output.dir={(trial.folder / 'unbroken').as_posix()}", "--resume")
    assert done.exit_code == 2
    assert "is finished. Choose another output.dir" in done.stderr


def test_other_images_are_refused(trial: Trial, stopped: Path, workshop: Workshop, here: Path) -> None:
    shutil.copytree(stopped, "out")
    image = workshop.pictures / "ant" / "000.png"
    content = image.read_bytes()
    image.unlink()
    try:
        done = dsft("finetune", trial.recipe, "output.dir=out", "--resume")
    finally:
        image.write_bytes(content)
    assert done.exit_code == 2
    assert re.search(
        r"--resume: the \w+ split has changed since the run in 'out' began: \d+ images before", done.stderr
    )
    # The image that is missing moved others between the splits, which is told and not refused.
    assert "of the test split trained or calibrated the network that this run starts from" in done.stderr
    assert (here / "out" / "checkpoints" / "last").is_dir()


def test_a_teacher_with_other_weights_is_refused(trial: Trial, stopped: Path, here: Path) -> None:
    shutil.copytree(stopped, here / "out")
    record = json.loads((here / "out" / "run.json").read_text("utf-8"))
    (here / "out" / "run.json").write_text(json.dumps({**record, "teacher": "0" * 64}), encoding="utf-8")
    done = dsft("finetune", trial.recipe, "output.dir=out", "--resume")
    assert done.exit_code == 2
    assert "the teacher has other weights than when the run in 'out' began" in done.stderr


def test_other_versions_are_told(trial: Trial, stopped: Path, here: Path) -> None:
    shutil.copytree(stopped, here / "out")
    record = json.loads((here / "out" / "run.json").read_text("utf-8"))
    record["versions"]["timm"] = "0.1"
    (here / "out" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    done = dsft("finetune", trial.recipe, "output.dir=out", "--resume", "data.workers=1", "--json")
    assert done.exit_code == 0, done.stderr
    assert re.search(
        r"warning: versions differ from those at the start of the run: timm 0\.1 before, .* now\.", done.stderr
    )
    assert list(json.loads(done.stdout)["scores"]) == SLOTS
    assert_same_run(here / "out", trial.folder / "unbroken")
    # What the folder says of the run is what it came to.
    assert "workers: 1\n" in (here / "out" / "recipe.yaml").read_text("utf-8")
    assert len(json.loads((here / "out" / "run.json").read_text("utf-8"))["resumed"]) == 1


@pytest.mark.usefixtures("here")
def test_a_run_resumes_with_the_batch_size_that_auto_chose(workshop: Workshop) -> None:
    arguments = ["train", str(workshop.dense_recipe), "output.dir=out", "schedule.epochs=1", "data.batch_size=auto"]
    done = dsft(*arguments)
    assert done.exit_code == 0, done.stderr
    assert "data.batch_size: auto takes 64, so that a step of 64 images is 1 x 64." in done.stderr
    path = Path("out/run.json")
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "finished": False}), encoding="utf-8")
    for file, old, new in (
        ("recipe.yaml", "batch_size: 64", "batch_size: 32"),
        ("recipe.yaml", "accum: 1", "accum: 2"),
    ):
        text = Path("out", file).read_text("utf-8")
        assert old in text
        Path("out", file).write_text(text.replace(old, new), encoding="utf-8")
    done = dsft(*arguments, "--resume")
    assert done.exit_code == 0, done.stderr
    assert "auto takes" not in done.stderr
