from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from dsft.choices import Runtime
from dsft.devices import Compute
from dsft.errors import ModelError
from dsft.measure import ExampleInput
from dsft.runtimes import RUNTIMES, open_runs
from dsft.runtimes.registry import require_supported

CPU = Compute(torch.device("cpu"))


def test_a_run_is_a_pass_in_evaluation_mode_without_gradients_and_with_one_thread() -> None:
    torch.set_num_threads(2)
    seen: list[tuple[bool, bool, int]] = []

    class Noted(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
            seen.append((self.training, torch.is_grad_enabled(), torch.get_num_threads()))
            return super().forward(input)

    module = Noted(3, 2)
    images = torch.randn(4, 3)
    with open_runs([module], [images], CPU) as (run,):
        assert torch.equal(run(), module(images))  # type: ignore[arg-type]
    assert seen == [(False, False, 1)] * 2
    assert module.training
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("example", [(torch.ones(2, 3),), {"input": torch.ones(2, 3)}, torch.ones(2, 3)])
def test_inputs_are_given_as_the_module_takes_them(example: ExampleInput) -> None:
    module = nn.Linear(3, 2)
    with open_runs([module], [example], CPU) as (run,):
        assert torch.equal(run(), module(torch.ones(2, 3)))  # type: ignore[arg-type]


def test_every_runtime_is_registered() -> None:
    assert list(RUNTIMES) == list(Runtime)


def test_devices_and_dtypes_that_a_runtime_does_not_support_are_errors() -> None:
    pytest.importorskip("onnxruntime")
    module, images = nn.Conv2d(2, 2, 3), torch.ones(1, 2, 8, 8)
    with pytest.raises(ModelError, match="supports device cpu and dtype float32, found cuda and float32"):
        require_supported(Runtime.ONNXRUNTIME, [module], Compute(torch.device("cuda")))
    half = module.to(torch.bfloat16)
    with (
        pytest.raises(ModelError, match="supports device cpu and dtype float32, found cpu and bfloat16"),
        open_runs([half], [images.bfloat16()], CPU, Runtime.ONNXRUNTIME),
    ):
        pass
    with open_runs([half], [images.bfloat16()], CPU) as (run,):
        run()


@pytest.mark.slow
def test_a_compiled_pass_computes_what_the_module_computes() -> None:
    module, images = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()), torch.randn(1, 2, 8, 8)
    with open_runs([module], [images], CPU, Runtime.COMPILED) as (run,):
        torch.testing.assert_close(run(), module(images))


def test_onnx_runtime_computes_in_the_calling_thread_alone() -> None:
    pytest.importorskip("onnxruntime")
    before = threading.active_count()
    with open_runs([nn.Conv2d(2, 2, 3)], [torch.ones(1, 2, 8, 8)], CPU, Runtime.ONNXRUNTIME) as (run,):
        run()
        assert threading.active_count() == before
