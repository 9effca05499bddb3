"""Modules exported to ONNX and loaded into ONNX Runtime, to be timed there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsft.compat.torch_pytree import tree_leaves, tree_map
from dsft.devices import Compute
from dsft.errors import ExportError, ModelError
from dsft.measure.example import ExampleInput, call
from dsft.runtimes.interleaved_timing import Run
from dsft.runtimes.onnx_export import to_onnx, write_onnx
from dsft.runtimes.onnx_runtime import OnnxSession, create_session, require_onnx
from dsft.runtimes.tracing import trace_folded


@contextmanager
def open_sessions(
    modules: Sequence[nn.Module],
    example_inputs: Sequence[ExampleInput],
    compute: Compute,  # noqa: ARG001 (the signature of all runtimes; the sessions are on the CPU)
    threads: int,
) -> Iterator[list[Run]]:
    """Export modules and load each into a separate session.

    A call of torch's exporter takes a second or more, whatever the size of the module. Therefore all modules are
    exported in one call, and each is extracted from the graph.

    Args:
        modules: In evaluation mode.
        example_inputs: The input of each, which determines its shapes.
        compute: Not used.
        threads: Number of threads per operator.

    Raises:
        ModelError: ONNX Runtime is not installed, or cannot run the modules.
    """
    require_onnx()
    # The sessions read weights from the files as long as they run.
    with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder:
        try:
            runs = _open_all(modules, example_inputs, Path(folder), threads)
        except (ExportError, ModelError) as error:
            raise ModelError(f"runtime onnxruntime: {error} Choose the runtime eager.") from error
        yield runs


@contextmanager
def open_exported(networks: Sequence[nn.Module], images: Sequence[Tensor], threads: int) -> Iterator[list[Run]]:
    """Yield forward passes in ONNX Runtime of networks as ``dsft export`` writes them, batch norms folded.

    Args:
        networks: Image classifiers on the CPU, float32, in evaluation mode.
        images: The batch of each ``(batch, channels, height, width)``, float32.
        threads: Number of threads per operator.

    Raises:
        ExportError: A network cannot be exported.
        ModelError: ONNX Runtime is not installed, or cannot run a network.
    """
    require_onnx()
    with tempfile.TemporaryDirectory(prefix="dsft-", ignore_cleanup_errors=True) as folder:
        runs: list[Run] = []
        for index, (network, batch) in enumerate(zip(networks, images, strict=True)):
            path = Path(folder) / f"{index}.onnx"
            program, _ = trace_folded(network, batch)
            write_onnx(program, path)
            runs.append(partial(OnnxSession(path, threads), batch))
        yield runs


def _open_all(
    modules: Sequence[nn.Module], example_inputs: Sequence[ExampleInput], folder: Path, threads: int
) -> list[Run]:
    import onnx_ir

    # Two inputs that are the same tensor would become one input of the graph.
    examples = [tree_map(_contiguous_copy, example) for example in example_inputs]
    side_by_side = _SideBySide(modules).eval()
    output_counts = [len(outputs) for outputs in side_by_side(examples)]
    # The return type's annotation is a protocol that onnx_ir's functions do not accept.
    model: Any = to_onnx(side_by_side, (examples,)).model
    input_names, output_names = (
        [value.name for value in values] for values in (model.graph.inputs, model.graph.outputs)
    )
    inputs, outputs = iter(input_names), iter(output_names)
    runs: list[Run] = []
    for index, (example, count) in enumerate(zip(examples, output_counts, strict=True)):
        tensors = [leaf for leaf in tree_leaves(example) if isinstance(leaf, Tensor)]
        feed = {next(inputs): tensor.numpy() for tensor in tensors}
        part = onnx_ir.convenience.extract(
            model.graph, inputs=list(feed), outputs=[next(outputs) for _ in range(count)]
        )
        file = folder / f"{index}.onnx"
        onnx_ir.save(onnx_ir.Model(part, ir_version=model.ir_version), file, external_data=f"{index}.data")
        runs.append(partial(create_session(file, threads).run, None, feed))
    return runs


class _SideBySide(nn.Module):
    """Several modules, each with its own input; returns the tensors in the output of each."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, examples: list[ExampleInput]) -> list[list[Tensor]]:
        outputs = [call(part, example) for part, example in zip(self.parts, examples, strict=True)]
        return [[leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)] for output in outputs]


def _contiguous_copy(leaf: Any) -> Any:
    return leaf.detach().clone(memory_format=torch.contiguous_format) if isinstance(leaf, Tensor) else leaf
