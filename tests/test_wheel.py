from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(command: list[str], folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    run([sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)], tmp_path)
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run([str(binaries / "python"), "-m", "pip", "install", "--quiet", str(wheel)], tmp_path)
    where = run([str(binaries / "python"), "-c", "import dsft; print(dsft.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "env")
    shipped = run([str(binaries / "dsft"), "recipes", "ls"], tmp_path)
    assert all(path.stem in shipped for path in (ROOT / "recipes").glob("*.yaml"))
    assert (Path(where.strip()).parent / "recipes" / "README.md").is_file()
    small = ["schedule.epochs=1", "schedule.warmup_epochs=0", "model.name=resnet10t"]
    run([str(binaries / "dsft"), "train", "digits_dense", *small], tmp_path)
    run([str(binaries / "dsft"), "finetune", "quickstart", "schedule.epochs=2"], tmp_path)
    assert (tmp_path / "runs" / "quickstart" / "model" / "model.safetensors").is_file()
