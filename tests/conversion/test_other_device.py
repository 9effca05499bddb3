"""A conversion with calibration data and recovery on a device other than the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

SCRIPT = Path(__file__).parents[1] / "other_device.py"


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no devices written in Python",
)
def test_it_gives_what_it_gives_on_the_cpu() -> None:
    structures = ("pw_dw_pw,pw_dw", "low_rank,dw_pw")
    done = subprocess.run([sys.executable, SCRIPT, *structures], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
