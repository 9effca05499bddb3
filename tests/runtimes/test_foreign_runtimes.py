"""Every runtime beside torch: what modules and files compute there, beside what they compute in torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dsft.choices import Form, Runtime, Structure
from dsft.devices import Compute
from dsft.errors import ExportError, ModelError
from dsft.runtimes import FILE_FORMATS, RUNTIMES, FileFormat, open_exported, open_runs, trace_folded, why_unusable
from dsft.runtimes.onnx_export import to_onnx
from dsft.separable import DepthwiseSeparableConv2d
from tests.zoo import Residual, redraw

CPU = Compute(torch.device("cpu"))
IMAGES = torch.randn(2, 4, 9, 9)
FOREIGN = [runtime for runtime, support in RUNTIMES.items() if not support.uses_compute]


@pytest.fixture(params=FOREIGN)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each runtime that is installed."""
    found: Runtime = request.param
    if (reason := why_unusable(found)) is not None:
        pytest.skip(reason)
    return found


@pytest.fixture
def files(runtime: Runtime) -> FileFormat:
    """The file format of the runtime."""
    return next(found for owner, found in FILE_FORMATS.values() if owner is runtime)


class TwoHeads(nn.Module):
    def forward(self, left: torch.Tensor, *, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"difference": left - right, "product": left * right}


class ByValue(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_each_module_computes_what_it_computes_in_torch(runtime: Runtime, layout: torch.memory_format) -> None:
    dense = nn.Conv2d(4, 6, 3, padding=1)
    separable = [
        DepthwiseSeparableConv2d.like(dense, (2, 1, 0, 3), Structure.DW_PW, Form.GATHER),
        DepthwiseSeparableConv2d.like(dense, (2,) * 4, Structure.DW_PW, Form.CONCATENATE),
        DepthwiseSeparableConv2d.like(dense, (1, 2, 1, 3, 1, 1), Structure.PW_DW),
    ]
    layers = [dense, *separable, nn.Sequential(dense, nn.ReLU()), TwoHeads()]
    for layer in layers:
        layer.to(memory_format=layout)
    other = torch.randn_like(IMAGES)
    examples: list[Any] = [IMAGES.to(memory_format=torch.channels_last)] * 5
    examples.append({"left": IMAGES, "right": other})
    with open_runs(layers, examples, CPU, runtime) as sessions:
        runs: list[Any] = sessions
        for layer, run in zip(layers[:-1], runs[:-1], strict=True):
            torch.testing.assert_close(outputs(run())[0], layer(IMAGES), atol=1e-5, rtol=1e-5)
        difference, product = outputs(runs[-1]())
    torch.testing.assert_close(difference, IMAGES - other)
    torch.testing.assert_close(product, IMAGES * other)


def outputs(found: Any) -> list[torch.Tensor]:
    """Return the arrays or tensors that a runtime returned, as tensors."""
    values = found.values() if hasattr(found, "values") else found
    return [torch.from_numpy(each) if isinstance(each, np.ndarray) else each for each in values]


def test_one_thread_computes(runtime: Runtime) -> None:
    # In a process of its own: other tests leave threads behind. The CPU time of the process is that of the thread.
    script = f"""
import time, torch
from torch import nn
from dsft.devices import Compute
from dsft.choices import Runtime
from dsft.runtimes import open_runs
module = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)))
with open_runs([module], [torch.randn(1, 64, 56, 56)], Compute(torch.device("cpu")), Runtime("{runtime}")) as (run,):
    run()
    process, thread = time.process_time(), time.thread_time()
    for _ in range(20):
        run()
    print((time.thread_time() - thread) / (time.process_time() - process))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) > 0.9


def test_an_exported_network_computes_what_it_computes_in_torch(runtime: Runtime) -> None:
    network = redraw(Residual()).eval()
    images = torch.randn(3, 3, 16, 16)
    with open_exported([network], [images], runtime) as runs, torch.no_grad():
        logits: Any = runs[0]()
        torch.testing.assert_close(logits, network(images), atol=1e-4, rtol=1e-4)


def test_a_file_takes_batches_of_any_size(files: FileFormat, tmp_path: Path) -> None:
    network = redraw(Residual()).eval()
    path = tmp_path / f"network{files.suffix}"
    program, folded = trace_folded(network, torch.randn(2, 3, 16, 16), dynamic_batch=files.has_dynamic_batch)
    files.write(program, path, "logits")
    assert folded
    assert sorted(tmp_path.iterdir()) == sorted(files.files(path))
    session = files.load(path, 1)
    answers = []
    for count in (1, 3, 5):
        images = torch.randn(count, 3, 16, 16)
        with torch.no_grad():
            answers.append((session(images), network(images)))
    for found, expected in answers:
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_signal_handlers_work_after_sessions_that_end_in_any_order(files: FileFormat, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    path = tmp_path / f"network{files.suffix}"
    files.write(trace_folded(network, torch.randn(1, 3, 4, 4), dynamic_batch=False)[0], path, "logits")
    script = f"""
import gc, signal, subprocess, sys
from pathlib import Path
from dsft.runtimes import FILE_FORMATS
(files,) = (found for _, found in FILE_FORMATS.values() if found.suffix == "{files.suffix}")
signal.signal(signal.SIGCHLD, lambda *_: None)
for _ in range(4):
    first, second = (files.load(Path(sys.argv[1]), 1) for _ in range(2))
    del first
    gc.collect()
    del second
    gc.collect()
    subprocess.run([sys.executable, "-c", ""], check=True)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_weights_in_a_file_have_all_their_bits(files: FileFormat, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4096, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    path = tmp_path / f"network{files.suffix}"
    files.write(trace_folded(network, torch.randn(1, 3, 4, 4), dynamic_batch=False)[0], path, "logits")
    assert sum(file.stat().st_size for file in files.files(path)) > 4 * sum(
        each.numel() for each in network.parameters()
    )


def test_a_damaged_file_is_an_error(files: FileFormat, tmp_path: Path) -> None:
    path = tmp_path / f"network{files.suffix}"
    path.write_bytes(b"no network" * 100)
    with pytest.raises(ModelError, match=rf"cannot run 'network\{files.suffix}'"):
        files.load(path, 1)


def test_a_network_that_cannot_be_converted_is_an_error(runtime: Runtime) -> None:
    with (
        pytest.raises(ModelError, match=rf"runtime {runtime}: .*cannot be .*Choose the runtime eager"),
        open_runs([ByValue()], [IMAGES], CPU, runtime),
    ):
        pass
    with pytest.raises(ExportError, match="cannot be traced"), open_exported([ByValue()], [IMAGES], runtime):
        pass


class Marks(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(images.flatten()).index_put((torch.tensor([0, 1]),), torch.ones(()))


def test_the_exporter_of_onnx_logs_no_warnings(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnxscript")
    # onnx_ir warns of the empty shape of the scalar, as it does for every detector.
    to_onnx(Marks().eval(), (IMAGES,))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("runtime", "package", "message"),
    [
        (Runtime.ONNXRUNTIME, "onnxscript", r"needs the package onnxscript, which is not.*'dsft\[onnx\]'"),
        (Runtime.OPENVINO, "openvino", r"OpenVINO needs the package openvino, which is not.*'dsft\[openvino\]'"),
        (Runtime.EXECUTORCH, "executorch", r"ExecuTorch needs the package.* executorch.*'dsft\[executorch\]'"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    runtime: Runtime, package: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(ModelError, match=message):
        RUNTIMES[runtime].require_usable()


def test_a_package_that_is_too_old_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2025.4.1")
    with pytest.raises(ModelError, match=r"needs openvino 2026\.0 or newer, found 2025\.4\.1\. .* --upgrade"):
        RUNTIMES[Runtime.OPENVINO].require_usable()


def test_without_a_compiler_the_compiled_runtime_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert why_unusable(Runtime.COMPILED) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "torch.compile needs a C++ compiler, found none of g++" in str(why_unusable(Runtime.COMPILED))


@pytest.mark.parametrize("name", ["openvino", "nncf"])
def test_no_telemetry_is_loaded(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    script = (
        "import sys; from dsft.compat.openvino import import_quietly; "
        f"import_quietly('openvino.tools.ovc'); import_quietly('{name}'); "
        "print(any(name.startswith('openvino_telemetry') and module for name, module in sys.modules.items()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
