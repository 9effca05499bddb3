"""A folder with data, a recipe and the runs of it, in which tests of commands work."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.forkserver import fork_server
from tests.workshop import Outcome, dsft


@dataclass(frozen=True)
class Runs:
    """The folder; its recipe writes runs to ``runs/NAME``."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "dense.yaml"

    @property
    def dense(self) -> Path:
        return self.folder / "runs" / "dense"

    @property
    def separable(self) -> Path:
        return self.folder / "runs" / "separable"

    def run(self, *arguments: str | Path) -> Outcome:
        """Run a command, which must succeed."""
        done = dsft(*arguments)
        assert done.exit_code == 0, done.stderr
        return done

    def metrics(self, run: Path, slot: str = "test") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((run / "evaluation" / slot / "metrics.json").read_text(encoding="utf-8"))
        return found

    def check_resume(self) -> None:
        """Kill a run in its second epoch, resume it with a worker process, and compare it with the unbroken one."""
        stopped = self.folder / "runs" / "stopped"
        arguments = (self.recipe, f"output.dir={stopped.as_posix()}", "output.save_every=1it", "log.progress=plain")
        with fork_server({"OMP_NUM_THREADS": "1"}) as server:
            run = server.start("train", *arguments, stderr=self.folder / "stopped.txt")
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not (stopped / "checkpoints" / "best").exists():
                time.sleep(0.01)
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
        assert not (stopped / "model").exists()
        self.run("train", *arguments, "data.workers=1", "--resume")
        weights = [load_file(folder / "model" / "model.safetensors") for folder in (self.dense, stopped)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
