from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dsft.errors import ModelError
from dsft.runtimes import trace_folded
from dsft.runtimes.executorch_runtime import load_executorch, write_executorch

pytest.importorskip("executorch")


def test_programs_never_run_on_threads_that_were_destroyed(tmp_path: Path) -> None:
    network, images = nn.Conv2d(3, 4, 3).eval(), torch.randn(3, 3, 8, 8)
    path = tmp_path / "network.pte"
    write_executorch(trace_folded(network, images[:1], dynamic_batch=False)[0], path, "maps")
    first, second = load_executorch(path, 2), load_executorch(path, 2)
    # XNNPACK's kernels of a loaded program point to its threads, and a run without them ends the process.
    with pytest.raises(ModelError, match="found 2 for those that are loaded and 1 asked for"):
        load_executorch(path, 1)
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(first(images), expected)
    torch.testing.assert_close(second(images), expected)
    del first, second
    torch.testing.assert_close(load_executorch(path, 1)(images), expected)
