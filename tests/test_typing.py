"""The types of ``import dsft`` as a user's type checker sees them in an installed wheel."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """\
import torch
from torch import Tensor, nn

import dsft


def shrink(model: nn.Module, images: Tensor) -> tuple[nn.Module, float]:
    conversion = dsft.convert(model, images, budget={"macs": 0.5}, calibration=images)
    plan: dsft.ConversionPlan = conversion.plan
    layer = dsft.DepthwiseSeparableConv2d(8, 16, 3)
    merged: nn.Module = layer.merge()
    dsft.save(conversion.model, "out", plan=plan)
    recovery = dsft.recover(conversion.model, model, [images], steps=10)
    loss: Tensor = dsft.distillation_loss(conversion.model(images), model(images), temperature=3.0)
    ratio: float = plan.macs_ratio
    torch.autograd.backward(loss)
    dsft.check_converted(conversion.model, plan)
    return dsft.load("out", skeleton=merged), recovery.after + ratio
"""
MISTAKES = (
    "dsft.convert(1, torch.zeros(1))",
    "dsft.save(torch.nn.Identity(), 3)",
    "dsft.distillation_loss(1, 2, temperature='warm')",
    "dsft.no_such_name",
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with the wheel, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("typing")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "env", with_pip=False, symlinks=True)
    interpreter = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (wheel,) = (folder / "dist").glob("*.whl")
    (packages,) = (folder / "env").glob("**/site-packages")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(packages)], check=True)
    # Without this checkout, which an editable installation puts on the path.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return interpreter


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_type_checker_knows_the_public_names(checker: str, python: Path, tmp_path: Path) -> None:
    if shutil.which(checker) is None:
        pytest.skip(f"{checker} is not installed")
    commands = {
        "mypy": ["mypy", "--strict", "--python-executable", str(python), "program.py"],
        "pyright": ["pyright", "--pythonpath", str(python), "program.py"],
    }

    def check(program: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "program.py").write_text(program)
        return subprocess.run(commands[checker], cwd=tmp_path, capture_output=True, text=True, check=False)

    done = check(PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = check("import torch\n\nimport dsft\n\n" + "\n".join(MISTAKES) + "\n")
    assert wrong.returncode
    for place in range(5, 5 + len(MISTAKES)):
        assert f"program.py:{place}:" in wrong.stdout, wrong.stdout
