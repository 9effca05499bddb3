"""Runs in two processes, started as torchrun and as srun start them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.siblings import free_port
from tests.forkserver import Fork, ForkServer, fork_server
from tests.workshop import Workshop, contents, dsft

# A network without norms over the batch; the last batch of an epoch is shorter.
PLAIN = """\
version: 1
name: plain
model: {{source: timm, name: test_vit}}
data: {{source: folder, root: {root}, image_size: 160, batch_size: 6, workers: 0}}
optim: {{lr: 1e-3}}
schedule: {{epochs: 2}}
log: {{progress: plain}}
"""


@dataclass(frozen=True)
class Bench:
    """Where runs in two processes are started."""

    server: ForkServer
    folder: Path
    plain: Path
    separable: Path

    def start(self, verb: str, recipe: Path, name: str, *changes: str, by_slurm: bool = False) -> Fork:
        output = f"output.dir={(self.folder / name).as_posix()}"
        (self.folder / f"{name}.txt").touch()
        environments = [*map(slurm_task if by_slurm else torchrun_worker, range(2), [str(free_port())] * 2)]
        said = self.folder / f"{name}.txt"
        return self.server.start(verb, recipe, output, *changes, stderr=said, environments=environments)

    def run(self, verb: str, recipe: Path, name: str, *changes: str, by_slurm: bool = False) -> list[int]:
        return self.start(verb, recipe, name, *changes, by_slurm=by_slurm).wait_all()

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.txt").read_text("utf-8")


def torchrun_worker(rank: int, port: str) -> dict[str, str]:
    local = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    return {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port, **local}


def slurm_task(rank: int, port: str) -> dict[str, str]:
    here = {"SLURM_JOB_NODELIST": "localhost", "MASTER_PORT": port}
    return {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_LOCALID": str(rank), **here}


@pytest.fixture(scope="module")
def bench(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("several")
    plain, separable = folder / "plain.yaml", folder / "separable.yaml"
    plain.write_text(PLAIN.format(root=workshop.pictures.as_posix()), encoding="utf-8")
    separable.write_text(
        f"extends: {workshop.separable_recipe.as_posix()}\nname: separable2\n"
        "convert: {method: svd}\naugment: {hflip: 0.5}\noutput: {save_every: 1it, keep_best: 2}\n"
        "log: {progress: plain}\n",
        encoding="utf-8",
    )
    with fork_server({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}) as server:
        yield Bench(server, folder, plain, separable)


@pytest.fixture(scope="module")
def together(bench: Bench) -> Path:
    assert bench.run("train", bench.plain, "together") == [0, 0], bench.said("together")
    return bench.folder / "together"


def history(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def assert_same_figures(run: Path, other: Path) -> None:
    for mine, theirs in zip(history(run), history(other), strict=True):
        for name in ("train_loss", "val/loss", "val/top1", "lr", "step"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-5)


def metrics_of(run: Path, split: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluation" / split / "metrics.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def alone(bench: Bench) -> Path:
    done = dsft("train", bench.plain, f"output.dir={(bench.folder / 'alone').as_posix()}")
    assert done.exit_code == 0, done.stderr
    return bench.folder / "alone"


def test_two_processes_train_as_one(together: Path, alone: Path) -> None:
    assert_same_figures(together, alone)
    assert json.loads((together / "run.json").read_text("utf-8"))["processes"] == 2
    assert contents(together).keys() == contents(alone).keys()


def test_two_processes_score_as_one(bench: Bench, together: Path) -> None:
    done = dsft("evaluate", together, "--split", "test", "--out", bench.folder / "scores", "--json")
    assert done.exit_code == 0, done.stderr
    one, two = json.loads(done.stdout)["models"][0]["metrics"], metrics_of(together, "test")
    exact = ("count", "skipped", "top1", "top5", "macro_f1", "top1_interval", "per_class")
    assert {name: one[name] for name in exact} == {name: two[name] for name in exact}
    for name in ("loss", "nll", "brier"):
        assert two[name] == pytest.approx(one[name], rel=1e-6)
    ours, theirs = (
        next(folder.rglob("predictions.csv")).read_text("utf-8").splitlines()
        for folder in (together / "evaluation" / "test", bench.folder / "scores")
    )
    assert [line.rpartition(",")[0] for line in ours] == [line.rpartition(",")[0] for line in theirs]


def test_the_first_process_alone_speaks(bench: Bench, together: Path) -> None:
    said = bench.said("together")
    for words in ("33 train", "model timm/test_vit", "epoch 1/2", "macro mean", "run folder: "):
        assert said.count(words) == 1, said
    # Older releases of torch print lines of their own, such as "[gloo] rank 0 is connected to 1 peer ranks".
    spoken = re.sub(r"\[gloo\][^\n]*", "", said.lower())
    assert "rank" not in spoken, spoken
    # Data, model, the header and two rows of the epochs, and the checkpoints before and after them.
    assert len((together / "train.log").read_text("utf-8").splitlines()) == 7


@pytest.fixture(scope="module")
def unbroken(bench: Bench) -> Path:
    assert bench.run("finetune", bench.separable, "unbroken", by_slurm=True) == [0, 0], bench.said("unbroken")
    return bench.folder / "unbroken"


@pytest.mark.slow  # tests/training/test_several_processes.py resumes after a signal, with the loop alone
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_run_resumes(bench: Bench, unbroken: Path, victim: int) -> None:
    name = f"killed{victim}"
    fork = bench.start("finetune", bench.separable, name)
    wait_for(lambda: "epoch 1/2" in bench.said(name))
    os.kill(fork.pids[victim], signal.SIGKILL)
    codes = fork.wait_all()
    # The other ends by itself, and says why.
    assert (codes[victim], codes[1 - victim]) == (-signal.SIGKILL, 1), bench.said(name)
    assert bench.said(name).count("error: another process of this run has ended") == 1
    assert bench.run("finetune", bench.separable, name, "--resume", by_slurm=True) == [0, 0], bench.said(name)
    killed = bench.folder / name
    for file in ("model/model", "checkpoints/best/model", "checkpoints/last/model", "checkpoints/last/ema"):
        mine, theirs = (load_file(run / f"{file}.safetensors") for run in (killed, unbroken))
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []
    for slot in ("val-teacher", "test-original", "test-converted", "val", "test"):
        assert metrics_of(killed, slot) == metrics_of(unbroken, slot)
    assert json.loads((killed / "conversion.json").read_text("utf-8"))["layers"]


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow  # tests/training/test_several_processes.py does the same with the loop alone
def test_a_signal_to_one_process_stops_both_and_one_resumes(bench: Bench) -> None:
    # Processes agree on signals every quarter of a second, so that the run must last longer than that.
    change = "schedule.epochs=12"
    whole, stopped = bench.folder / "whole", bench.folder / "stopped"
    assert dsft("train", bench.plain, change, f"output.dir={whole.as_posix()}").exit_code == 0
    fork = bench.start("train", bench.plain, "stopped", change)
    wait_for(lambda: "epoch  1/12" in bench.said("stopped"))
    os.kill(fork.pids[1], signal.SIGUSR1)
    wait_for(lambda: "SIGUSR1: the state after step" in bench.said("stopped"))
    os.kill(fork.pids[1], signal.SIGTERM)
    assert fork.wait_all() == [143, 143], bench.said("stopped")
    assert len(re.findall(r"stopped: stopped by SIGTERM after step \d+ of 72", bench.said("stopped"))) == 1
    done = dsft("train", bench.plain, change, f"output.dir={stopped.as_posix()}", "--resume")
    assert done.exit_code == 0, done.stderr
    assert_same_figures(stopped, whole)


def test_an_error_of_one_ends_both_with_one_message(bench: Bench, workshop: Workshop) -> None:
    pictures = bench.folder / "pictures"
    shutil.copytree(workshop.pictures, pictures)
    for file in (pictures / "ant").iterdir():
        file.write_bytes(b"no image")
    codes = bench.run("train", bench.plain, "damaged", f"data.root={pictures.as_posix()}")
    assert set(codes) <= {1, 2}
    assert 2 in codes
    assert len(re.findall("^error: ", bench.said("damaged"), re.MULTILINE)) == 1, bench.said("damaged")
    assert "cannot be read as an image" in bench.said("damaged")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "data.batch_size=9",
            r"data\.batch_size: must be a multiple of the number of processes, found 9 for 2\. .* 8,",
        ),
        ("optim.lr=fast", r"optim\.lr: "),
    ],
)
def test_what_cannot_be_shared_is_reported_once(bench: Bench, change: str, message: str) -> None:
    name = change.partition("=")[0]
    assert bench.run("train", bench.plain, name, change) == [2, 2]
    assert len(re.findall("^error: ", bench.said(name), re.MULTILINE)) == 1, bench.said(name)
    assert re.search(message, bench.said(name)), bench.said(name)
    assert not (bench.folder / name).exists()


def test_a_dry_run_is_shared_too(bench: Bench) -> None:
    assert bench.run("finetune", bench.separable, "dry", "--dry-run") == [0, 0], bench.said("dry")
    assert len(re.findall(r"dry run: loss [\d.]+ on the first batch", bench.said("dry"))) == 1
    assert not (bench.folder / "dry").exists()


@pytest.mark.slow
def test_torchrun_starts_it(bench: Bench, alone: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    run = bench.folder / "torchrun"
    arguments = ["-m", "dsft", "train", str(bench.plain), f"output.dir={run.as_posix()}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_figures(run, alone)
